//! What the kernels for GPUs have in common: they run on tensors of Burn's CubeCL backend (CUDA, Vulkan, Metal, WebGPU).

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, DispatchDevice};
use burn::cubecl;
use burn::cubecl::{calculate_cube_count_elemwise, prelude::*};
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

/// Units of a cube ("threads of a block") that work together.
pub(super) const UNITS: usize = 128;

/// A tensor of the CubeCL backend.
pub(super) type CubeTensor = FloatTensor<Cube>;

/// Whether a device is one of CubeCL, with or without gradients.
pub fn is_cube(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Cube(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Cube(_)),
        _ => false,
    }
}

/// Whether a tensor is on a device of CubeCL in a precision that the kernels read.
pub(crate) fn runs_on_cube<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_cube(&tensor.device()) && matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

/// Whether it is so in single precision, and holds a number at least.
pub(super) fn is_single_on_cube<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_cube(&tensor.device()) && tensor.dtype() == DType::F32 && !tensor.dims().contains(&0)
}

/// A contiguous tensor beside another, whose numbers are still to be written.
pub(super) fn empty(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// A launch in which each unit takes one of so many numbers, the one at `ABSOLUTE_POS`; some units have none.
pub(super) fn one_each(like: &CubeTensor, numbers: usize) -> (CubeCount, CubeDim) {
    let units = CubeDim::new_1d(256);
    let cubes = calculate_cube_count_elemwise(&like.client, numbers, units);
    (cubes, units)
}

/// The sum of what the [`UNITS`] of a cube have, to the first of them; to the others 0.
#[cube]
pub(super) fn sum_of_units(own: f32) -> f32 {
    let mut of_units = Shared::<[f32]>::new_slice(UNITS);
    of_units[UNIT_POS as usize] = own;
    sync_cube();
    let mut sum = 0.0f32;
    if UNIT_POS == 0 {
        for unit in 0..UNITS {
            sum += of_units[unit];
        }
    }
    sum
}
