//! Adversarial training with PGD (Madry et al. 2018), "SAT" and "AT" in later papers.

use basin_shared::{
    attacks::{Attack, Budget, Pgd},
    tensors::Network,
};
use serde::{Deserialize, Serialize};

use crate::methods::{Inner, Loss, cross_entropy};

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
    pub(in crate::methods) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let model = inner.model.frozen();
        let objective = inner.cross_entropy();
        let attack = Attack::pgd(Budget::linf(self.epsilon), &objective, self.attack);
        let x_adv = attack.on_tensors(&model, inner.batch.x.clone(), inner.key);
        let target = inner.target();
        move |model| cross_entropy(model, x_adv.clone(), &target)
    }
}
