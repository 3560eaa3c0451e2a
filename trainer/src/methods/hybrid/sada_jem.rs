//! SADA-JEM (Yang, Su & Ji 2023, "Towards bridging the performance gaps of joint energy-based models"):
//! few clamped steps, images without augmentation for p(x), and sharpness-aware minimisation, which is
//! the recipe's optimiser ([`crate::training::sam`]).

use basin_shared::{samplers::Sgld, tensors::Network};
use serde::{Deserialize, Serialize};

use super::{
    jem::{Hybrid, Weights},
    negatives::Negatives,
};
use crate::methods::{Inner, Loss, State};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SadaJem {
    /// Chains.
    pub negatives: Negatives,
    /// Steps of a chain in each iteration, K.
    pub steps: usize,
    /// The step; the paper's clamps the gradient and the image, and adds no noise.
    pub sampler: Sgld,
    /// Weights of the terms.
    pub weights: Weights,
}

impl SadaJem {
    /// JEM's loss, with the augmented batch for p(y | x) and other images as they are for p(x).
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let (sample, _) =
            self.negatives
                .sample_by_sgld(&inner, state.replay(), &self.sampler, self.steps);
        let hybrid = Hybrid {
            x: inner.batch.x.clone(),
            target: inner.target(),
            data: inner.others(),
            sample,
            weights: self.weights,
        };
        move |model| hybrid.loss(model)
    }
}
