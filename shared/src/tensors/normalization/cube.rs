//! The normalisation on tensors of Burn's CubeCL backend; its numbers are the kernel's own, and need no upload.

use burn::backend::{Cube, TensorMetadata};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::recorded::{Channel, Scale};
use crate::tensors::cube::{CubeTensor, empty, one_each};

/// One channel of a batch: a unit takes a number.
#[cube(launch_unchecked)]
fn scale_channel(
    x: &[f32],
    y: &mut [f32],
    mean: f32,
    std: f32,
    channel: u32,
    channels: u32,
    pixels: u32,
    count: u32,
) {
    let at = ABSOLUTE_POS as u32;
    if at < count {
        let image = at / pixels;
        let place = ((image * channels + channel) * pixels + at % pixels) as usize;
        y[place] = (x[place] - mean) / std;
    }
}

impl Scale for Cube {
    fn scale(x: CubeTensor, channels: Vec<Channel>) -> CubeTensor {
        let [batch, all, height, width] = x.shape().dims();
        let x = into_contiguous(x);
        let y = empty(&x, x.shape(), DType::F32);
        let count = batch * height * width;
        let client = x.client.clone();
        for (place, channel) in channels.into_iter().enumerate() {
            let (cubes, units) = one_each(&x, count);
            // SAFETY: every index is bounded by the sizes, which are those of the tensors.
            unsafe {
                scale_channel::launch_unchecked(
                    &client,
                    cubes,
                    units,
                    x.clone().into_buffer_arg(),
                    y.clone().into_buffer_arg(),
                    channel.mean,
                    channel.std,
                    place as u32,
                    all as u32,
                    (height * width) as u32,
                    count as u32,
                );
            }
        }
        y
    }
}
