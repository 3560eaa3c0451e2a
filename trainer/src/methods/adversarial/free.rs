//! Free adversarial training (Shafahi et al. 2019, "Adversarial training for free!", Algorithm 1).

use basin_shared::{
    arrays::Array,
    attacks::Budget,
    tensors::{Mode, Network, OnTensors, from_host, to_host},
};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::methods::{Inner, Loss, State, cross_entropy};

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
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let x = inner.batch.x.clone();
        let x_adv = match perturbation(state, &x.device()) {
            Some(delta) => (x + delta).clamp(0.0, 1.0),
            None => x,
        };
        if self.attack_mode == Mode::Evaluate {
            let (model, objective) = (inner.model.frozen(), inner.cross_entropy());
            let (_, gradient) = model.logits_and_gradient(x_adv.clone(), &objective);
            self.ascend(state, gradient);
        }
        let target = inner.target();
        move |model| cross_entropy(model, x_adv.clone(), &target)
    }

    /// δ ← clamp(δ + ε · sign ∇_x, −ε, ε)
    pub(in crate::methods) fn ascend(&self, state: &mut State, gradient: Tensor<4>) {
        let budget = Budget::linf(self.epsilon);
        let shape = gradient.dims();
        let mut delta = to_host(gradient);
        budget.steepest(&mut delta, shape[0]);
        delta.iter_mut().for_each(|d| *d *= self.epsilon);
        if let State::Perturbation(before) = &*state {
            let pairs = delta.iter_mut().zip(&before.values);
            pairs.for_each(|(d, before)| *d += before);
        }
        budget.limit(&mut delta, shape[0]);
        *state = State::Perturbation(Array {
            shape: shape.to_vec(),
            values: delta,
        });
    }
}

/// δ, where there is one yet.
fn perturbation(state: &State, device: &Device) -> Option<Tensor<4>> {
    let State::Perturbation(delta) = state else {
        return None;
    };
    let &[batch, channels, height, width] = delta.shape.as_slice() else {
        unreachable!("a perturbation is one of images");
    };
    let shape = [batch, channels, height, width];
    Some(from_host(delta.values.clone(), shape, device))
}

#[cfg(test)]
mod tests {
    use basin_shared::tensors::{energy, gradient::value_and_gradient, parameters};
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
            method.receive_input_gradient(&mut state, gradient);
            let State::Perturbation(found) = state else {
                panic!("no perturbation")
            };

            let other = fixture::network_with_batch_norm(&autodiff);
            let of = |x| energy::conditional(other.forward(x, attack_mode), batch.y.clone());
            let (_, gradient) = value_and_gradient(of, batch.x.clone());
            let found = Tensor::<4>::from_data(found.to_data(), &Device::flex());
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
