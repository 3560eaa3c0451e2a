//! The model card: everything a model file says of its model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    models::Architecture,
    samplers::{Distances, SamplerSettings},
};

/// The version of the card that this code writes. It reads the first as well, whose samplers had no name,
/// as every one was Langevin dynamics, and which knew no distances.
pub const SCHEMA: u32 = 2;

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
    /// The model file that training began with; none where it began with random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_with: Option<Origin>,
    /// The model files whose weights' mean these weights are; empty where they are a run's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub averaged: Vec<Origin>,
    /// What it was trained on, one machine after the other, as `basin train` names its devices; empty in files of
    /// earlier versions and of weights from elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<String>,
    /// What `basin evaluate` measured, by name; empty before that.
    pub metrics: BTreeMap<String, f64>,
    /// Recommended settings to draw a class.
    pub generation: SamplerSettings,
    /// The same for those in a hurry, where somebody has looked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quick: Option<SamplerSettings>,
    /// Recommended settings to clean a noisy image so that it is sharp.
    pub denoising: SamplerSettings,
    /// What the energies tell of the distance to the data, measured on validation images; none where
    /// nobody has measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Distances>,
    /// Licence of the weights, an SPDX expression.
    pub licence: String,
    /// Who made it.
    pub author: String,
    /// The version of Basin that wrote the file.
    pub basin_version: String,
    /// SHA-256 of the file's tensor data, 64 hexadecimal digits.
    pub weights_sha256: String,
}

/// A model file whose weights went into these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its name, without directories.
    pub file: String,
    /// SHA-256 of its tensor data, as its card says.
    pub weights_sha256: String,
}
