//! Free adversarial training (Shafahi et al. 2019, "Adversarial training for free!", Algorithm 1).

use basin_shared::{
    Classifier, Energy,
    attacks::Budget,
    tensors::{Mode, Network},
};
use burn::tensor::{Device, Tensor};
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
    /// The network's mode under the attack. In training mode, as in the authors' code, the gradient
    /// for δ is a by-product of the weights' backward pass; in evaluation mode it costs a pass of
    /// its own.
    pub attack_mode: Mode,
}

impl Free {
    /// Mean of E(x + δ, y) − E(x + δ), with the δ that the batch before left behind.
    pub(super) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let x_adv = match perturbation(state, &x.device()) {
            Some(delta) => (x + delta).clamp(0.0, 1.0),
            None => x,
        };
        if self.attack_mode == Mode::Evaluate {
            let energy = Energy::Conditional(y);
            let (_, gradient) = inner
                .model
                .frozen()
                .logits_and_gradient(x_adv.clone(), &energy);
            self.ascend(state, gradient);
        }
        let target = inner.target();
        move |model| cross_entropy(model, x_adv.clone(), &target)
    }

    /// δ ← clamp(δ + ε · sign ∇_x, −ε, ε)
    pub(super) fn ascend(&self, state: &mut State, gradient: Tensor<4>) {
        let budget = Budget::linf(self.epsilon);
        let before = perturbation(state, &gradient.device());
        let mut delta = budget.steepest(gradient) * self.epsilon;
        if let Some(before) = before {
            delta = delta + before;
        }
        *state = State::Perturbation(delta.clamp(-self.epsilon, self.epsilon));
    }
}

/// δ, where there is one yet.
fn perturbation(state: &State, device: &Device) -> Option<Tensor<4>> {
    let State::Perturbation(delta) = state else {
        return None;
    };
    // On the host after a checkpoint has been read.
    Some(delta.clone().to_device(device))
}

#[cfg(test)]
mod tests {
    use basin_shared::tensors::{gradient::value_and_gradient, parameters};
    use burn::{module::Module, tensor::Device};

    use super::*;
    use crate::methods::{Method, fixture};

    /// ε times the sign of the gradient in the recipe's mode; running statistics move in the outer
    /// problem's pass alone.
    #[test]
    fn the_perturbation_follows_the_gradient_of_the_recipes_mode() {
        let autodiff = Device::flex().autodiff();
        let (train, batch) = (fixture::images(), fixture::batch());
        for attack_mode in [Mode::Evaluate, Mode::Train] {
            let method = Method::Free(Free {
                epsilon: 0.1,
                replays: 1,
                attack_mode,
            });
            let model = fixture::network_with_batch_norm(&autodiff);
            let before = parameters::collect(&model.valid());
            let mut state = State::Stateless;
            let outer = method.outer(fixture::inner(&model, &train, &batch), &mut state);
            assert_eq!(parameters::collect(&model.valid()), before);
            assert_eq!(state == State::Stateless, attack_mode == Mode::Train);
            let loss = outer(&model);
            let gradient = loss.input.unwrap().grad(&loss.value.backward()).unwrap();
            method.learn(&mut state, gradient);
            let State::Perturbation(found) = state else {
                panic!("no perturbation")
            };

            let other = fixture::network_with_batch_norm(&autodiff);
            let energy = Energy::Conditional(batch.y.clone());
            let of = |x| energy.of_logits(other.forward(x, attack_mode));
            let (_, gradient) = value_and_gradient(of, batch.x.clone());
            let off = (found - gradient.sign() * 0.1).abs();
            // Rounding may turn the sign of a gradient that is all but zero.
            let share: f32 = off.greater_elem(1e-6).float().mean().into_scalar();
            assert!(
                share < 0.02,
                "{attack_mode:?}: {share} of the pixels differ"
            );
        }
    }
}
