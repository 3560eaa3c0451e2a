//! The activation functions on tensors of Burn's CubeCL backend.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::{Cube, TensorMetadata};
use burn::cubecl;
use burn::cubecl::{ir::ElemType, prelude::*};
use burn_cubecl::kernel::into_contiguous;

use super::recorded::{Function, Pass};
use crate::tensors::cube::{CubeTensor, empty, one_each};

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct How {
    silu: bool,
    /// Whether it is dy · f′(x).
    backward: bool,
}

impl Pass for Cube {
    fn pass(function: Function, x: CubeTensor, dy: Option<CubeTensor>) -> CubeTensor {
        let x = into_contiguous(x);
        let client = x.client.clone();
        let (shape, dtype) = (x.shape(), x.dtype);
        let count = shape.num_elements();
        let y = empty(&x, shape, dtype);
        let (silu, slope) = match function {
            Function::Silu => (true, 0.0),
            Function::LeakyRelu { slope } => (false, slope),
        };
        let backward = dy.is_some();
        let dy = dy.map_or_else(|| x.clone(), into_contiguous);
        let (cubes, units) = one_each(&x, count);
        // SAFETY: every index is below the count of numbers.
        unsafe {
            pass::launch_unchecked(
                &client,
                cubes,
                units,
                x.into_buffer_arg(),
                dy.into_buffer_arg(),
                y.clone().into_buffer_arg(),
                slope,
                count as u32,
                How { silu, backward },
                dtype_to_storage_type(dtype),
            );
        }
        y
    }
}

/// A unit takes a number.
#[cube(launch_unchecked)]
fn pass<E: Float>(
    x: &[E],
    dy: &[E],
    y: &mut [E],
    slope: f32,
    count: u32,
    #[comptime] how: How,
    #[define(E)] _element: ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at < count {
        let x = f32::cast_from(x[at as usize]);
        let mut number = select(x > 0.0f32, 1.0f32, slope);
        if comptime!(how.silu) {
            let sigmoid = 1.0f32 / (1.0f32 + (-x).exp());
            number = sigmoid;
            if comptime!(how.backward) {
                number = sigmoid * (1.0f32 + x * (1.0f32 - sigmoid));
            }
        }
        let mut factor = x;
        if comptime!(how.backward) {
            factor = f32::cast_from(dy[at as usize]);
        }
        y[at as usize] = E::cast_from(factor * number);
    }
}
