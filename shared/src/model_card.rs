//! The model card: everything a model file says of its model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    models::WideResNetConfig,
    samplers::{Sgld, Start},
};

/// The version of the card that this code writes and reads.
pub const SCHEMA: u32 = 1;

/// A model card, schema [`SCHEMA`]; JSON under the key `basin` of the file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Version of this structure.
    pub schema: u32,
    /// A name for people.
    pub name: String,
    /// Which network, with all its numbers.
    pub architecture: Architecture,
    /// What each logit stands for.
    pub class_names: Vec<String>,
    /// What it was trained on, such as `fashion-mnist`.
    pub data_set: String,
    /// Training method, as its paper names it.
    pub method: String,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// What `basin evaluate` measured, by name; empty before that.
    pub metrics: BTreeMap<String, f64>,
    /// Recommended settings to draw a class.
    pub generation: SamplerSettings,
    /// Recommended settings to clean a noisy image.
    pub denoising: SamplerSettings,
    /// Licence of the weights, an SPDX expression.
    pub licence: String,
    /// Who made it.
    pub author: String,
    /// The version of Basin that wrote the file.
    pub basin_version: String,
    /// SHA-256 of the file's tensor data, 64 hexadecimal digits.
    pub weights_sha256: String,
}

/// The architectures that a file may hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Architecture {
    /// The Wide-ResNet of JEM.
    WideResnet(WideResNetConfig),
}

/// Which energy a recommended sampler descends; the class is the visitor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyKind {
    /// E(x, y)
    Joint,
    /// E(x)
    Marginal,
    /// E(x, y) − E(x)
    Conditional,
}

/// A sampler, how long it runs, and from where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSettings {
    /// Which energy is descended.
    pub energy: EnergyKind,
    /// Steps of a chain.
    pub steps: usize,
    /// Where chains start, unless at a given image.
    pub start: Start,
    /// The step.
    pub sampler: Sgld,
}

impl SamplerSettings {
    /// What is out of range, if anything, as `name is found, expected range`.
    pub fn fault(&self) -> Option<String> {
        let Sgld {
            step_size,
            noise_std,
            friction,
            ..
        } = self.sampler;
        let range = |name: &str, found: f32, ok: bool, expected: &str| {
            (!ok).then(|| format!("{name} is {found}, expected {expected}"))
        };
        let steps = (self.steps == 0 || self.steps > 10_000)
            .then(|| format!("steps is {}, expected 1 to 10000", self.steps));
        steps
            .or_else(|| {
                range(
                    "step_size",
                    step_size,
                    step_size > 0.0 && step_size <= 1e4,
                    "0 to 1e4",
                )
            })
            .or_else(|| {
                range(
                    "noise_std",
                    noise_std,
                    (0.0..=10.0).contains(&noise_std),
                    "0 to 10",
                )
            })
            .or_else(|| {
                range(
                    "friction",
                    friction,
                    (0.0..1.0).contains(&friction),
                    "0 to below 1",
                )
            })
    }
}
