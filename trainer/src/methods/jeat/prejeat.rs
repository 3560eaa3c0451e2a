//! PreJEAT (Zhu et al. 2021, arXiv version, appendix): cross-entropy on energy-attack examples.

use basin_shared::{
    attacks::{Attack, Budget, GradientAt},
    energy::Joint,
    tensors::Network,
};
use serde::{Deserialize, Serialize};

use crate::methods::{Inner, Loss, cross_entropy};

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
    pub(in crate::methods) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let objective = Joint {
            classes: inner.classes(),
        };
        let attack = Attack::energy(Budget::linf(self.epsilon), &objective, self.gradient_at);
        let x_adv = attack.on_tensors(&inner.model.frozen(), inner.batch.x.clone(), inner.key);
        let target = inner.target();
        move |model| cross_entropy(model, x_adv.clone(), &target)
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{Key, tensors::OnTensors};
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    /// −log softmax of the attacked images' logits, by hand.
    #[test]
    fn the_loss_is_the_cross_entropy_of_the_attacked_images() {
        let model = fixture::network(&Device::flex().autodiff());
        let (train, batch) = (fixture::images(), fixture::batch());
        let prejeat = Prejeat {
            epsilon: 0.1,
            gradient_at: GradientAt::Start,
        };
        let inner = fixture::inner(&model, &train, &batch);
        let found: f32 = prejeat.outer(inner)(&model).value.into_scalar();

        let frozen = model.frozen();
        let budget = Budget::linf(0.1);
        let objective = Joint {
            classes: batch.labels.iter().map(|&y| y.into()).collect(),
        };
        let attack = Attack::energy(budget, &objective, GradientAt::Start);
        let x_adv = attack.on_tensors(&frozen, batch.x, Key::new(3));
        let logits: Vec<f32> = frozen.logits_of(x_adv).into_data().iter().collect();
        let cross_entropy =
            |(f, &y): (&[f32], &u8)| f.iter().map(|f| f.exp()).sum::<f32>().ln() - f[y as usize];
        let expected = logits
            .chunks(3)
            .zip(&batch.labels)
            .map(cross_entropy)
            .sum::<f32>()
            / 4.0;
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
    }
}
