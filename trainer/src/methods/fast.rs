//! Fast adversarial training (Wong et al. 2020, "Fast is better than free", Algorithm 3): one step from
//! a random start, with an eye on catastrophic overfitting.

use basin_shared::{
    attacks::{Budget, Pgd, pgd},
    models::Network,
};
use burn::tensor::Tensor;
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
}

impl Fast {
    /// Mean of E(x_adv, y) − E(x_adv).
    ///
    /// Before each checkpoint PGD-5 attacks the batch. Where its accuracy has fallen since the last
    /// checkpoint, the figure [`PGD_DROP`] says by how much: the run goes back where that is too much,
    /// as the paper's code ends with the weights of the epoch before.
    pub(super) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let model = inner.model.frozen();
        let budget = Budget::linf(self.epsilon);
        let [attack_key, watch_key] = inner.key.split();
        let single = Pgd {
            steps: 1,
            step_size: self.step_size,
        };
        let x_adv = pgd(&model, x.clone(), y.clone(), budget, single, attack_key);
        let mut figures = Vec::new();
        if inner.before_checkpoint {
            let watch = Pgd {
                steps: 5,
                step_size: self.epsilon / 4.0,
            };
            let attacked = pgd(&model, x, y.clone(), budget, watch, watch_key);
            let robust: f32 = accuracy_of(&model, attacked, y.clone()).into_scalar();
            if let State::Robust(before) = *state {
                figures.push((PGD_DROP, before - robust));
            }
            *state = State::Robust(robust);
        }
        move |model| {
            let mut loss = cross_entropy(model, x_adv.clone(), y.clone());
            let device = x_adv.device();
            let figures = figures.iter();
            let figures = figures.map(|&(name, v)| (name, Tensor::from_floats([v], &device)));
            loss.figures.extend(figures);
            loss
        }
    }
}
