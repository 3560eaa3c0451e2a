//! Fast adversarial training (Wong et al. 2020, "Fast is better than free", Algorithm 3): one step from
//! a random start, with an eye on catastrophic overfitting.

use basin_shared::{
    Classifier, Energy,
    attacks::{Budget, Pgd, pgd},
    tensors::{Mode, Network, gradient::value_and_gradient},
};
use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::{Inner, Loss, PGD_DROP, State, accuracy_of, cross_entropy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fast {
    /// Radius of the attack, in [0, 1] pixel units.
    pub epsilon: f32,
    /// Step of the attack, α: 1.25 ε in the paper.
    pub step_size: f32,
    /// The network's mode under the attack. The authors' code leaves it in training mode: the attack
    /// sees the batch's statistics, and its pass moves the running ones.
    pub attack_mode: Mode,
}

impl Fast {
    /// Mean of E(x_adv, y) − E(x_adv).
    ///
    /// Before each checkpoint PGD-5 attacks the batch, in evaluation mode. Where its accuracy has
    /// fallen since the last checkpoint, the figure [`PGD_DROP`] says by how much: the run goes back
    /// where that is too much, as the paper's code ends with the weights of the epoch before.
    pub(super) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let budget = Budget::linf(self.epsilon);
        let [attack_key, watch_key] = inner.key.split();
        let start = budget.random_start(attack_key, x.clone());
        let ascent = self.ascent(inner.model, start.clone(), &Energy::Conditional(y.clone()));
        let x_adv = budget.project(start + budget.steepest(ascent) * self.step_size, &x);
        let mut figures = Vec::new();
        if inner.before_checkpoint {
            let watch = Pgd {
                steps: 5,
                step_size: self.epsilon / 4.0,
            };
            let model = inner.model.frozen();
            let attacked = pgd(&model, x, y.clone(), budget, watch, watch_key);
            // Read back, as a roll-back depends on it; before checkpoints only.
            let robust: f32 = accuracy_of(&model, attacked, y).into_scalar();
            if let State::Robust(before) = *state {
                figures.push((PGD_DROP, before - robust));
            }
            *state = State::Robust(robust);
        }
        let target = inner.target();
        move |model| {
            let mut loss = cross_entropy(model, x_adv.clone(), &target);
            let device = x_adv.device();
            let figures = figures.iter();
            let figures = figures.map(|&(name, v)| (name, Tensor::from_floats([v], &device)));
            loss.figures.extend(figures);
            loss
        }
    }

    /// The gradient of each image's energy with respect to it; the weights get none.
    fn ascent(&self, model: &Network, x: Tensor<4>, energy: &Energy) -> Tensor<4> {
        match self.attack_mode {
            Mode::Evaluate => model.frozen().logits_and_gradient(x, energy).1,
            Mode::Train => {
                // The clone shares the running statistics.
                let untracked = model.clone().no_grad();
                let logits = |x| untracked.forward(x, Mode::Train);
                value_and_gradient(|x| energy.of_logits(logits(x)), x).1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{Key, tensors::parameters};
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    /// The step by its formula, and where the running statistics are after it.
    #[test]
    fn the_attack_sees_the_network_in_the_recipes_mode() {
        let autodiff = Device::flex().autodiff();
        let (train, batch) = (fixture::images(), fixture::batch());
        let [attack_key, _] = Key::new(3).split();
        let budget = Budget::linf(0.1);
        let start = budget.random_start(attack_key, batch.x.clone());
        let energy = Energy::Conditional(batch.y.clone());
        for attack_mode in [Mode::Evaluate, Mode::Train] {
            let fast = Fast {
                epsilon: 0.1,
                step_size: 0.125,
                attack_mode,
            };
            let model = fixture::network_with_batch_norm(&autodiff);
            let inner = fixture::inner(&model, &train, &batch);
            let outer = fast.outer(inner, &mut State::Stateless);
            let after = parameters::collect(&model.valid());
            let x_adv = outer(&model).input.unwrap().inner();

            let other = fixture::network_with_batch_norm(&autodiff);
            let before = parameters::collect(&other.valid());
            let of = |x| energy.of_logits(other.forward(x, attack_mode));
            let (_, gradient) = value_and_gradient(of, start.clone());
            let step = gradient.sign() * 0.125;
            let expected = budget.project(start.clone() + step, &batch.x);
            // The compiled engine may turn the sign of a gradient that is all but zero.
            let off = (x_adv - expected).abs().greater_elem(1e-6).float();
            let share: f32 = off.mean().into_scalar();
            assert!(
                share < 0.02,
                "{attack_mode:?}: {share} of the pixels differ"
            );
            let moved = parameters::collect(&other.valid());
            assert_eq!(after, moved, "{attack_mode:?}");
            assert_eq!(after == before, attack_mode == Mode::Evaluate);
        }
    }
}
