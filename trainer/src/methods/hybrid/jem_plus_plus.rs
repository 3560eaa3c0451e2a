//! JEM++ (Yang & Ji 2021, "JEM++: Improved techniques for training JEM"): proximal chains from
//! informative starts.

use basin_shared::{
    samplers::Pyld,
    tensors::{Network, from_host, to_host},
};
use serde::{Deserialize, Serialize};

use super::{
    jem::{Hybrid, Weights},
    negatives::Negatives,
};
use crate::methods::{Inner, Loss, State};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JemPlusPlus {
    /// Standard deviation of the Gaussian noise on labelled and other training images, in [0, 1]
    /// pixel units.
    pub input_noise_std: f32,
    /// Chains.
    pub negatives: Negatives,
    /// The sampler.
    pub sampler: Pyld,
    /// Weights of the terms.
    pub weights: Weights,
}

impl JemPlusPlus {
    /// JEM's loss on the labelled batch, which is also the data of p(x), and on the ends of proximal
    /// chains.
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let model = inner.model.frozen();
        let (sample, _) =
            self.negatives
                .sample(&inner, state.replay(), |start, energy, labels, _| {
                    let (shape, device) = (start.dims(), start.device());
                    let objective = energy.of(labels.iter().map(|&y| y.into()).collect());
                    let mut x = to_host(start);
                    self.sampler.run(&model, &*objective, shape[0], &mut x);
                    from_host(x, shape, &device)
                });
        let x = inner.batch.x.clone();
        let noise = inner.key.normal(x.dims(), &x.device()) * self.input_noise_std;
        let x = x + noise;
        let hybrid = Hybrid {
            data: x.clone(),
            x,
            target: inner.target(),
            sample,
            weights: self.weights,
        };
        move |model| hybrid.loss(model)
    }
}
