//! PreJEAT (Zhu et al. 2021, arXiv version, appendix): cross-entropy on energy-attack examples.

use basin_shared::{
    Key,
    attacks::{Budget, GradientAt, energy_attack},
    models::WideResNet,
};
use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::{Batch, Loss, cross_entropy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prejeat {
    /// Radius of the attack, in [0, 1] pixel units.
    pub epsilon: f32,
    /// Where the attack takes its gradient.
    pub gradient_at: GradientAt,
}

impl Prejeat {
    /// Mean of E(x_adv, y) − E(x_adv).
    pub(super) fn loss(&self, model: &WideResNet, batch: Batch, key: Key) -> Loss {
        let budget = Budget { epsilon: self.epsilon };
        let x_adv =
            energy_attack(&model.valid(), batch.x, batch.y.clone(), budget, self.gradient_at, key);
        cross_entropy(model, x_adv, batch.y)
    }
}
