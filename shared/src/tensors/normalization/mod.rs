//! What is done to images in front of the first layer: each channel less its mean, divided by its standard deviation.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "cubecl")]
mod recorded;

use burn::tensor::Tensor;

use super::on_tensors::from_host;
use crate::models::Normalization;

#[cfg(feature = "cubecl")]
pub(super) use recorded::gradient;

impl Normalization {
    /// `x`: `[batch, channels, height, width]` in [0, 1].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "cubecl")]
        if super::cube::is_single_on_cube(&x) {
            return recorded::normalize(self, x);
        }
        let alike = |values: &[f32]| values.iter().all(|&value| value == values[0]);
        if alike(&self.mean) && alike(&self.std) {
            return (x - self.mean[0]) / self.std[0];
        }
        let row = |values: &[f32]| {
            let shape = [1, values.len(), 1, 1];
            from_host(values.to_vec(), shape, &x.device().inner())
        };
        let (mean, std) = (row(&self.mean), row(&self.std));
        (x - mean) / std
    }
}
