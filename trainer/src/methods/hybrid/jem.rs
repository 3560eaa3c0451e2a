//! JEM, joint energy-based models (Grathwohl et al. 2020, "Your classifier is secretly an energy based
//! model and you should treat it like one", Algorithm 1), and the loss that its successors share.

use basin_shared::{
    samplers::Sgld,
    tensors::{Network, energy},
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::negatives::Negatives;
use crate::methods::{ENERGY_DATA, ENERGY_SAMPLE, Inner, Loss, State, Target, accuracy, logits};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jem {
    /// Standard deviation of the Gaussian noise on training images, in [0, 1] pixel units.
    pub input_noise_std: f32,
    /// Chains.
    pub negatives: Negatives,
    /// Steps of a chain in each iteration.
    pub steps: usize,
    /// The step.
    pub sampler: Sgld,
    /// Weights of the terms.
    pub weights: Weights,
}

/// Weights of the terms of a hybrid model's loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weights {
    /// The weight of E(x, y) − E(x), the gradient of −log p(y | x).
    pub conditional: f32,
    /// The weight of E(x) − E(x_sample), the gradient of −log p(x).
    pub marginal: f32,
    /// The weight of E(x)² + E(x_sample)²; none in the paper, a cure for divergence.
    pub energy_penalty: f32,
}

impl Jem {
    /// The hybrid loss on labelled images, on others for p(x), and on samples. As in the authors'
    /// code, images for p(x) are drawn apart from the labelled batch.
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let x_key = inner.key.stream("x");
        let data_key = inner.key.stream("data");
        let (sample, _) =
            self.negatives
                .sample_by_sgld(&inner, state.replay(), &self.sampler, self.steps);
        let x = inner.batch.x.clone();
        let noised = |x: Tensor<4>, key: basin_shared::Key| {
            let noise = key.normal(x.dims(), &x.device()) * self.input_noise_std;
            x + noise
        };
        let hybrid = Hybrid {
            x: noised(x, x_key),
            target: inner.target(),
            data: noised(inner.others(), data_key),
            sample,
            weights: self.weights,
        };
        move |model| hybrid.loss(model)
    }
}

/// The examples of an iteration of a hybrid model.
pub(in crate::methods) struct Hybrid {
    /// Labelled images.
    pub(in crate::methods) x: Tensor<4>,
    pub(in crate::methods) target: Target,
    /// Images whose energy is to fall.
    pub(in crate::methods) data: Tensor<4>,
    /// Samples, whose energy is to rise.
    pub(in crate::methods) sample: Tensor<4>,
    pub(in crate::methods) weights: Weights,
}

impl Hybrid {
    /// The weighted sum of means. Labelled images go through the model last, so that running
    /// statistics, where there are any, are theirs.
    pub(in crate::methods) fn loss(&self, model: &Network) -> Loss {
        let energy_data = energy::marginal(logits(model, self.data.clone()));
        let energy_sample = energy::marginal(logits(model, self.sample.clone()));
        let f = logits(model, self.x.clone());
        let conditional = self.target.cross_entropy(f.clone()).mean();
        let squares = energy_data.clone().powf_scalar(2.0).mean()
            + energy_sample.clone().powf_scalar(2.0).mean();
        let marginal = energy_data.clone().mean() - energy_sample.clone().mean();
        Loss {
            value: conditional.clone() * self.weights.conditional
                + marginal * self.weights.marginal
                + squares * self.weights.energy_penalty,
            accuracy: accuracy(f, self.target.y.clone()),
            figures: vec![
                ("cross_entropy", conditional.inner()),
                (ENERGY_DATA, energy_data.inner().mean()),
                (ENERGY_SAMPLE, energy_sample.inner().mean()),
            ],
            input: None,
        }
    }
}
