//! The normalisation as an operation of Burn's backends that have a [`Scale`] for it, with its backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Cube, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::models::Normalization;

/// The numbers of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) mean: f32,
    pub(super) std: f32,
}

/// The computation, on a tensor of any layout.
pub(super) trait Scale: Backend {
    /// (x − mean) / std of each channel.
    fn scale(x: FloatTensor<Self>, channels: Vec<Channel>) -> FloatTensor<Self>;
}

fn channels(normalization: &Normalization) -> Vec<Channel> {
    let pairs = normalization.mean.iter().zip(&normalization.std);
    pairs.map(|(&mean, &std)| Channel { mean, std }).collect()
}

/// See [`Normalization::forward`].
pub(super) fn normalize(normalization: &Normalization, x: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::normalize(
        x.into_dispatch(),
        channels(normalization),
    ))
}

/// ∂/∂x from ∂/∂y, on a GPU and off the autodiff device.
pub(in crate::tensors) fn gradient(normalization: &Normalization, dy: Tensor<4>) -> Tensor<4> {
    let channels = of_gradient(channels(normalization));
    Tensor::from_dispatch(Dispatch::normalize(dy.into_dispatch(), channels))
}

/// Constants have no derivative.
fn of_gradient(mut channels: Vec<Channel>) -> Vec<Channel> {
    channels.iter_mut().for_each(|channel| channel.mean = 0.0);
    channels
}

/// The operation.
#[backend_extension(Cube, Autodiff)]
trait Normalize: Backend {
    fn normalize(x: FloatTensor<Self>, channels: Vec<Channel>) -> FloatTensor<Self>;
}

impl Normalize for Cube {
    fn normalize(x: FloatTensor<Self>, channels: Vec<Channel>) -> FloatTensor<Self> {
        Self::scale(x, channels)
    }
}

impl<B: Scale, C: CheckpointStrategy> Normalize for Autodiff<B, C> {
    fn normalize(x: FloatTensor<Self>, channels: Vec<Channel>) -> FloatTensor<Self> {
        let prep = Backward::<B, 1>::prepare::<C>(Gradient, [x.node()]);
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let kept = channels.clone();
                prep.finish(kept, B::scale(x.into_primitive(), channels))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::scale(x.into_primitive(), channels)),
        }
    }
}

/// The backward pass; what is kept is the numbers.
#[derive(Debug)]
struct Gradient;

impl<B: Scale> Backward<B, 1> for Gradient {
    type State = Vec<Channel>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::scale(dy, of_gradient(ops.state)));
        }
    }
}
