//! A sampler as a model card recommends it.

use serde::{Deserialize, Serialize};

use super::{Annealing, Distances, Sampler, Start, Step};
use crate::{energy::EnergyKind, ranges::first_fault};

/// A sampler, how long it runs, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSettings {
    /// Which energy is descended.
    pub energy: EnergyKind,
    /// Steps of a chain.
    pub steps: usize,
    /// Where chains start, unless at a given image.
    pub start: Start,
    /// The step.
    pub sampler: Sampler,
}

impl SamplerSettings {
    /// What is out of range, if anything, as `name is found, expected range`.
    pub fn fault(&self) -> Option<String> {
        let steps = first_fault([("generation.steps", self.steps as f64)]);
        let steps = steps.map(|fault| fault.to_string());
        let of_sampler = || match &self.sampler {
            Sampler::Sgld(sgld) => sgld.fault(),
            Sampler::ByDistance(sampler) => sampler.fault(self.energy),
        };
        steps.or_else(of_sampler)
    }

    /// The step of a chain by these settings; none where it goes by distance and no table is given.
    pub fn walk(&self, distances: Option<&Distances>) -> Option<Step> {
        let sampler = match &self.sampler {
            Sampler::Sgld(sgld) => return Some(Step::Sgld(*sgld)),
            Sampler::ByDistance(sampler) => *sampler,
        };
        let table = distances?.table(self.energy)?.clone();
        let noisy = self.steps.saturating_sub(sampler.last_steps);
        Some(Step::ByDistance(Annealing {
            sampler,
            noisy_steps: noisy as u64,
            table,
            observation: None,
        }))
    }
}
