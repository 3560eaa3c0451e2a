//! The last layer on tensors of Burn's CubeCL backend.

use burn::backend::{Cube, TensorMetadata};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::recorded::Kernels;
use crate::tensors::cube::{CubeTensor, empty, one_each};

/// The mean of each channel of each image: a unit for a channel.
#[cube(launch_unchecked)]
fn pool(x: &[f32], means: &mut [f32], channels: u32, pixels: u32) {
    let channel = ABSOLUTE_POS as u32;
    if channel < channels {
        let mut sum = 0.0f32;
        for pixel in 0..pixels {
            sum += x[(channel * pixels + pixel) as usize];
        }
        means[channel as usize] = sum / f32::cast_from(pixels);
    }
}

/// A unit for a logit.
#[cube(launch_unchecked)]
fn product(
    means: &[f32],
    weight: &[f32],
    bias: &[f32],
    logits: &mut [f32],
    images: u32,
    channels: u32,
    classes: u32,
) {
    let at = ABSOLUTE_POS as u32;
    if at < images * classes {
        let image = at / classes;
        let class = at % classes;
        let mut sum = bias[class as usize];
        for channel in 0..channels {
            let mean = means[(image * channels + channel) as usize];
            sum += weight[(class * channels + channel) as usize] * mean;
        }
        logits[at as usize] = sum;
    }
}

/// ∂/∂x, the same for all pixels of a channel: a unit for a pixel.
#[cube(launch_unchecked)]
fn slopes_of_pixels(
    slopes: &[f32],
    weight: &[f32],
    output: &mut [f32],
    channels: u32,
    classes: u32,
    pixels: u32,
    count: u32,
) {
    let at = ABSOLUTE_POS as u32;
    if at < count {
        let channel = at / pixels % channels;
        let image = at / pixels / channels;
        let mut sum = 0.0f32;
        for class in 0..classes {
            let slope = slopes[(image * classes + class) as usize];
            sum += slope * weight[(class * channels + channel) as usize];
        }
        output[at as usize] = sum / f32::cast_from(pixels);
    }
}

/// ∂/∂weight and ∂/∂bias: a unit for a number of the weight, and one more each class.
#[cube(launch_unchecked)]
fn slopes_of_weights(
    slopes: &[f32],
    means: &[f32],
    of_weight: &mut [f32],
    of_bias: &mut [f32],
    images: u32,
    channels: u32,
    classes: u32,
) {
    let at = ABSOLUTE_POS as u32;
    let across = channels + 1;
    if at < classes * across {
        let class = at / across;
        let channel = at % across;
        let mut sum = 0.0f32;
        if channel < channels {
            for image in 0..images {
                let mean = means[(image * channels + channel) as usize];
                sum += slopes[(image * classes + class) as usize] * mean;
            }
            of_weight[(class * channels + channel) as usize] = sum;
        } else {
            for image in 0..images {
                sum += slopes[(image * classes + class) as usize];
            }
            of_bias[class as usize] = sum;
        }
    }
}

impl Kernels for Cube {
    fn pool(x: CubeTensor) -> CubeTensor {
        let [batch, channels, height, width] = x.shape().dims();
        let x = into_contiguous(x);
        let means = empty(&x, [batch, channels], DType::F32);
        let (cubes, units) = one_each(&x, batch * channels);
        let client = x.client.clone();
        // SAFETY: every index is bounded by the sizes, which are those of the tensors.
        unsafe {
            pool::launch_unchecked(
                &client,
                cubes,
                units,
                x.into_buffer_arg(),
                means.clone().into_buffer_arg(),
                (batch * channels) as u32,
                (height * width) as u32,
            );
        }
        means
    }

    fn product(means: CubeTensor, weight: CubeTensor, bias: CubeTensor) -> CubeTensor {
        let [batch, channels] = means.shape().dims();
        let [classes] = bias.shape().dims();
        let logits = empty(&means, [batch, classes], DType::F32);
        let (cubes, units) = one_each(&means, batch * classes);
        let client = means.client.clone();
        // SAFETY: as above.
        unsafe {
            product::launch_unchecked(
                &client,
                cubes,
                units,
                means.into_buffer_arg(),
                into_contiguous(weight).into_buffer_arg(),
                into_contiguous(bias).into_buffer_arg(),
                logits.clone().into_buffer_arg(),
                batch as u32,
                channels as u32,
                classes as u32,
            );
        }
        logits
    }

    fn data_gradient(slopes: CubeTensor, weight: CubeTensor, size: [usize; 2]) -> CubeTensor {
        let [batch, classes] = slopes.shape().dims();
        let [_, channels] = weight.shape().dims();
        let [height, width] = size;
        let slopes = into_contiguous(slopes);
        let output = empty(&slopes, [batch, channels, height, width], DType::F32);
        let count = batch * channels * height * width;
        let (cubes, units) = one_each(&slopes, count);
        let client = slopes.client.clone();
        // SAFETY: as above.
        unsafe {
            slopes_of_pixels::launch_unchecked(
                &client,
                cubes,
                units,
                slopes.into_buffer_arg(),
                into_contiguous(weight).into_buffer_arg(),
                output.clone().into_buffer_arg(),
                channels as u32,
                classes as u32,
                (height * width) as u32,
                count as u32,
            );
        }
        output
    }

    fn weight_gradients(slopes: CubeTensor, means: CubeTensor) -> [CubeTensor; 2] {
        let [batch, classes] = slopes.shape().dims();
        let [_, channels] = means.shape().dims();
        let slopes = into_contiguous(slopes);
        let of_weight = empty(&slopes, [classes, channels], DType::F32);
        let of_bias = empty(&slopes, [classes], DType::F32);
        let (cubes, units) = one_each(&slopes, classes * (channels + 1));
        let client = slopes.client.clone();
        // SAFETY: as above.
        unsafe {
            slopes_of_weights::launch_unchecked(
                &client,
                cubes,
                units,
                slopes.into_buffer_arg(),
                means.into_buffer_arg(),
                of_weight.clone().into_buffer_arg(),
                of_bias.clone().into_buffer_arg(),
                batch as u32,
                channels as u32,
                classes as u32,
            );
        }
        [of_weight, of_bias]
    }
}
