//! The convolution as an operation of Burn's backends that have [`Kernels`] for it, with its backward pass.

use std::cell::Cell;

#[cfg(feature = "cubecl")]
use burn::backend::Cube;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use super::cpu::InBf16;

/// A tensor of a backend with its place in the graph.
type Tracked<B> = FloatTensor<Autodiff<B>>;

thread_local! {
    static WEIGHT_GRADIENTS: Cell<usize> = const { Cell::new(0) };
}

/// How many weight gradients backward passes on this thread have computed with Basin's kernels, so that a
/// test can show that following ∇ₓ computes none.
pub fn weight_gradients_computed() -> usize {
    WEIGHT_GRADIENTS.get()
}

/// The three computations of a convolution and its gradients, on tensors of any layout.
pub(super) trait Kernels: Backend {
    /// y, the convolution of x, with a bias or without.
    fn forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self>;

    /// ∂/∂x from ∂/∂y. x is there where an activation stands in front of the convolution.
    fn data_gradient(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        x: Option<FloatTensor<Self>>,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self>;

    /// ∂/∂weight from ∂/∂y.
    fn weight_gradient(
        dy: FloatTensor<Self>,
        x: FloatTensor<Self>,
        shapes: Shapes,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self>;

    /// ∂/∂bias from ∂/∂y.
    fn bias_gradient(dy: FloatTensor<Self>, shapes: Shapes) -> FloatTensor<Self>;
}

/// Runs the operation on whichever of the backends the tensors are; in bf16 where told.
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

/// ∂/∂x from ∂/∂y, on a GPU and off the autodiff device.
#[cfg(feature = "cubecl")]
pub(super) fn data_gradient(dy: Tensor<4>, weight: Tensor<4>, shapes: Shapes) -> Tensor<4> {
    let (dy, weight) = (dy.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::convolve_backward(dy, weight, shapes))
}

/// The gradient of the images, for whoever records nothing.
#[cfg(feature = "cubecl")]
#[backend_extension(Cube)]
trait ConvolveBackward: Backend {
    fn convolve_backward(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shapes: Shapes,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "cubecl")]
impl ConvolveBackward for Cube {
    fn convolve_backward(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shapes: Shapes,
    ) -> FloatTensor<Self> {
        Self::data_gradient(dy, weight, None, shapes, None)
    }
}

/// The operation, see [`super::conv2d`], without and with a bias.
#[backend_extension(Flex, Cube: cfg(feature = "cubecl"), Autodiff)]
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

macro_rules! convolve_by_kernels {
    ($backend:ty) => {
        impl Convolve for $backend {
            fn convolve(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                stride: usize,
                padding: usize,
                in_bf16: Option<InBf16>,
            ) -> FloatTensor<Self> {
                let shapes = Shapes::of(&x, &weight, stride, padding);
                Self::forward(x, weight, None, shapes, in_bf16)
            }

            fn convolve_and_add(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                stride: usize,
                padding: usize,
                in_bf16: Option<InBf16>,
            ) -> FloatTensor<Self> {
                let shapes = Shapes::of(&x, &weight, stride, padding);
                Self::forward(x, weight, Some(bias), shapes, in_bf16)
            }
        }
    };
}

convolve_by_kernels!(Flex);
#[cfg(feature = "cubecl")]
convolve_by_kernels!(Cube);

impl<B: Kernels, C: CheckpointStrategy> Convolve for Autodiff<B, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self> {
        record::<B, C, 2>([x, weight], stride, padding, in_bf16)
    }

    fn convolve_and_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        in_bf16: Option<InBf16>,
    ) -> FloatTensor<Self> {
        record::<B, C, 3>([x, weight, bias], stride, padding, in_bf16)
    }
}

/// The forward pass of `[x, weight]` or `[x, weight, bias]`, recorded for the backward pass.
fn record<B: Kernels, C: CheckpointStrategy, const N: usize>(
    inputs: [Tracked<B>; N],
    stride: usize,
    padding: usize,
    in_bf16: Option<InBf16>,
) -> Tracked<B> {
    let [x, weight, ..] = &inputs[..] else {
        unreachable!("a convolution has x and a weight");
    };
    let shapes = Shapes::of(x.primitive(), weight.primitive(), stride, padding);
    // A tensor is kept for the backward pass only if a gradient asks for it: dx needs the weight and,
    // behind an activation, x; dw needs x.
    let keep_weight = is_tracked::<B, C>(x.node());
    let weights_too = is_tracked::<B, C>(weight.node());
    let activated = in_bf16.is_some_and(|it| it.activation.is_some());
    let keep_x = weights_too || activated && keep_weight;
    let nodes = inputs.each_ref().map(|input| input.node());
    let run = |inputs: [Tracked<B>; N]| {
        let mut inputs = inputs.into_iter().map(Tracked::<B>::into_primitive);
        let (Some(x), Some(weight)) = (inputs.next(), inputs.next()) else {
            unreachable!("a convolution has x and a weight");
        };
        B::forward(x, weight, inputs.next(), shapes, in_bf16)
    };
    match Backward::<B, N>::prepare::<C>(Gradient, nodes)
        .compute_bound()
        .stateful()
    {
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

impl<B: Kernels, const N: usize> Backward<B, N> for Gradient {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let Kept {
            x,
            weight,
            weights_too,
            shapes,
            in_bf16,
        } = ops.state;
        let mut parents = ops.parents.into_iter();

        // What is kept has to be taken back even if it turns out not to be needed.
        let mut kept = |node| checkpointer.retrieve_node_output::<FloatTensor<B>>(node);
        let (weight, x) = (weight.map(&mut kept), x.map(&mut kept));
        if let (Some(parent), Some(weight)) = (parents.next().flatten(), weight) {
            let dx = B::data_gradient(dy.clone(), weight, x.clone(), shapes, in_bf16);
            grads.register::<B>(parent.id, dx);
        }
        if let (Some(parent), Some(x)) = (parents.next().flatten(), x.filter(|_| weights_too)) {
            WEIGHT_GRADIENTS.set(WEIGHT_GRADIENTS.get() + 1);
            let dw = B::weight_gradient(dy.clone(), x, shapes, in_bf16);
            grads.register::<B>(parent.id, dw);
        }
        if let Some(parent) = parents.next().flatten() {
            grads.register::<B>(parent.id, B::bias_gradient(dy, shapes));
        }
    }
}

/// Whether a gradient flows to the tensor of this node.
fn is_tracked<B: Kernels, C: CheckpointStrategy>(node: NodeGuard) -> bool {
    // Burn answers this only for an operation in preparation; this one is never registered.
    #[derive(Debug)]
    struct Question;

    impl<B: Kernels> Backward<B, 1> for Question {
        type State = ();

        fn backward(self, _: Ops<(), 1>, _: &mut Gradients, _: &mut Checkpointer) {
            unreachable!("the operation is never registered");
        }
    }

    matches!(
        Backward::<B, 1>::prepare::<C>(Question, [node])
            .compute_bound()
            .stateful(),
        OpsKind::Tracked(_)
    )
}

/// The shapes of x and of the weight, the stride and the padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shapes {
    pub(super) x: [usize; 4],
    pub(super) weight: [usize; 4],
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Shapes {
    fn of(
        x: &impl TensorMetadata,
        weight: &impl TensorMetadata,
        stride: usize,
        padding: usize,
    ) -> Self {
        Self {
            x: x.shape().dims(),
            weight: weight.shape().dims(),
            stride,
            padding,
        }
    }

    /// Rows and columns of x.
    pub(super) fn size(self) -> [usize; 2] {
        [self.x[2], self.x[3]]
    }

    /// The shape of y.
    pub(super) fn output(self) -> [usize; 4] {
        let [rows, columns] = self.size().map(|size| size.div_ceil(self.stride));
        [self.x[0], self.weight[0], rows, columns]
    }
}
