//! The last layer as an operation of Burn's backends that have [`Kernels`] for it, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Cube, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

/// The computations, on tensors of any layout.
pub(in crate::tensors) trait Kernels: Backend {
    /// The mean of each channel, `[batch, channels]`.
    fn pool(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The logits of these means.
    fn product(
        means: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// ∂/∂x from ∂/∂logits, of images of this height and width.
    fn data_gradient(
        slopes: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
    ) -> FloatTensor<Self>;

    /// ∂/∂weight and ∂/∂bias from ∂/∂logits.
    fn weight_gradients(
        slopes: FloatTensor<Self>,
        means: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
}

/// See [`super::head`].
pub(super) fn head(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::head(x.into_dispatch(), weight, bias))
}

/// ∂/∂x from ∂/∂f, of images of this height and width; off the autodiff device.
pub(in crate::tensors) fn data_gradient(
    slopes: Tensor<2>,
    weight: Tensor<2>,
    size: [usize; 2],
) -> Tensor<4> {
    let (slopes, weight) = (slopes.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::head_backward(slopes, weight, size))
}

/// The gradient of the images, for whoever records nothing.
#[backend_extension(Cube)]
trait HeadBackward: Backend {
    fn head_backward(
        slopes: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
    ) -> FloatTensor<Self>;
}

impl HeadBackward for Cube {
    fn head_backward(
        slopes: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
    ) -> FloatTensor<Self> {
        Self::data_gradient(slopes, weight, size)
    }
}

/// The operation.
#[backend_extension(Cube, Autodiff)]
trait Head: Backend {
    fn head(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Head for Cube {
    fn head(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::product(Self::pool(x), weight, bias)
    }
}

impl<B: Kernels, C: CheckpointStrategy> Head for Autodiff<B, C> {
    fn head(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [_, _, height, width] = x.primitive().shape().dims();
        let means = B::pool(x.into_primitive());
        let (weight, bias) = (weight.into_primitive(), bias.into_primitive());
        let logits = B::product(means.clone(), weight.clone(), bias);
        let prep = Backward::<B, 3>::prepare::<C>(Gradient, nodes);
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let kept = Kept {
                    means,
                    weight,
                    size: [height, width],
                };
                prep.finish(kept, logits)
            }
            OpsKind::UnTracked(prep) => prep.finish(logits),
        }
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug)]
struct Kept<T> {
    means: T,
    weight: T,
    size: [usize; 2],
}

/// The backward pass.
#[derive(Debug)]
struct Gradient;

impl<B: Kernels> Backward<B, 3> for Gradient {
    type State = Kept<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let slopes = grads.consume::<B>(&ops.node);
        let Kept {
            means,
            weight,
            size,
        } = ops.state;
        let [of_x, of_weight, of_bias] = ops.parents;
        if let Some(parent) = of_x {
            let dx = B::data_gradient(slopes.clone(), weight, size);
            grads.register::<B>(parent.id, dx);
        }
        if of_weight.is_none() && of_bias.is_none() {
            return;
        }
        let gradients = B::weight_gradients(slopes, means);
        for (parent, gradient) in [of_weight, of_bias].into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
