//! The activation functions on tensors of Burn's Flex backend.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;

use super::recorded::Function;
use crate::engine::cpu::activation::{Activation, LeakyRelu, Silu};
use crate::engine::simd::{Isa, Kernel, Output, Simd};
use crate::tensors::convolution::{dense, numbers};

/// Numbers of one part of the work: enough to be worth a thread, few enough for its nearest cache.
const PART: usize = 16 * 1024;

impl super::recorded::Pass for Flex {
    fn pass(function: Function, x: FlexTensor, dy: Option<FlexTensor>) -> FlexTensor {
        let (x, dy) = (dense(x), dy.map(dense));
        let (numbers, slopes) = (numbers(&x), dy.as_ref().map(numbers));
        let output = match function {
            Function::Silu => run(&Silu, numbers, slopes),
            Function::LeakyRelu { slope } => run(&LeakyRelu { slope }, numbers, slopes),
        };
        FlexTensor::from_data(TensorData::new(output, x.shape()))
    }
}

/// f(x) of every number, or dy · f′(x) where there is a dy.
fn run<A: Activation>(activation: &A, x: &[f32], dy: Option<&[f32]>) -> Vec<f32> {
    if let Some(dy) = dy {
        assert_eq!(x.len(), dy.len(), "a gradient has the shape of its tensor");
    }
    let mut output = Vec::with_capacity(x.len());
    let pass = Pass {
        activation,
        x,
        dy,
        output: Output(output.as_mut_ptr()),
    };
    Isa::best().run(&pass, x.len().div_ceil(PART));
    // SAFETY: the parts together have written every number.
    unsafe { output.set_len(x.len()) };
    output
}

/// One pass over all numbers.
struct Pass<'a, A> {
    activation: &'a A,
    x: &'a [f32],
    dy: Option<&'a [f32]>,
    output: Output,
}

impl<A: Activation> Kernel for Pass<'_, A> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let start = index * PART;
        let x = &self.x[start..self.x.len().min(start + PART)];
        // SAFETY: the output has room for as many numbers as x, and each part has its own.
        let output = unsafe { self.output.at(start) };
        match self.dy {
            None => {
                for (i, &x) in x.iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { *output.add(i) = self.activation.value(x) };
                }
            }
            Some(dy) => {
                let dy = &dy[start..start + x.len()];
                for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
                    // SAFETY: as above.
                    unsafe { *output.add(i) = dy * self.activation.derivative(x) };
                }
            }
        }
    }
}
