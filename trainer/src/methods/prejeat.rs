//! PreJEAT (Zhu et al. 2021, arXiv version, appendix): cross-entropy on energy-attack examples.

use basin_shared::{
    Energy,
    attacks::{Budget, GradientAt, energy_attack},
    models::Network,
};
use serde::{Deserialize, Serialize};

use super::{Inner, Loss, cross_entropy};

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
    pub(super) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let (x, y) = inner.labelled();
        let x_adv = energy_attack(
            &inner.model.frozen(),
            x,
            &Energy::Joint(y),
            Budget::linf(self.epsilon),
            self.gradient_at,
            inner.key,
        );
        let target = inner.target();
        move |model| cross_entropy(model, x_adv.clone(), &target)
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{
        Classifier, Key,
        model_card::Architecture,
        models::{Activation, Initialization, Normalization, WideResNetConfig},
    };
    use burn::tensor::Device;

    use super::*;
    use crate::{data::Images, methods::Batch};

    /// −log softmax of the attacked images' logits, by hand.
    #[test]
    fn the_loss_is_the_cross_entropy_of_the_attacked_images() {
        let device = Device::flex();
        let architecture = Architecture::WideResnet(WideResNetConfig {
            depth: 10,
            width: 1,
            channels: 1,
            size: 8,
            classes: 3,
            activation: Activation::Silu,
            normalization: Normalization {
                mean: vec![0.5],
                std: vec![0.5],
            },
        });
        let initialization = Initialization {
            gain: 1.4,
            residual_scale: 0.5,
        };
        let model = architecture.init(initialization, Key::new(1), &device.clone().autodiff());
        let x = Key::new(2).uniform([4, 1, 8, 8], &device);
        let labels = vec![0, 2, 1, 2];
        let y = crate::model::labels(&labels, &device);
        let prejeat = Prejeat {
            epsilon: 0.1,
            gradient_at: GradientAt::Start,
        };
        let batch = Batch {
            x: x.clone(),
            y: y.clone(),
            labels: labels.clone(),
        };
        let inner = Inner {
            model: &model,
            train: &Images::new(vec![0; 64], vec![0], [1, 8, 8]),
            gaussian: None,
            batch: &batch,
            label_smoothing: 0.0,
            progress: 0.0,
            before_checkpoint: false,
            key: Key::new(3),
        };
        let found: f32 = prejeat.outer(inner)(&model).value.into_scalar();

        let frozen = model.frozen();
        let budget = Budget::linf(0.1);
        let x_adv = energy_attack(
            &frozen,
            x,
            &Energy::Joint(y),
            budget,
            GradientAt::Start,
            Key::new(3),
        );
        let logits: Vec<f32> = frozen.logits(x_adv).into_data().iter().collect();
        let cross_entropy =
            |(f, &y): (&[f32], &u8)| f.iter().map(|f| f.exp()).sum::<f32>().ln() - f[y as usize];
        let expected = logits
            .chunks(3)
            .zip(&labels)
            .map(cross_entropy)
            .sum::<f32>()
            / 4.0;
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
    }
}
