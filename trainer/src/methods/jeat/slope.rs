//! Energies that grow with the distance from the data.

use serde::{Deserialize, Serialize};

use crate::data::Images;

/// A departure from the paper. With the plain penalty all samples are pushed to one energy, however
/// far from the data they are, and a chain that starts far away finds no slope to descend. With a
/// slope s the penalty is E(x_data)² + (E(x_sample) − s·d(x_sample))², and the starts of restarted
/// chains are held to the same line: (E(x_start) − E₀ − s·d(x_start))², E₀ the data's own level. So are
/// blended clean images.
///
/// d is an estimate of the L2 distance from the data: d² = d_nearest² − d_real², from the nearest of
/// some training images of the class; for a noised image at most the distance from the image itself, and for
/// a blended one just that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slope {
    /// s, energy for a distance of 1.
    pub per_distance: f32,
    /// Training images of each class, the first ones, among which the nearest is looked for.
    pub references: usize,
    /// d_real, how far a real image is from the nearest of them.
    pub real_distance: f32,
}

impl Slope {
    /// d(x) of an image of this class.
    pub(super) fn distance(&self, train: &Images, x: &[f32], class: u8) -> f32 {
        let of_class = (0..train.len()).filter(|&i| train.labels()[i] == class);
        let nearest = of_class
            .take(self.references)
            .map(|i| {
                let pixels = train.pixels(i).iter();
                squared_distance(x, pixels.map(|&byte| f32::from(byte) * (1.0 / 255.0)))
            })
            .fold(f32::INFINITY, f32::min);
        (nearest - self.real_distance.powi(2)).max(0.0).sqrt()
    }
}

/// ‖a − b‖²
pub(super) fn squared_distance(a: &[f32], b: impl Iterator<Item = f32>) -> f32 {
    // Sixteen sums, so that the loop becomes vector instructions.
    let mut sums = [0.0; 16];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        sums[i % 16] += (a - b) * (a - b);
    }
    sums.iter().sum()
}
