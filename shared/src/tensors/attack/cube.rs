//! The kernel of a step.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, Dispatch, TensorMetadata, backend_extension};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::into_contiguous;

use crate::tensors::cube::{CubeTensor, empty, one_each};

/// x_adv + `size` · (direction + `shift`), or of the direction's sign, cut to within ε of x and to [0, 1].
pub(super) fn move_within(
    x_adv: Tensor<4>,
    x: &Tensor<4>,
    direction: Tensor<4>,
    [shift, size]: [f32; 2],
    epsilon: f32,
    by_sign: bool,
) -> Tensor<4> {
    let [x_adv, x, direction] = [x_adv, x.clone(), direction].map(Tensor::into_dispatch);
    let way = Way {
        shift,
        size,
        epsilon,
        by_sign,
    };
    Tensor::from_dispatch(Dispatch::move_within(x_adv, x, direction, way))
}

#[derive(Clone, Copy, Debug)]
struct Way {
    shift: f32,
    size: f32,
    epsilon: f32,
    by_sign: bool,
}

/// The operation.
#[backend_extension(Cube)]
trait Move: Backend {
    fn move_within(
        x_adv: FloatTensor<Self>,
        x: FloatTensor<Self>,
        direction: FloatTensor<Self>,
        way: Way,
    ) -> FloatTensor<Self>;
}

/// A unit takes a number.
#[cube(launch_unchecked)]
fn move_numbers(
    x_adv: &[f32],
    x: &[f32],
    direction: &[f32],
    output: &mut [f32],
    shift: f32,
    size: f32,
    epsilon: f32,
    by_sign: u32,
    count: u32,
) {
    let at = ABSOLUTE_POS;
    if (at as u32) < count {
        let along = direction[at] + shift;
        let sign = select(
            along > 0.0f32,
            1.0f32,
            select(along < 0.0f32, -1.0f32, 0.0f32),
        );
        let along = select(by_sign == 1u32, sign, along);
        let change = x_adv[at] + size * along - x[at];
        let change = min(max(change, -epsilon), epsilon);
        output[at] = min(max(change + x[at], 0.0f32), 1.0f32);
    }
}

impl Move for Cube {
    fn move_within(
        x_adv: CubeTensor,
        x: CubeTensor,
        direction: CubeTensor,
        way: Way,
    ) -> CubeTensor {
        let shape = x.shape();
        let count = shape.num_elements();
        let x = into_contiguous(x);
        let output = empty(&x, shape, DType::F32);
        let (cubes, units) = one_each(&x, count);
        let client = x.client.clone();
        // SAFETY: every index is below the count, which is that of all.
        unsafe {
            move_numbers::launch_unchecked(
                &client,
                cubes,
                units,
                into_contiguous(x_adv).into_buffer_arg(),
                x.into_buffer_arg(),
                into_contiguous(direction).into_buffer_arg(),
                output.clone().into_buffer_arg(),
                way.shift,
                way.size,
                way.epsilon,
                way.by_sign.into(),
                count as u32,
            );
        }
        output
    }
}
