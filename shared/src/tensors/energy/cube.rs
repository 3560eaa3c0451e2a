//! The terms of energies, and means, on tensors of Burn's CubeCL backend.

use burn::backend::tensor::IntTensor;
use burn::backend::{Cube, TensorMetadata, cubecl::dtype_to_storage_type};
use burn::cubecl;
use burn::cubecl::{ir::ElemType, prelude::*};
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::recorded::{Kernels, Terms};
use crate::tensors::cube::{CubeTensor, UNITS, empty, one_each, sum_of_units};

/// The weights of [`Terms`].
#[derive(CubeLaunch, CubeType)]
struct Weights {
    of_class: f32,
    log_sum: f32,
    hit: f32,
}

impl From<Terms> for WeightsLaunch {
    fn from(terms: Terms) -> Self {
        Self::new(terms.of_class, terms.log_sum, terms.hit)
    }
}

/// The largest of an image's logits, its class, and Σ exp(f − largest).
#[cube]
fn sum_of_exponentials(logits: &[f32], begin: u32, count: u32) -> (f32, u32, f32) {
    let mut largest = logits[begin as usize];
    let mut best = 0u32;
    for class in 1..count {
        let logit = logits[(begin + class) as usize];
        if logit > largest {
            largest = logit;
            best = class;
        }
    }
    let mut sum = 0.0f32;
    for class in 0..count {
        sum += (logits[(begin + class) as usize] - largest).exp();
    }
    (largest, best, sum)
}

/// A unit takes an image.
#[cube(launch_unchecked)]
fn add_terms<I: Int>(
    logits: &[f32],
    classes: &[I],
    values: &mut [f32],
    weights: Weights,
    images: u32,
    count: u32,
    #[define(I)] _class: ElemType,
) {
    let image = ABSOLUTE_POS as u32;
    if image < images {
        let begin = image * count;
        let (largest, best, sum) = sum_of_exponentials(logits, begin, count);
        let class = u32::cast_from(classes[image as usize]);
        let there = class < count;
        let of_class = logits[(begin + select(there, class, 0u32)) as usize];
        let mut value = weights.log_sum * (largest + sum.ln());
        value += select(there, weights.of_class * of_class, 0.0f32);
        value += select(best == class, weights.hit, 0.0f32);
        values[image as usize] = value;
    }
}

/// A unit takes an image.
#[cube(launch_unchecked)]
fn slopes_of_terms<I: Int>(
    logits: &[f32],
    classes: &[I],
    slopes_of_values: &[f32],
    slopes: &mut [f32],
    weights: Weights,
    images: u32,
    count: u32,
    #[define(I)] _class: ElemType,
) {
    let image = ABSOLUTE_POS as u32;
    if image < images {
        let begin = image * count;
        let (largest, _, sum) = sum_of_exponentials(logits, begin, count);
        let of_image = u32::cast_from(classes[image as usize]);
        let slope = slopes_of_values[image as usize];
        for class in 0..count {
            let probability = (logits[(begin + class) as usize] - largest).exp() / sum;
            let own = select(class == of_image, weights.of_class, 0.0f32);
            slopes[(begin + class) as usize] = slope * (own + weights.log_sum * probability);
        }
    }
}

/// The sum of all numbers times a factor, by one cube.
#[cube(launch_unchecked)]
fn add(numbers: &[f32], output: &mut [f32], factor: f32, count: u32) {
    let mut sum = 0.0f32;
    for step in 0..count.div_ceil(comptime!(UNITS as u32)) {
        let at = step * comptime!(UNITS as u32) + UNIT_POS;
        if at < count {
            sum += numbers[at as usize];
        }
    }
    let sum = sum_of_units(sum);
    if UNIT_POS == 0 {
        output[0] = sum * factor;
    }
}

/// A number times a factor, at every place.
#[cube(launch_unchecked)]
fn spread(number: &[f32], output: &mut [f32], factor: f32, count: u32) {
    let at = ABSOLUTE_POS as u32;
    if at < count {
        output[at as usize] = number[0] * factor;
    }
}

/// The classes as a kernel reads them, and of which type; where there are none, any memory will do.
fn classes(logits: &CubeTensor, y: Option<IntTensor<Cube>>) -> (CubeTensor, ElemType) {
    let y = y.map(into_contiguous);
    let element = dtype_to_storage_type(y.as_ref().map_or(DType::I32, |y| y.dtype));
    (y.unwrap_or_else(|| logits.clone()), element)
}

impl Kernels for Cube {
    fn terms(logits: CubeTensor, y: Option<IntTensor<Cube>>, terms: Terms) -> CubeTensor {
        let [images, count] = logits.shape().dims();
        let logits = into_contiguous(logits);
        let values = empty(&logits, [images], DType::F32);
        let (y, element) = classes(&logits, y);
        let (cubes, units) = one_each(&logits, images);
        let client = logits.client.clone();
        // SAFETY: every index is bounded by the counts, which are those of the tensors.
        unsafe {
            add_terms::launch_unchecked(
                &client,
                cubes,
                units,
                logits.into_buffer_arg(),
                y.into_buffer_arg(),
                values.clone().into_buffer_arg(),
                terms.into(),
                images as u32,
                count as u32,
                element,
            );
        }
        values
    }

    fn slopes(
        logits: CubeTensor,
        y: Option<IntTensor<Cube>>,
        slopes_of_values: CubeTensor,
        terms: Terms,
    ) -> CubeTensor {
        let [images, count] = logits.shape().dims();
        let logits = into_contiguous(logits);
        let slopes = empty(&logits, [images, count], DType::F32);
        let (y, element) = classes(&logits, y);
        let (cubes, units) = one_each(&logits, images);
        let client = logits.client.clone();
        // SAFETY: as above.
        unsafe {
            slopes_of_terms::launch_unchecked(
                &client,
                cubes,
                units,
                logits.into_buffer_arg(),
                y.into_buffer_arg(),
                into_contiguous(slopes_of_values).into_buffer_arg(),
                slopes.clone().into_buffer_arg(),
                terms.into(),
                images as u32,
                count as u32,
                element,
            );
        }
        slopes
    }

    fn mean(values: CubeTensor) -> CubeTensor {
        let values = into_contiguous(values);
        let count = values.shape().num_elements();
        let mean = empty(&values, [1], DType::F32);
        let client = values.client.clone();
        // SAFETY: every index is below the count.
        unsafe {
            add::launch_unchecked(
                &client,
                CubeCount::new_single(),
                CubeDim::new_1d(UNITS as u32),
                values.into_buffer_arg(),
                mean.clone().into_buffer_arg(),
                1.0 / count as f32,
                count as u32,
            );
        }
        mean
    }

    fn slopes_of_mean(slope: CubeTensor, count: usize) -> CubeTensor {
        let slope = into_contiguous(slope);
        let slopes = empty(&slope, [count], DType::F32);
        let (cubes, units) = one_each(&slope, count);
        let client = slope.client.clone();
        // SAFETY: as above.
        unsafe {
            spread::launch_unchecked(
                &client,
                cubes,
                units,
                slope.into_buffer_arg(),
                slopes.clone().into_buffer_arg(),
                1.0 / count as f32,
                count as u32,
            );
        }
        slopes
    }
}
