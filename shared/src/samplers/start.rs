//! Where chains start: uniform noise, a class Gaussian, or a given image.

use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// Where a chain starts, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Every pixel from U[0, 1).
    Uniform,
    /// The Gaussian of the intended class, [`ClassGaussian`].
    ClassGaussian,
}

/// Per-class Gaussians N(μ_y, Σ_y) in the span of a few directions that all classes share
/// (JEAT, the start under eq. 4; Yang & Ji 2021 (JEM++), section 2, with a full Σ_y).
///
/// x = μ_y + B L_y z with z ~ N(0, I): B holds the leading principal directions of the training
/// images, L_y the Cholesky factor of the class's covariance in them. A full Σ_y of 28 x 28 pixels
/// would be 0.6 M numbers a class; this is a fiftieth of it.
#[derive(Clone, Debug)]
pub struct ClassGaussian {
    /// μ_y, `[classes, channels, height, width]`.
    pub mean: Tensor<4>,
    /// B, orthonormal rows, `[rank, channels, height, width]`.
    pub basis: Tensor<4>,
    /// L_y, lower triangular, `[classes, rank, rank]`.
    pub factor: Tensor<3>,
}

impl ClassGaussian {
    /// One image of each class in `y`, clamped to [0, 1].
    ///
    /// # Shapes
    /// - `y`: `[batch]`; returns `[batch, channels, height, width]`
    pub fn sample(&self, key: Key, y: Tensor<1, Int>) -> Tensor<4> {
        let [batch] = y.dims();
        let [rank, channels, height, width] = self.basis.dims();
        let z = key.normal([batch, rank, 1], &self.mean.device());
        let coefficients = self.factor.clone().select(0, y.clone()).matmul(z); // [batch, rank, 1]
        let offset = coefficients
            .squeeze_dim::<2>(2)
            .matmul(self.basis.clone().flatten::<2>(1, 3));
        let x = self.mean.clone().select(0, y) + offset.reshape([batch, channels, height, width]);
        x.clamp(0.0, 1.0)
    }
}

/// Uniform noise, `[batch, channels, height, width]`.
pub fn uniform(key: Key, shape: [usize; 4], device: &Device) -> Tensor<4> {
    key.uniform(shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_gaussian_has_the_covariance_of_its_factor() {
        let device = Device::flex();
        // Two pixels, one direction (0.6, 0.8), deviation 0.05 for class 0 and 0.01 for class 1.
        let gaussian = ClassGaussian {
            mean: Tensor::full([2, 1, 1, 2], 0.5, &device),
            basis: Tensor::from_data([[[[0.6, 0.8]]]], &device),
            factor: Tensor::from_data([[[0.05]], [[0.01]]], &device),
        };
        let count = 20_000;
        for (class, deviation) in [(0, 0.05f64), (1, 0.01)] {
            let y = Tensor::full([count], class, &device);
            let x = gaussian
                .sample(Key::new(9), y)
                .into_data()
                .try_to_vec::<f32>()
                .unwrap();
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
