//! Adversarial training with PGD (Madry et al. 2018), "SAT" and "AT" in later papers.

use basin_shared::{
    Key,
    attacks::{Budget, Pgd, pgd},
    models::WideResNet,
};
use serde::{Deserialize, Serialize};

use super::{Batch, Loss, cross_entropy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct At {
    /// Radius of the attack, in [0, 1] pixel units.
    pub epsilon: f32,
    /// The attack.
    pub attack: Pgd,
}

impl At {
    /// Mean of E(x_adv, y) − E(x_adv); the attack sees the model in evaluation mode.
    pub(super) fn loss(&self, model: &WideResNet, batch: Batch, key: Key) -> Loss {
        let budget = Budget {
            epsilon: self.epsilon,
        };
        let x_adv = pgd(
            &model.frozen(),
            batch.x,
            batch.y.clone(),
            budget,
            self.attack,
            key,
        );
        cross_entropy(model, x_adv, batch.y)
    }
}
