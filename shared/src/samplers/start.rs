//! Where chains start: uniform noise, a class Gaussian, or a given image.

use serde::{Deserialize, Serialize};

use super::Noise;
use crate::arrays::Array;

/// Where a chain starts, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Every pixel from U[0, 1).
    Uniform,
    /// The Gaussian of the intended class, [`ClassGaussian`].
    ClassGaussian,
    /// The same with [`PCA_SPREAD`] of its spread: near the class's mean, along its principal
    /// components (Mirza et al. 2024 (WEAT), section A.3).
    ClassPca,
}

/// Spread of [`Start::ClassPca`]. WEAT's code multiplies singular values by N(0, 0.005²); of 5,000
/// images of a class these are √4999 standard deviations long.
pub const PCA_SPREAD: f32 = 0.35;

impl Start {
    /// Spread of the class Gaussian that the start is drawn from, 1 being the class's own; none where
    /// it is not drawn from one.
    pub fn spread(self) -> Option<f32> {
        match self {
            Self::Uniform => None,
            Self::ClassGaussian => Some(1.0),
            Self::ClassPca => Some(PCA_SPREAD),
        }
    }
}

/// Per-class Gaussians N(μ_y, Σ_y) in the span of a few directions that all classes share
/// (JEAT, the start under eq. 4; Yang & Ji 2021 (JEM++), section 2, with a full Σ_y).
///
/// x = μ_y + B L_y z with z ~ N(0, I): B holds the leading principal directions of the training
/// images, L_y the Cholesky factor of the class's covariance in them. A full Σ_y of 28 x 28 pixels
/// would be 0.6 M numbers a class; this is a fiftieth of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassGaussian {
    /// μ_y, `[classes, channels, height, width]`.
    pub mean: Array,
    /// B, orthonormal rows, `[rank, channels, height, width]`.
    pub basis: Array,
    /// L_y, lower triangular, `[classes, rank, rank]`.
    pub factor: Array,
}

impl ClassGaussian {
    /// One image of each class in `classes`, clamped to [0, 1]: `[batch, channels, height, width]`.
    /// Deviations from the mean are multiplied by `spread`.
    pub fn sample(&self, noise: impl Into<Noise>, classes: &[usize], spread: f32) -> Vec<f32> {
        let rank = self.basis.shape[0];
        let size: usize = self.basis.shape[1..].iter().product();
        let z = noise.into().normals(classes.len() * rank);
        let mut images = Vec::with_capacity(classes.len() * size);
        for (z, &class) in z.chunks_exact(rank).zip(classes) {
            let mut image = self.mean.values[class * size..][..size].to_vec();
            let factor = &self.factor.values[class * rank * rank..][..rank * rank];
            let rows = factor.chunks_exact(rank);
            let directions = self.basis.values.chunks_exact(size);
            for (row, direction) in rows.zip(directions) {
                let coefficient: f32 = row.iter().zip(z).map(|(l, z)| l * z).sum();
                for (pixel, direction) in image.iter_mut().zip(direction) {
                    *pixel += spread * coefficient * direction;
                }
            }
            images.extend(image.into_iter().map(|pixel| pixel.clamp(0.0, 1.0)));
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    #[test]
    fn class_gaussian_has_the_covariance_of_its_factor() {
        let array = |shape: &[usize], values: &[f32]| Array {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        // Two pixels, one direction (0.6, 0.8), deviation 0.05 for class 0 and 0.01 for class 1.
        let gaussian = ClassGaussian {
            mean: array(&[2, 1, 1, 2], &[0.5; 4]),
            basis: array(&[1, 1, 1, 2], &[0.6, 0.8]),
            factor: array(&[2, 1, 1], &[0.05, 0.01]),
        };
        let count = 20_000;
        for (class, spread, deviation) in [(0, 1.0, 0.05f64), (1, 1.0, 0.01), (0, 0.5, 0.025)] {
            let x = gaussian.sample(Key::new(9), &vec![class; count], spread);
            for (pixel, share) in [(0, 0.6), (1, 0.8)] {
                let values = x.iter().skip(pixel).step_by(2).map(|&v| v as f64 - 0.5);
                let variance = values.map(|v| v * v).sum::<f64>() / count as f64;
                let expected = (deviation * share).powi(2);
                let standard_error = expected * (2.0 / count as f64).sqrt();
                assert!(
                    (variance - expected).abs() < 5.0 * standard_error,
                    "{variance}"
                );
            }
        }
    }
}
