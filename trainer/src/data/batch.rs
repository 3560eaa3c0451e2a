//! Images and labels as tensors.

use basin_shared::{Key, tensors::whole_from_host};
use burn::tensor::{Device, Int, Tensor};

use super::Images;

/// `y` as a tensor.
pub(crate) fn labels(y: &[u8], device: &Device) -> Tensor<1, Int> {
    let y: Vec<usize> = y.iter().map(|&label| label.into()).collect();
    whole_from_host(&y, device)
}

/// x + std · N(0, I), clamped to [0, 1].
pub(crate) fn add_noise(x: Tensor<4>, std: f32, key: Key) -> Tensor<4> {
    (x.clone() + key.normal(x.dims(), &x.device()) * std).clamp(0.0, 1.0)
}

/// The first `count` images, or all where there are fewer.
pub(crate) fn head(images: &Images, count: usize) -> Images {
    images
        .clone()
        .hold_out(images.len().saturating_sub(count))
        .0
}
