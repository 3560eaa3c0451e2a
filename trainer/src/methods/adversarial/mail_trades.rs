//! MAIL-TRADES (Liu et al. 2021, "Probabilistic margins for instance reweighting in adversarial
//! training", equations 5 and 9).

use basin_shared::tensors::{Network, energy};
use burn::tensor::activation;
use serde::{Deserialize, Serialize};

use super::trades::KlAttack;
use crate::methods::{Attacked, Inner, Logits, Loss, best_wrong, of_class};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailTrades {
    /// The attack.
    pub attack: KlAttack,
    /// Weight of the divergence, β.
    pub beta: f32,
    /// The weight of an example is `scale` · sigmoid(`slope` · (margin + `bias`)). The authors' code
    /// has a fixed scale of 3, where the paper divides by the batch's mean.
    pub scale: f32,
    pub slope: f32,
    pub bias: f32,
    /// Share of the run after which examples are weighted; before, all weigh 1.
    pub weighted_from: f64,
}

impl MailTrades {
    pub(in crate::methods) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let (settings, examples) = (self.clone(), self.attack.examples(&inner));
        let weighted = inner.progress >= self.weighted_from;
        move |model| settings.loss(model, &examples, weighted)
    }

    /// Mean of E(x, y) − E(x) + β w KL(p(y | x) ‖ p(y | x_adv)), with w from the probabilistic margin
    /// max_{k≠y} p_k(x_adv) − p_y(x_adv), through which no gradient flows.
    pub(in crate::methods) fn loss(
        &self,
        model: &Network,
        examples: &Attacked,
        weighted: bool,
    ) -> Loss {
        let Logits { f, f_adv } = examples.logits(model);
        let y = &examples.target.y;
        let mut divergence = energy::kl_divergence(f.clone(), f_adv.clone());
        if weighted {
            let p_adv = activation::softmax(f_adv.clone().detach(), 1);
            let margin = best_wrong(p_adv.clone(), y.clone()) - of_class(p_adv, y.clone());
            let weight = activation::sigmoid((margin + self.bias) * self.slope) * self.scale;
            divergence = divergence * weight;
        }
        let natural = examples.target.cross_entropy(f.clone()).mean();
        let value = natural + divergence.mean() * self.beta;
        examples.loss(Logits { f, f_adv }, value)
    }
}
