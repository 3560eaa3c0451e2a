//! Terms of energies as operations of Burn's backends that have [`Kernels`] for them, with their backward passes.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Cube, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor};

/// a f\[y\] + b log Σ_k exp f\[k\] + c \[f\[y\] is the largest\], with the weights a, b and c; the last has no slope.
#[derive(Clone, Copy, Debug)]
pub(in crate::tensors) struct Terms {
    pub(in crate::tensors) of_class: f32,
    pub(in crate::tensors) log_sum: f32,
    pub(in crate::tensors) hit: f32,
}

impl Terms {
    /// E(x, y)
    pub(in crate::tensors) const JOINT: Self = Self::of(-1.0, 0.0, 0.0);
    /// E(x)
    pub(in crate::tensors) const MARGINAL: Self = Self::of(0.0, -1.0, 0.0);
    /// E(x, y) − E(x)
    pub(in crate::tensors) const CONDITIONAL: Self = Self::of(-1.0, 1.0, 0.0);
    /// Whether an image is classified rightly.
    pub(in crate::tensors) const HIT: Self = Self::of(0.0, 0.0, 1.0);

    const fn of(of_class: f32, log_sum: f32, hit: f32) -> Self {
        Self {
            of_class,
            log_sum,
            hit,
        }
    }
}

/// The computations, on tensors of any layout.
///
/// # Shapes
/// - logits: `[batch, classes]`, `y`, values and their slopes: `[batch]`; there is a `y` where a term needs it
pub(super) trait Kernels: Backend {
    /// The sum of the terms of each image.
    fn terms(
        logits: FloatTensor<Self>,
        y: Option<IntTensor<Self>>,
        terms: Terms,
    ) -> FloatTensor<Self>;

    /// ∂/∂logits from ∂/∂values.
    fn slopes(
        logits: FloatTensor<Self>,
        y: Option<IntTensor<Self>>,
        slopes_of_values: FloatTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self>;

    /// The mean of all numbers, `[1]`.
    fn mean(values: FloatTensor<Self>) -> FloatTensor<Self>;

    /// ∂/∂values, `[count]`, from ∂/∂mean.
    fn slopes_of_mean(slope: FloatTensor<Self>, count: usize) -> FloatTensor<Self>;
}

/// The sum of the terms of each image, `[batch]`.
pub(in crate::tensors) fn terms(
    logits: Tensor<2>,
    y: Option<Tensor<1, Int>>,
    terms: Terms,
) -> Tensor<1> {
    let logits = logits.into_dispatch();
    Tensor::from_dispatch(match y {
        Some(y) => Dispatch::terms_of_class(logits, y.into_dispatch(), terms),
        None => Dispatch::terms_of_all(logits, terms),
    })
}

/// The slopes of the terms of each image, `[batch, classes]`; off the autodiff device.
pub(in crate::tensors) fn slopes(
    logits: Tensor<2>,
    y: Option<Tensor<1, Int>>,
    terms: Terms,
) -> Tensor<2> {
    let ones = Tensor::<1>::ones([logits.dims()[0]], &logits.device()).into_dispatch();
    let logits = logits.into_dispatch();
    Tensor::from_dispatch(match y {
        Some(y) => Dispatch::slopes_of_class(logits, y.into_dispatch(), ones, terms),
        None => Dispatch::slopes_of_all(logits, ones, terms),
    })
}

/// The mean of all numbers, `[1]`.
pub(super) fn mean(values: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::mean_of(values.into_dispatch()))
}

/// The operations.
#[backend_extension(Cube, Autodiff)]
trait OfLogits: Backend {
    fn terms_of_class(
        logits: FloatTensor<Self>,
        y: IntTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self>;

    fn terms_of_all(logits: FloatTensor<Self>, terms: Terms) -> FloatTensor<Self>;

    fn mean_of(values: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The first of their gradients, for whoever records nothing.
#[backend_extension(Cube)]
trait SlopesOfLogits: Backend {
    fn slopes_of_class(
        logits: FloatTensor<Self>,
        y: IntTensor<Self>,
        slopes_of_values: FloatTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self>;

    fn slopes_of_all(
        logits: FloatTensor<Self>,
        slopes_of_values: FloatTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self>;
}

impl SlopesOfLogits for Cube {
    fn slopes_of_class(
        logits: FloatTensor<Self>,
        y: IntTensor<Self>,
        slopes_of_values: FloatTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self> {
        Self::slopes(logits, Some(y), slopes_of_values, terms)
    }

    fn slopes_of_all(
        logits: FloatTensor<Self>,
        slopes_of_values: FloatTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self> {
        Self::slopes(logits, None, slopes_of_values, terms)
    }
}

impl OfLogits for Cube {
    fn terms_of_class(
        logits: FloatTensor<Self>,
        y: IntTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self> {
        Self::terms(logits, Some(y), terms)
    }

    fn terms_of_all(logits: FloatTensor<Self>, terms: Terms) -> FloatTensor<Self> {
        Self::terms(logits, None, terms)
    }

    fn mean_of(values: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::mean(values)
    }
}

impl<B: Kernels, C: CheckpointStrategy> OfLogits for Autodiff<B, C> {
    fn terms_of_class(
        logits: FloatTensor<Self>,
        y: IntTensor<Self>,
        terms: Terms,
    ) -> FloatTensor<Self> {
        record::<B, C>(logits, Some(y), terms)
    }

    fn terms_of_all(logits: FloatTensor<Self>, terms: Terms) -> FloatTensor<Self> {
        record::<B, C>(logits, None, terms)
    }

    fn mean_of(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let prep = Backward::<B, 1>::prepare::<C>(SlopesOfMean, [values.node()]);
        let count = values.primitive().shape().num_elements();
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(count, B::mean(values.into_primitive())),
            OpsKind::UnTracked(prep) => prep.finish(B::mean(values.into_primitive())),
        }
    }
}

fn record<B: Kernels, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    y: Option<IntTensor<B>>,
    terms: Terms,
) -> FloatTensor<Autodiff<B, C>> {
    let prep = Backward::<B, 1>::prepare::<C>(Slopes, [logits.node()]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = (prep.checkpoint(&logits), y.clone(), terms);
            prep.finish(kept, B::terms(logits.into_primitive(), y, terms))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::terms(logits.into_primitive(), y, terms)),
    }
}

/// The backward pass of the terms; what is kept is the logits, the classes and the weights.
#[derive(Debug)]
struct Slopes;

impl<B: Kernels> Backward<B, 1> for Slopes {
    type State = (NodeId, Option<IntTensor<B>>, Terms);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (logits, y, terms) = ops.state;
        let slopes = grads.consume::<B>(&ops.node);
        let logits = checkpointer.retrieve_node_output::<FloatTensor<B>>(logits);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::slopes(logits, y, slopes, terms));
        }
    }
}

/// The backward pass of a mean; what is kept is the count of its numbers.
#[derive(Debug)]
struct SlopesOfMean;

impl<B: Kernels> Backward<B, 1> for SlopesOfMean {
    type State = usize;

    fn backward(self, ops: Ops<usize, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let slope = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::slopes_of_mean(slope, ops.state));
        }
    }
}
