//! WEAT, weighted energy adversarial training (Mirza et al. 2024, "Shedding more light on robust
//! classifiers under the lens of energy-based models", Algorithm 1 and equation 7).

use basin_shared::tensors::{Network, energy};
use burn::tensor::activation;
use serde::{Deserialize, Serialize};

use super::trades::KlAttack;
use crate::methods::{Attacked, Inner, Logits, Loss};

/// Settings of WEAT_nat and WEAT_adv.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weat {
    /// The attack.
    pub attack: KlAttack,
    /// Weight of the divergence, β.
    pub beta: f32,
}

/// Which images' cross-entropy WEAT lowers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::methods) enum CrossEntropyOf {
    /// WEAT_nat
    Natural,
    /// WEAT_adv
    Adversarial,
}

impl Weat {
    pub(in crate::methods) fn outer(
        &self,
        of: CrossEntropyOf,
        inner: Inner,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (settings, examples) = (self.clone(), self.attack.examples(&inner));
        move |model| settings.loss(of, model, &examples)
    }

    /// Mean of w (E(x', y) − E(x')) + β w KL(p(y | x) ‖ p(y | x_adv)), with x' the natural or the
    /// adversarial image and w = 1 / log(1 + exp |E(x)|), through which no gradient flows: images of
    /// high energy magnitude, easy ones, weigh less.
    pub(in crate::methods) fn loss(
        &self,
        of: CrossEntropyOf,
        model: &Network,
        examples: &Attacked,
    ) -> Loss {
        let Logits { f, f_adv } = examples.logits(model);
        let energy = energy::marginal(f.clone().detach());
        let weight = activation::softplus(energy.abs(), 1.0).recip();
        let classified = match of {
            CrossEntropyOf::Natural => f.clone(),
            CrossEntropyOf::Adversarial => f_adv.clone(),
        };
        let cross_entropy = examples.target.cross_entropy(classified);
        let divergence = energy::kl_divergence(f.clone(), f_adv.clone());
        let value = (weight * (cross_entropy + divergence * self.beta)).mean();
        examples.loss(Logits { f, f_adv }, value)
    }
}
