//! Draws of a key as tensors. A GPU (Burn's CubeCL backend) makes them itself; for every other device the host does.

#[cfg(feature = "cubecl")]
mod cube;

use burn::tensor::{Device, Tensor};

use super::on_tensors::from_host;
use crate::key::Key;

/// What is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Law {
    /// U[0, 1).
    Uniform,
    /// N(0, 1).
    Normal,
}

impl Key {
    /// A tensor of draws from U[0, 1), the same bits on every device.
    pub fn uniform<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.draws(Law::Uniform, shape, device)
    }

    /// A tensor of draws from N(0, 1), the same on every device up to rounding.
    pub fn normal<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.draws(Law::Normal, shape, device)
    }

    fn draws<const D: usize>(self, law: Law, shape: [usize; D], device: &Device) -> Tensor<D> {
        let count = shape.iter().product();
        #[cfg(feature = "cubecl")]
        if let Some(drawn) = cube::draws(self, law, count, device) {
            return drawn.reshape(shape);
        }
        let values = match law {
            Law::Uniform => self.uniforms(count),
            Law::Normal => self.normals(count),
        };
        from_host(values, shape, device)
    }
}
