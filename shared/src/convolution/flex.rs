//! The kernels of [`super::cpu`] as an operation of Burn's Flex backend, with its backward pass.

use std::cell::Cell;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, Sizes};
use crate::simd::Isa;

/// A tensor of Flex with its place in the graph.
type AutodiffFlexTensor = FloatTensor<Autodiff<Flex>>;

thread_local! {
    static WEIGHT_GRADIENTS: Cell<usize> = const { Cell::new(0) };
}

/// How many weight gradients backward passes on this thread have computed with the processor's
/// kernels, so that a test can show that following ∇ₓ computes none.
pub fn weight_gradients_computed() -> usize {
    WEIGHT_GRADIENTS.get()
}

/// Whether a tensor is a single-precision tensor of the Flex backend, with or without gradients.
pub(crate) fn runs_on_flex<const D: usize>(tensor: &Tensor<D>) -> bool {
    use burn::backend::DispatchDevice;
    let device = tensor.device();
    let flex = match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns)]
        _ => false,
    };
    flex && tensor.dtype() == DType::F32
}

/// Runs the operation on whichever of the two backends the tensors are.
pub(super) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::convolve_and_add(x, weight, bias.into_dispatch(), stride),
        None => Dispatch::convolve(x, weight, stride),
    })
}

/// The operation, see [`super::conv2d`], without and with a bias.
#[backend_extension(Flex, Autodiff)]
trait Convolve: Backend {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;

    fn convolve_and_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

impl Convolve for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, stride: usize) -> FlexTensor {
        forward(x, weight, None, stride)
    }

    fn convolve_and_add(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: usize,
    ) -> FlexTensor {
        forward(x, weight, Some(bias), stride)
    }
}

impl<C: CheckpointStrategy> Convolve for Autodiff<Flex, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        record::<C, 2>([x, weight], stride)
    }

    fn convolve_and_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], stride)
    }
}

/// The forward pass.
fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    stride: usize,
) -> FlexTensor {
    let sizes = sizes(&x, &weight, stride);
    let (x, weight, bias) = (dense(x), dense(weight), bias.map(dense));
    let bias = bias.as_ref().map(numbers);
    let y = cpu::forward(Isa::best(), &sizes, numbers(&x), numbers(&weight), bias);
    let Sizes {
        batch,
        channels_out,
        ..
    } = sizes;
    tensor(
        y,
        [batch, channels_out, sizes.height_out(), sizes.width_out()],
    )
}

/// The forward pass of `[x, weight]` or `[x, weight, bias]`, recorded for the backward pass.
fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [AutodiffFlexTensor; N],
    stride: usize,
) -> AutodiffFlexTensor {
    let [x, weight, ..] = &inputs[..] else {
        unreachable!("a convolution has x and a weight");
    };
    let sizes = sizes(x.primitive(), weight.primitive(), stride);
    // A tensor is kept for the backward pass only if a gradient asks for it: dx needs the weight,
    // dw needs x.
    let keep_weight = is_tracked::<C>(x.node());
    let keep_x = is_tracked::<C>(weight.node());
    let nodes = inputs.each_ref().map(|input| input.node());
    let run = |inputs: [AutodiffFlexTensor; N]| {
        let mut inputs = inputs.into_iter().map(AutodiffFlexTensor::into_primitive);
        let (Some(x), Some(weight)) = (inputs.next(), inputs.next()) else {
            unreachable!("a convolution has x and a weight");
        };
        forward(x, weight, inputs.next(), stride)
    };
    match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = Kept {
                x: keep_x.then(|| prep.checkpoint(x)),
                weight: keep_weight.then(|| prep.checkpoint(weight)),
                sizes,
            };
            prep.finish(kept, run(inputs))
        }
        OpsKind::UnTracked(prep) => prep.finish(run(inputs)),
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug)]
struct Kept {
    x: Option<NodeId>,
    weight: Option<NodeId>,
    sizes: Sizes,
}

/// The backward pass; its inputs are x and the weight, and the bias where there is one.
#[derive(Debug)]
struct Gradient;

impl<const N: usize> Backward<Flex, N> for Gradient {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let gradient = dense(grads.consume::<Flex>(&ops.node));
        let Kept { x, weight, sizes } = ops.state;
        let Sizes {
            batch,
            channels_in,
            channels_out,
            height,
            width,
            kernel,
            ..
        } = sizes;
        let isa = Isa::best();
        let mut parents = ops.parents.into_iter();

        // What is kept has to be taken back even if it turns out not to be needed.
        let weight =
            weight.map(|node| dense(checkpointer.retrieve_node_output::<FlexTensor>(node)));
        let x = x.map(|node| dense(checkpointer.retrieve_node_output::<FlexTensor>(node)));
        if let (Some(parent), Some(weight)) = (parents.next().flatten(), weight) {
            let dx = cpu::data_gradient(isa, &sizes, numbers(&gradient), numbers(&weight));
            grads.register::<Flex>(parent.id, tensor(dx, [batch, channels_in, height, width]));
        }
        if let (Some(parent), Some(x)) = (parents.next().flatten(), x) {
            WEIGHT_GRADIENTS.set(WEIGHT_GRADIENTS.get() + 1);
            let dw = cpu::weight_gradient(isa, &sizes, numbers(&x), numbers(&gradient));
            let shape = [channels_out, channels_in, kernel, kernel];
            grads.register::<Flex>(parent.id, tensor(dw, shape));
        }
        if let Some(parent) = parents.next().flatten() {
            let db = cpu::bias_gradient(&sizes, numbers(&gradient));
            grads.register::<Flex>(parent.id, tensor(db, [channels_out]));
        }
    }
}

/// Whether a gradient flows to the tensor of this node.
fn is_tracked<C: CheckpointStrategy>(node: NodeGuard) -> bool {
    // Burn answers this only for an operation in preparation; this one is never registered.
    #[derive(Debug)]
    struct Question;

    impl Backward<Flex, 1> for Question {
        type State = ();

        fn backward(self, _: Ops<(), 1>, _: &mut Gradients, _: &mut Checkpointer) {
            unreachable!("the operation is never registered");
        }
    }

    matches!(
        Question.prepare::<C>([node]).compute_bound().stateful(),
        OpsKind::Tracked(_)
    )
}

fn sizes(x: &FlexTensor, weight: &FlexTensor, stride: usize) -> Sizes {
    let [batch, channels_in, height, width] = x.shape().dims();
    let [channels_out, _, kernel, _] = weight.shape().dims();
    Sizes {
        batch,
        channels_in,
        channels_out,
        height,
        width,
        kernel,
        stride,
    }
}

/// The same tensor with its numbers in row-major order without gaps.
pub(crate) fn dense(tensor: FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The numbers of a tensor that [`dense`] returned.
pub(crate) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .expect("a dense tensor of single precision")
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}
