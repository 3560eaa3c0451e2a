//! The kernels of a step.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, TensorMetadata, backend_extension};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::{Rule, Step};
use crate::tensors::cube::{CubeTensor, UNITS, empty, one_each, sum_of_units};

/// Parts that the sum of a gradient's squares is cut into, one a cube.
pub(super) const PARTS: usize = 32;

/// The operations of a step.
#[backend_extension(Cube)]
pub(super) trait Descend: Backend {
    /// Writes the sums of the squares of the gradient's parts to their places among `sums`, which nobody else has.
    fn add_squares(
        gradient: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        place: usize,
    ) -> FloatTensor<Self>;

    /// The root of the sum of all numbers, `[1]`.
    fn root_of_sum(sums: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`super::step`].
    fn descend(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        step: Step,
        first: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`super::blend`].
    fn blend(average: FloatTensor<Self>, value: FloatTensor<Self>, decay: f32)
    -> FloatTensor<Self>;
}

/// A cube takes a part.
#[cube(launch_unchecked)]
fn squares(gradient: &[f32], sums: &mut [f32], first: u32, count: u32) {
    let all = comptime!((PARTS * UNITS) as u32);
    let mut sum = 0.0f32;
    for step in 0..count.div_ceil(all) {
        let at = step * all + CUBE_POS_X * comptime!(UNITS as u32) + UNIT_POS;
        if at < count {
            let number = gradient[at as usize];
            sum += number * number;
        }
    }
    let sum = sum_of_units(sum);
    if UNIT_POS == 0 {
        sums[(first + CUBE_POS_X) as usize] = sum;
    }
}

#[cube(launch_unchecked)]
fn root(sums: &[f32], output: &mut [f32], count: u32) {
    let mut sum = 0.0f32;
    for step in 0..count.div_ceil(comptime!(UNITS as u32)) {
        let at = step * comptime!(UNITS as u32) + UNIT_POS;
        if at < count {
            sum += sums[at as usize];
        }
    }
    let sum = sum_of_units(sum);
    if UNIT_POS == 0 {
        output[0] = sum.sqrt();
    }
}

/// What a step is to a kernel.
#[derive(CubeLaunch, CubeType)]
struct Numbers {
    rate: f32,
    largest_norm: f32,
    /// λ of the gradient, 0 where it is decoupled.
    decay: f32,
    /// What is left of the weight: 1, or 1 − r λ where λ is decoupled.
    kept: f32,
    /// What is left of m, μ or β₁.
    kept_m: f32,
    /// The share of the gradient in m.
    new_m: f32,
    /// What is left of v, β₂.
    kept_v: f32,
    /// The share of the gradient's square in v; without a v, of the gradient in the step.
    new_v: f32,
    /// The share of m in the step, with its correction.
    factor: f32,
    /// ε with its correction.
    epsilon: f32,
}

impl From<&Step> for NumbersLaunch {
    fn from(step: &Step) -> Self {
        let Step {
            rule,
            rate,
            time,
            largest_norm,
        } = *step;
        match rule {
            Rule::Sgd {
                momentum,
                nesterov,
                weight_decay,
            } => {
                let (own, factor) = if nesterov {
                    (1.0, momentum)
                } else {
                    (0.0, 1.0)
                };
                let (kept, kept_m, new_m) = (1.0, momentum, 1.0);
                Self::new(
                    rate,
                    largest_norm,
                    weight_decay,
                    kept,
                    kept_m,
                    new_m,
                    0.0,
                    own,
                    factor,
                    0.0,
                )
            }
            Rule::Adam {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                decoupled,
            } => {
                let time = time.min(i32::MAX as u64) as i32;
                let root = (1.0 - beta_2.powi(time)).sqrt();
                let factor = root / (1.0 - beta_1.powi(time));
                let (decay, kept) = match decoupled {
                    true => (0.0, 1.0 - rate * weight_decay),
                    false => (weight_decay, 1.0),
                };
                Self::new(
                    rate,
                    largest_norm,
                    decay,
                    kept,
                    beta_1,
                    1.0 - beta_1,
                    beta_2,
                    1.0 - beta_2,
                    factor,
                    epsilon * root,
                )
            }
        }
    }
}

/// A unit takes a number.
#[cube(launch_unchecked)]
fn descend_by_numbers(
    weight: &[f32],
    gradient: &[f32],
    m: &[f32],
    v: &[f32],
    norm: &[f32],
    new_weight: &mut [f32],
    new_m: &mut [f32],
    new_v: &mut [f32],
    numbers: Numbers,
    first: u32,
    count: u32,
    #[comptime] adam: bool,
) {
    let at = ABSOLUTE_POS;
    if (at as u32) < count {
        let w = weight[at];
        let scale = 1.0f32 / max(norm[0] / numbers.largest_norm, 1.0f32);
        let g = gradient[at] * scale + numbers.decay * w;
        let begins = first == 1u32;
        let moment = select(begins, 0.0f32, numbers.kept_m * m[at]) + numbers.new_m * g;
        new_m[at] = moment;
        if comptime!(adam) {
            let square = select(begins, 0.0f32, numbers.kept_v * v[at]) + numbers.new_v * g * g;
            new_v[at] = square;
            let by = numbers.factor * moment / (square.sqrt() + numbers.epsilon);
            new_weight[at] = numbers.kept * w - numbers.rate * by;
        } else {
            new_weight[at] = w - numbers.rate * (numbers.factor * moment + numbers.new_v * g);
        }
    }
}

/// A unit takes a number.
#[cube(launch_unchecked)]
fn blend_numbers(average: &[f32], value: &[f32], output: &mut [f32], decay: f32, count: u32) {
    let at = ABSOLUTE_POS;
    if (at as u32) < count {
        output[at] = decay * average[at] + (1.0f32 - decay) * value[at];
    }
}

fn like(tensor: &CubeTensor) -> CubeTensor {
    empty(tensor, tensor.shape(), DType::F32)
}

impl Descend for Cube {
    fn add_squares(gradient: CubeTensor, sums: CubeTensor, place: usize) -> CubeTensor {
        let gradient = into_contiguous(gradient);
        let count = gradient.shape().num_elements();
        let client = gradient.client.clone();
        // SAFETY: every index is below the count, and the sums have room for all parts of this place.
        unsafe {
            squares::launch_unchecked(
                &client,
                CubeCount::new_1d(PARTS as u32),
                CubeDim::new_1d(UNITS as u32),
                gradient.into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                (place * PARTS) as u32,
                count as u32,
            );
        }
        sums
    }

    fn root_of_sum(sums: CubeTensor) -> CubeTensor {
        let count = sums.shape().num_elements();
        let output = empty(&sums, [1], DType::F32);
        let client = sums.client.clone();
        // SAFETY: every index is below the count.
        unsafe {
            root::launch_unchecked(
                &client,
                CubeCount::new_single(),
                CubeDim::new_1d(UNITS as u32),
                sums.into_buffer_arg(),
                output.clone().into_buffer_arg(),
                count as u32,
            );
        }
        output
    }

    fn descend(
        weight: CubeTensor,
        gradient: CubeTensor,
        m: CubeTensor,
        v: CubeTensor,
        norm: CubeTensor,
        step: Step,
        first: bool,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let adam = matches!(step.rule, Rule::Adam { .. });
        let count = weight.shape().num_elements();
        let (new_weight, new_m) = (like(&weight), like(&m));
        let new_v = match adam {
            true => like(&v),
            false => new_m.clone(),
        };
        let (cubes, units) = one_each(&weight, count);
        let client = weight.client.clone();
        // SAFETY: every index is below the count, which is that of all but the norm.
        unsafe {
            descend_by_numbers::launch_unchecked(
                &client,
                cubes,
                units,
                into_contiguous(weight).into_buffer_arg(),
                into_contiguous(gradient).into_buffer_arg(),
                m.into_buffer_arg(),
                v.into_buffer_arg(),
                norm.into_buffer_arg(),
                new_weight.clone().into_buffer_arg(),
                new_m.clone().into_buffer_arg(),
                new_v.clone().into_buffer_arg(),
                (&step).into(),
                first.into(),
                count as u32,
                adam,
            );
        }
        (new_weight, new_m, new_v)
    }

    fn blend(average: CubeTensor, value: CubeTensor, decay: f32) -> CubeTensor {
        let count = average.shape().num_elements();
        let output = like(&average);
        let (cubes, units) = one_each(&average, count);
        let client = average.client.clone();
        // SAFETY: every index is below the count, which is that of both.
        unsafe {
            blend_numbers::launch_unchecked(
                &client,
                cubes,
                units,
                into_contiguous(average).into_buffer_arg(),
                into_contiguous(value).into_buffer_arg(),
                output.clone().into_buffer_arg(),
                decay,
                count as u32,
            );
        }
        output
    }
}
