//! The activation functions as operations of Burn's Flex backend, with their backward passes.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};

use crate::engine::cpu::activation::{Activation, LeakyRelu, Silu};
use crate::engine::simd::{Isa, Kernel, Output, Simd};
use crate::tensors::convolution::{dense, numbers};

/// Numbers of one part of the work: enough to be worth a thread, few enough for its nearest cache.
const PART: usize = 16 * 1024;

pub(super) fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::activate_silu(x.into_dispatch()))
}

pub(super) fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::activate_leaky_relu(
        x.into_dispatch(),
        slope as f32,
    ))
}

/// The two operations.
#[backend_extension(Flex, Autodiff)]
trait Activate: Backend {
    fn activate_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn activate_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self>;
}

impl Activate for Flex {
    fn activate_silu(x: FlexTensor) -> FlexTensor {
        map(&Silu, x)
    }

    fn activate_leaky_relu(x: FlexTensor, slope: f32) -> FlexTensor {
        map(&LeakyRelu { slope }, x)
    }
}

impl<C: CheckpointStrategy> Activate for Autodiff<Flex, C> {
    fn activate_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, _>(Silu, x)
    }

    fn activate_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        record::<C, _>(LeakyRelu { slope }, x)
    }
}

/// The forward pass, recorded for the backward pass.
fn record<C: CheckpointStrategy, A: Activation>(
    activation: A,
    x: FloatTensor<Autodiff<Flex>>,
) -> FloatTensor<Autodiff<Flex>> {
    match Gradient(activation.clone())
        .prepare::<C>([x.node()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let kept = prep.checkpoint(&x);
            prep.finish(kept, map(&activation, x.into_primitive()))
        }
        OpsKind::UnTracked(prep) => prep.finish(map(&activation, x.into_primitive())),
    }
}

/// The backward pass, dx = dy · f′(x); what is kept is x.
#[derive(Debug)]
struct Gradient<A>(A);

impl<A: Activation> Backward<Flex, 1> for Gradient<A> {
    type State = NodeId;

    fn backward(self, ops: Ops<NodeId, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = dense(grads.consume::<Flex>(&ops.node));
        let x = dense(checkpointer.retrieve_node_output::<FlexTensor>(ops.state));
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let dx = run(&self.0, numbers(&x), Some(numbers(&dy)));
            grads.register::<Flex>(
                parent.id,
                FlexTensor::from_data(TensorData::new(dx, x.shape())),
            );
        }
    }
}

/// f(x) of every number.
fn map<A: Activation>(activation: &A, x: FlexTensor) -> FlexTensor {
    let x = dense(x);
    let y = run(activation, numbers(&x), None);
    FlexTensor::from_data(TensorData::new(y, x.shape()))
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
