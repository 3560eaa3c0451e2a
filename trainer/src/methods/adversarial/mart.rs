//! MART (Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified
//! examples", equation 11 and Algorithm 1).

use basin_shared::{
    attacks::{Attack, Budget, Pgd},
    tensors::Network,
};
use burn::tensor::activation;
use serde::{Deserialize, Serialize};

use crate::methods::{Attacked, Inner, Logits, Loss, best_wrong, of_class};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mart {
    /// Radius of the attack, in [0, 1] pixel units.
    pub epsilon: f32,
    /// The attack.
    pub attack: Pgd,
    /// Weight of the divergence, λ.
    pub lambda: f32,
}

/// What the authors' code adds so that neither logarithm nor weight is of zero. They change gradients,
/// so they are kept.
const LOG_MARGIN: f32 = 1.0001;
const LEAST: f32 = 1e-12;
const WEIGHT_MARGIN: f32 = 1.000_000_1;

impl Mart {
    pub(in crate::methods) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let x = inner.batch.x.clone();
        let model = inner.model.frozen();
        let objective = inner.cross_entropy();
        let attack = Attack::pgd(Budget::linf(self.epsilon), &objective, self.attack);
        let x_adv = attack.on_tensors(&model, x.clone(), inner.key);
        let target = inner.target();
        let (settings, examples) = (self.clone(), Attacked { x, x_adv, target });
        move |model| settings.loss(model, &examples)
    }

    /// Mean of −log p_y(x_adv) − log(1 − max_{k≠y} p_k(x_adv)) + λ KL(p(x) ‖ p(x_adv)) (1 − p_y(x)).
    pub(in crate::methods) fn loss(&self, model: &Network, examples: &Attacked) -> Loss {
        let Logits { f, f_adv } = examples.logits(model);
        let y = &examples.target.y;
        let p = activation::softmax(f.clone(), 1);
        let p_adv = activation::softmax(f_adv.clone(), 1);
        let wrong = best_wrong(p_adv.clone(), y.clone());
        let margin = (wrong.neg() + LOG_MARGIN + LEAST).log().neg();
        let boosted = examples.target.cross_entropy(f_adv.clone()) + margin;
        let log_p_adv = (p_adv + LEAST).log();
        // p log p has the limit 0 where p is 0.
        let log_p = p.clone().clamp_min(f32::MIN_POSITIVE).log();
        let divergence = (p.clone() * (log_p - log_p_adv))
            .sum_dim(1)
            .squeeze_dim::<1>(1);
        let doubt = of_class(p, y.clone()).neg() + WEIGHT_MARGIN;
        let value = boosted.mean() + (divergence * doubt).mean() * self.lambda;
        examples.loss(Logits { f, f_adv }, value)
    }
}
