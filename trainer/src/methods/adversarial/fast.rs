//! Fast adversarial training (Wong et al. 2020, "Fast is better than free", Algorithm 3): one step from
//! a random start, with an eye on catastrophic overfitting.

use basin_shared::{
    Classifier,
    attacks::{Attack, Budget, GradientAt, OneStep, Pgd, Search},
    classifier::Evaluation,
    energy::Objective,
    tensors::{Mode, Network, OnTensors, from_host, gradient::logits_and_gradient, to_host},
};
use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use crate::methods::{Inner, Loss, PGD_DROP, State, accuracy_of, cross_entropy};

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
    /// The attack that watches for catastrophic overfitting: PGD-5 in the authors' code.
    pub watch: Pgd,
    /// Fall of the accuracy under it between checkpoints that is taken for that, and undone.
    pub largest_drop: f32,
}

impl Fast {
    /// Mean of E(x_adv, y) − E(x_adv).
    ///
    /// Before each checkpoint PGD attacks the batch, in evaluation mode. Where its accuracy has
    /// fallen since the last checkpoint, the figure [`PGD_DROP`] says by how much: the run goes back
    /// where that is too much, as the paper's code ends with the weights of the epoch before.
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let budget = Budget::linf(self.epsilon);
        let attack_key = inner.key.stream("attack");
        let watch_key = inner.key.stream("watch");
        let objective = inner.cross_entropy();
        let attack = Attack {
            search: Search::OneStep(OneStep {
                step_size: self.step_size,
                gradient_at: GradientAt::Start,
            }),
            ..Attack::energy(budget, &objective, GradientAt::Start)
        };
        let x_adv = match self.attack_mode {
            Mode::Evaluate => attack.on_tensors(&inner.model.frozen(), x.clone(), attack_key),
            // The clone shares the running statistics.
            Mode::Train => {
                let trained = InTraining(inner.model.clone().no_grad());
                attack.on_tensors(&trained, x.clone(), attack_key)
            }
        };
        let mut figures = Vec::new();
        if inner.before_checkpoint {
            let model = inner.model.frozen();
            let attack = Attack::pgd(budget, &objective, self.watch);
            let attacked = attack.on_tensors(&model, x, watch_key);
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
}

/// A network whose attack sees the batch's statistics, and moves the running ones; its weights get no gradient.
struct InTraining(Network);

impl Classifier for InTraining {
    fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
        to_host(self.0.forward(self.images(x, batch), Mode::Train))
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        let of = |x| self.0.forward(x, Mode::Train);
        let (logits, gradient) = logits_and_gradient(of, self.images(x, batch), objective);
        Evaluation {
            logits,
            gradient: to_host(gradient),
        }
    }
}

impl OnTensors for InTraining {}

impl InTraining {
    fn images(&self, x: &[f32], batch: usize) -> Tensor<4> {
        let [channels, height, width] = self.0.architecture().image();
        let device = self.0.device().inner();
        from_host(x.to_vec(), [batch, channels, height, width], &device)
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{Key, energy::Conditional, tensors::parameters};
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    /// The step by its formula, and where the running statistics are after it.
    #[test]
    fn the_attack_sees_the_network_in_the_recipes_mode() {
        let autodiff = Device::flex().autodiff();
        let (train, batch) = (fixture::images(), fixture::batch());
        let attack_key = Key::new(3).stream("attack");
        let budget = Budget::linf(0.1);
        let (shape, x) = (batch.x.dims(), to_host(batch.x.clone()));
        let start = budget.random_start(attack_key, &x, shape[0]);
        let classes = batch.labels.iter().map(|&label| label.into()).collect();
        let objective = Conditional { classes };
        for attack_mode in [Mode::Evaluate, Mode::Train] {
            let fast = Fast {
                epsilon: 0.1,
                step_size: 0.125,
                attack_mode,
                watch: Pgd::default(),
                largest_drop: 0.2,
            };
            let model = fixture::network_with_batch_norm(&autodiff);
            let inner = fixture::inner(&model, &train, &batch);
            let outer = fast.outer(inner, &mut State::Stateless);
            let after = parameters::collect(&model.valid());
            let x_adv = to_host(outer(&model).input.unwrap().inner());

            let other = fixture::network_with_batch_norm(&autodiff);
            let before = parameters::collect(&other.valid());
            let of = |x| other.forward(x, attack_mode);
            let at = from_host(start.clone(), shape, &Device::flex());
            let (_, gradient) = logits_and_gradient(of, at, &objective);
            let steps = to_host(gradient.sign() * 0.125);
            let expected = start.iter().zip(&steps).zip(&x);
            let expected = expected.map(|((start, step), x)| {
                ((start + step - x).clamp(-0.1, 0.1) + x).clamp(0.0, 1.0)
            });
            // The compiled engine may turn the sign of a gradient that is all but zero.
            let off = x_adv
                .iter()
                .zip(expected)
                .filter(|(a, b)| (*a - b).abs() > 1e-6);
            let share = off.count() as f32 / x.len() as f32;
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
