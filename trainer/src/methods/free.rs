//! Free adversarial training (Shafahi et al. 2019, "Adversarial training for free!", Algorithm 1).

use basin_shared::{attacks::Budget, models::Network, weights::Array};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Inner, Loss, State, cross_entropy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Free {
    /// Radius of the attack, in [0, 1] pixel units; also its step.
    pub epsilon: f32,
    /// How often each batch is trained on, m. As each time is a step of the optimiser, a run needs an
    /// m-th of another method's iterations.
    pub replays: usize,
}

impl Free {
    /// Mean of E(x + δ, y) − E(x + δ), with the δ that the batch before left behind.
    pub(super) fn outer(&self, inner: Inner, state: &State) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let x_adv = match perturbation(state, &x.device()) {
            Some(delta) => (x + delta).clamp(0.0, 1.0),
            None => x,
        };
        move |model| cross_entropy(model, x_adv.clone(), y.clone())
    }

    /// δ ← clamp(δ + ε · sign ∇_x, −ε, ε), by the gradient that the weights' backward pass has found
    /// along the way.
    pub(super) fn ascend(&self, state: &mut State, gradient: Tensor<4>) {
        let budget = Budget::linf(self.epsilon);
        let before = perturbation(state, &gradient.device());
        let mut delta = budget.steepest(gradient) * self.epsilon;
        if let Some(before) = before {
            delta = delta + before;
        }
        let delta = delta.clamp(-self.epsilon, self.epsilon);
        *state = State::Perturbation(Array {
            shape: delta.dims().to_vec(),
            values: delta.into_data().iter().collect(),
        });
    }
}

/// δ, where there is one yet.
fn perturbation(state: &State, device: &Device) -> Option<Tensor<4>> {
    let State::Perturbation(delta) = state else {
        return None;
    };
    let data = TensorData::new(delta.values.clone(), delta.shape.clone());
    Some(Tensor::from_data(data, device))
}
