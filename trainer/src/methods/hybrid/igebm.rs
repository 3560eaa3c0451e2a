//! IGEBM (Du & Mordatch 2019, "Implicit generation and modeling with energy-based models",
//! Algorithm 1), class-conditional.

use basin_shared::{
    samplers::Sgld,
    tensors::{Network, energy},
};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::negatives::Negatives;
use crate::methods::{ENERGY_DATA, ENERGY_SAMPLE, Inner, Loss, State, accuracy, logits};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Igebm {
    /// Chains; they descend E(x, y) of their class whatever is said there.
    pub negatives: Negatives,
    /// Steps of a chain in each iteration, K.
    pub steps: usize,
    /// The step.
    pub sampler: Sgld,
    /// Weight of E(x, y)² + E(x_sample, y)², α.
    pub energy_penalty: f32,
}

/// The examples of an iteration.
pub(in crate::methods) struct Examples {
    pub(in crate::methods) x: Tensor<4>,
    pub(in crate::methods) y: Tensor<1, Int>,
    pub(in crate::methods) sample: Tensor<4>,
    pub(in crate::methods) sample_y: Tensor<1, Int>,
}

impl Igebm {
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let negatives = Negatives {
            conditional: true,
            ..self.negatives.clone()
        };
        let (sample, sample_y) =
            negatives.sample_by_sgld(&inner, state.replay(), &self.sampler, self.steps);
        let (x, y) = inner.labelled();
        let examples = Examples {
            x,
            y,
            sample,
            sample_y,
        };
        let settings = self.clone();
        move |model| settings.loss(model, &examples)
    }

    /// Mean of E(x, y) − E(x_sample, y) + α (E(x, y)² + E(x_sample, y)²). There is no term for the
    /// classifier: p(y | x) is what the energies of the classes say of x.
    pub(in crate::methods) fn loss(&self, model: &Network, examples: &Examples) -> Loss {
        let Examples {
            x,
            y,
            sample,
            sample_y,
        } = examples;
        let f_sample = logits(model, sample.clone());
        let f = logits(model, x.clone());
        let energy_sample = energy::joint(f_sample, sample_y.clone());
        let energy_data = energy::joint(f.clone(), y.clone());
        let squares = energy_data.clone().powf_scalar(2.0).mean()
            + energy_sample.clone().powf_scalar(2.0).mean();
        let contrast = energy_data.clone().mean() - energy_sample.clone().mean();
        Loss {
            value: contrast + squares * self.energy_penalty,
            accuracy: accuracy(f, y.clone()),
            figures: vec![
                (ENERGY_DATA, energy_data.inner().mean()),
                (ENERGY_SAMPLE, energy_sample.inner().mean()),
            ],
            input: None,
        }
    }
}
