//! The kernels of a step.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, Dispatch, TensorMetadata, backend_extension};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::into_contiguous;

use crate::tensors::cube::{CubeTensor, UNITS, empty, one_each, sum_of_units};

/// The numbers of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) step_size: f32,
    pub(super) noise_std: f32,
    pub(super) friction: f32,
    /// What no component of the gradient exceeds.
    pub(super) limit: f32,
    /// Whether each image's gradient is divided by its length.
    pub(super) normalize: bool,
    pub(super) clamp: bool,
}

/// The images and their velocities after a step; without a velocity they were at rest, without noise there is none.
pub(super) fn step(
    x: Tensor<4>,
    velocity: Option<Tensor<4>>,
    gradient: Tensor<4>,
    noise: Option<Tensor<4>>,
    numbers: Numbers,
) -> (Tensor<4>, Tensor<4>) {
    // Times zero, any number will do.
    let numbers = Numbers {
        friction: velocity.as_ref().map_or(0.0, |_| numbers.friction),
        noise_std: noise.as_ref().map_or(0.0, |_| numbers.noise_std),
        ..numbers
    };
    let velocity = velocity.unwrap_or_else(|| x.clone());
    let noise = noise.unwrap_or_else(|| x.clone());
    let [x, velocity, gradient, noise] = [x, velocity, gradient, noise].map(Tensor::into_dispatch);
    let (x, velocity) = Dispatch::langevin(x, velocity, gradient, noise, numbers);
    (Tensor::from_dispatch(x), Tensor::from_dispatch(velocity))
}

/// The operation.
#[backend_extension(Cube)]
trait Langevin: Backend {
    fn langevin(
        x: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        noise: FloatTensor<Self>,
        numbers: Numbers,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// One over the length of each image's gradient: a cube takes an image.
#[cube(launch_unchecked)]
fn scales(gradient: &[f32], output: &mut [f32], numbers: u32) {
    let mut sum = 0.0f32;
    for step in 0..numbers.div_ceil(comptime!(UNITS as u32)) {
        let at = step * comptime!(UNITS as u32) + UNIT_POS;
        if at < numbers {
            let number = gradient[(CUBE_POS_X * numbers + at) as usize];
            sum += number * number;
        }
    }
    let sum = sum_of_units(sum);
    if UNIT_POS == 0 {
        output[CUBE_POS_X as usize] = 1.0f32 / max(sum.sqrt(), 1e-12f32);
    }
}

/// A unit takes a number.
#[cube(launch_unchecked)]
fn move_numbers(
    x: &[f32],
    velocity: &[f32],
    gradient: &[f32],
    noise: &[f32],
    scales: &[f32],
    new_x: &mut [f32],
    new_velocity: &mut [f32],
    step_size: f32,
    noise_std: f32,
    friction: f32,
    limit: f32,
    of_image: u32,
    count: u32,
    #[comptime] normalize: bool,
    #[comptime] clamp: bool,
) {
    let at = ABSOLUTE_POS;
    if (at as u32) < count {
        let mut along = min(max(gradient[at], -limit), limit);
        if comptime!(normalize) {
            along *= scales[(at as u32 / of_image) as usize];
        }
        let faster = friction * velocity[at] - step_size * along;
        let mut moved = x[at] + faster + noise_std * noise[at];
        if comptime!(clamp) {
            moved = min(max(moved, 0.0f32), 1.0f32);
        }
        new_velocity[at] = faster;
        new_x[at] = moved;
    }
}

impl Langevin for Cube {
    fn langevin(
        x: CubeTensor,
        velocity: CubeTensor,
        gradient: CubeTensor,
        noise: CubeTensor,
        numbers: Numbers,
    ) -> (CubeTensor, CubeTensor) {
        let shape = x.shape();
        let [batch, ..] = shape.dims::<4>();
        let count = shape.num_elements();
        let gradient = into_contiguous(gradient);
        let client = x.client.clone();
        // Not read where the gradient is left as long as it is.
        let mut of_images = gradient.clone();
        if numbers.normalize {
            of_images = empty(&gradient, [batch], DType::F32);
            // SAFETY: every index is below the count of the batch's numbers.
            unsafe {
                scales::launch_unchecked(
                    &client,
                    CubeCount::new_1d(batch as u32),
                    CubeDim::new_1d(UNITS as u32),
                    gradient.clone().into_buffer_arg(),
                    of_images.clone().into_buffer_arg(),
                    (count / batch) as u32,
                );
            }
        }
        let new_x = empty(&gradient, shape.clone(), DType::F32);
        let new_velocity = empty(&gradient, shape, DType::F32);
        let (cubes, units) = one_each(&gradient, count);
        // SAFETY: every index is below the count, which is that of all but the scales, of which each image has one.
        unsafe {
            move_numbers::launch_unchecked(
                &client,
                cubes,
                units,
                into_contiguous(x).into_buffer_arg(),
                into_contiguous(velocity).into_buffer_arg(),
                gradient.into_buffer_arg(),
                into_contiguous(noise).into_buffer_arg(),
                of_images.into_buffer_arg(),
                new_x.clone().into_buffer_arg(),
                new_velocity.clone().into_buffer_arg(),
                numbers.step_size,
                numbers.noise_std,
                numbers.friction,
                numbers.limit,
                (count / batch) as u32,
                count as u32,
                numbers.normalize,
                numbers.clamp,
            );
        }
        (new_x, new_velocity)
    }
}
