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

use super::cpu::{self, InBf16};
use crate::engine::{
    cpu::{filter::Filter, tiles_weight_gradient, weight_gradient::weight_gradient},
    simd::Isa,
};

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

/// Runs the operation on whichever of the two backends the tensors are; in bf16 where told.
pub(super) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
    in_bf16: Option<InBf16>,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => {
            Dispatch::convolve_and_add(x, weight, bias.into_dispatch(), stride, padding, in_bf16)
        }
        None => Dispatch::convolve(x, weight, stride, padding, in_bf16),
    })
}

/// The operation, see [`super::conv2d`], without and with a bias.
#[backend_extension(Flex, Autodiff)]
trait Convolve: Backend {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self>;

    fn convolve_and_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self>;
}

impl Convolve for Flex {
    fn convolve(
        x: FlexTensor,
        weight: FlexTensor,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FlexTensor {
        forward(x, weight, None, stride, padding, in_bf16)
    }

    fn convolve_and_add(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FlexTensor {
        forward(x, weight, Some(bias), stride, padding, in_bf16)
    }
}

impl<C: CheckpointStrategy> Convolve for Autodiff<Flex, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self> {
        record::<C, 2>([x, weight], stride, padding, in_bf16)
    }

    fn convolve_and_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], stride, padding, in_bf16)
    }
}

/// The forward pass.
fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    stride: usize,
    padding: usize,
    in_bf16: Option<InBf16>,
) -> FlexTensor {
    let shapes = Shapes::of(&x, &weight, stride, padding);
    let (x, weight, bias) = (dense(x), dense(weight), bias.map(dense));
    let bias = bias.as_ref().map(numbers);
    let filter = shapes.filter(numbers(&weight));
    let y = cpu::forward(
        Isa::best(),
        in_bf16,
        &filter,
        shapes.size(),
        numbers(&x),
        bias,
    );
    tensor(y, shapes.output())
}

/// The forward pass of `[x, weight]` or `[x, weight, bias]`, recorded for the backward pass.
fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [AutodiffFlexTensor; N],
    stride: usize,
    padding: usize,
    in_bf16: Option<InBf16>,
) -> AutodiffFlexTensor {
    let [x, weight, ..] = &inputs[..] else {
        unreachable!("a convolution has x and a weight");
    };
    let shapes = Shapes::of(x.primitive(), weight.primitive(), stride, padding);
    // A tensor is kept for the backward pass only if a gradient asks for it: dx needs the weight and,
    // behind an activation, x; dw needs x.
    let keep_weight = is_tracked::<C>(x.node());
    let weights_too = is_tracked::<C>(weight.node());
    let activated = in_bf16.is_some_and(|it| it.activation.is_some());
    let keep_x = weights_too || activated && keep_weight;
    let nodes = inputs.each_ref().map(|input| input.node());
    let run = |inputs: [AutodiffFlexTensor; N]| {
        let mut inputs = inputs.into_iter().map(AutodiffFlexTensor::into_primitive);
        let (Some(x), Some(weight)) = (inputs.next(), inputs.next()) else {
            unreachable!("a convolution has x and a weight");
        };
        forward(x, weight, inputs.next(), stride, padding, in_bf16)
    };
    match Gradient.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = Kept {
                x: keep_x.then(|| prep.checkpoint(x)),
                weight: keep_weight.then(|| prep.checkpoint(weight)),
                weights_too,
                shapes,
                in_bf16,
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
    /// Whether the weight's gradient is asked for.
    weights_too: bool,
    shapes: Shapes,
    in_bf16: Option<InBf16>,
}

/// The backward pass; its inputs are x and the weight, and the bias where there is one.
#[derive(Debug)]
struct Gradient;

impl<const N: usize> Backward<Flex, N> for Gradient {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let gradient = dense(grads.consume::<Flex>(&ops.node));
        let Kept {
            x,
            weight,
            weights_too,
            shapes,
            in_bf16,
        } = ops.state;
        let isa = Isa::best();
        let mut parents = ops.parents.into_iter();

        // What is kept has to be taken back even if it turns out not to be needed.
        let weight =
            weight.map(|node| dense(checkpointer.retrieve_node_output::<FlexTensor>(node)));
        let x = x.map(|node| dense(checkpointer.retrieve_node_output::<FlexTensor>(node)));
        if let (Some(parent), Some(weight)) = (parents.next().flatten(), weight) {
            let filter = shapes.filter(numbers(&weight));
            let (size, dy) = (shapes.size(), numbers(&gradient));
            let dx = cpu::data_gradient(isa, in_bf16, &filter, size, dy, x.as_ref().map(numbers));
            grads.register::<Flex>(parent.id, tensor(dx, shapes.x));
        }
        if let (Some(parent), Some(x)) = (parents.next().flatten(), x.filter(|_| weights_too)) {
            WEIGHT_GRADIENTS.set(WEIGHT_GRADIENTS.get() + 1);
            let filter = shapes.filter(&[]);
            let (x, gradient) = (numbers(&x), numbers(&gradient));
            let size = shapes.size();
            let dw = match in_bf16 {
                Some(InBf16 { amx, activation }) => tiles_weight_gradient::weight_gradient(
                    amx, &filter, size, activation, x, gradient,
                ),
                None => weight_gradient(isa, &filter, size, x, gradient),
            };
            grads.register::<Flex>(parent.id, tensor(dw, shapes.weight));
        }
        if let Some(parent) = parents.next().flatten() {
            let [_, channels, rows, columns] = shapes.output();
            let db = cpu::bias_gradient(numbers(&gradient), channels, rows * columns);
            grads.register::<Flex>(parent.id, tensor(db, [channels]));
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

/// The shapes of x and of the weight, the stride and the padding.
#[derive(Clone, Copy, Debug)]
struct Shapes {
    x: [usize; 4],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
}

impl Shapes {
    fn of(x: &FlexTensor, weight: &FlexTensor, stride: usize, padding: usize) -> Self {
        Self {
            x: x.shape().dims(),
            weight: weight.shape().dims(),
            stride,
            padding,
        }
    }

    /// Rows and columns of x.
    fn size(self) -> [usize; 2] {
        [self.x[2], self.x[3]]
    }

    /// The shape of y.
    fn output(self) -> [usize; 4] {
        let [rows, columns] = self.size().map(|size| size.div_ceil(self.stride));
        [self.x[0], self.weight[0], rows, columns]
    }

    fn filter(self, weight: &[f32]) -> Filter<'_> {
        let [channels_out, channels_in, kernel, _] = self.weight;
        Filter {
            channels_in,
            channels_out,
            kernel,
            stride: self.stride,
            padding: self.padding,
            weight,
        }
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
