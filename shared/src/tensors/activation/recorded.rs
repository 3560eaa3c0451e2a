//! The activation functions as operations of Burn's backends that have a [`Pass`] for them, with their backward
//! passes.

#[cfg(feature = "cubecl")]
use burn::backend::Cube;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

/// Which function.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Silu,
    LeakyRelu { slope: f32 },
}

/// One pass over the numbers of a tensor of any layout.
pub(super) trait Pass: Backend {
    /// f(x) of every number, or dy · f′(x) where there is a dy.
    fn pass(
        function: Function,
        x: FloatTensor<Self>,
        dy: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self>;
}

/// f(x) of every number, recorded where gradients are.
pub(super) fn activate<const D: usize>(function: Function, x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::activate(x.into_dispatch(), function))
}

/// dy · f′(x) of every number.
#[cfg(feature = "cubecl")]
pub(super) fn gradient(function: Function, x: Tensor<4>, dy: Tensor<4>) -> Tensor<4> {
    let (x, dy) = (x.into_dispatch(), dy.into_dispatch());
    Tensor::from_dispatch(Dispatch::activate_backward(x, dy, function))
}

/// The gradient, for whoever records nothing.
#[cfg(feature = "cubecl")]
#[backend_extension(Cube)]
trait ActivateBackward: Backend {
    fn activate_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        function: Function,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "cubecl")]
impl ActivateBackward for Cube {
    fn activate_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        function: Function,
    ) -> FloatTensor<Self> {
        Self::pass(function, x, Some(dy))
    }
}

/// The operation.
#[backend_extension(Flex, Cube: cfg(feature = "cubecl"), Autodiff)]
trait Activate: Backend {
    fn activate(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self>;
}

impl Activate for Flex {
    fn activate(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        Self::pass(function, x, None)
    }
}

#[cfg(feature = "cubecl")]
impl Activate for Cube {
    fn activate(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        Self::pass(function, x, None)
    }
}

impl<B: Pass, C: CheckpointStrategy> Activate for Autodiff<B, C> {
    fn activate(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        let gradient = Gradient(function);
        match Backward::<B, 1>::prepare::<C>(gradient, [x.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let kept = prep.checkpoint(&x);
                prep.finish(kept, B::pass(function, x.into_primitive(), None))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::pass(function, x.into_primitive(), None)),
        }
    }
}

/// The backward pass, dx = dy · f′(x); what is kept is x.
#[derive(Debug)]
struct Gradient(Function);

impl<B: Pass> Backward<B, 1> for Gradient {
    type State = NodeId;

    fn backward(self, ops: Ops<NodeId, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let x = checkpointer.retrieve_node_output::<FloatTensor<B>>(ops.state);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::pass(self.0, x, Some(dy)));
        }
    }
}
