//! Recipes: all numbers of a run, in TOML. Unknown keys are refused, nothing is defaulted, and the
//! resolved recipe is kept beside the checkpoints.

use std::path::Path;

use basin_shared::{
    model_card::SamplerSettings,
    models::{Activation, Initialization, Normalization, WideResNetConfig},
};
use serde::{Deserialize, Serialize};

use crate::{
    data::{Augmentation, DataSet},
    learning_rate::Schedule,
    methods::Method,
};

/// All numbers of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// A name for people, on the model card.
    pub name: String,
    pub author: String,
    /// Licence of the weights, an SPDX expression.
    pub licence: String,
    pub data_set: DataSet,
    /// Training images held out for validation, from the end of the training set.
    pub validation: usize,
    /// Seed of the weights, the order of the data, attacks and chains.
    pub seed: u64,
    pub iterations: usize,
    pub batch_size: usize,
    /// Decay of the exponential moving average of the weights; 0 is none.
    pub ema_decay: f32,
    /// Iterations between two checkpoints.
    pub checkpoint_every: usize,
    /// Iterations between two measurements on the validation images.
    pub validate_every: usize,
    pub architecture: ArchitectureRecipe,
    pub initialization: Initialization,
    pub augmentation: Augmentation,
    pub optimizer: OptimizerRecipe,
    pub schedule: Schedule,
    pub divergence: Divergence,
    pub method: Method,
    /// Recommended settings to draw a class, for the card.
    pub generation: SamplerSettings,
    /// Recommended settings to clean an image, for the card.
    pub denoising: SamplerSettings,
}

/// The network; channels, size and classes are the data set's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchitectureRecipe {
    /// 6n + 4.
    pub depth: usize,
    pub width: usize,
    pub activation: Activation,
    pub normalization: Normalization,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum OptimizerRecipe {
    Sgd {
        momentum: f64,
        nesterov: bool,
        weight_decay: f32,
        /// Largest L2 norm of the whole gradient.
        clip_norm: f32,
    },
    Adam {
        beta_1: f32,
        beta_2: f32,
        epsilon: f32,
        weight_decay: f32,
        /// Largest L2 norm of the whole gradient.
        clip_norm: f32,
    },
}

/// When a run counts as diverged, and what is done then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Divergence {
    /// Largest mean |E| of real or sampled images.
    pub largest_energy: f32,
    /// Factor of the learning rate after a roll-back.
    pub rate_factor: f64,
    /// Roll-backs before the run gives up.
    pub roll_backs: usize,
}

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecipeError {
    #[error("{path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Parse {
        path: String,
        source: Box<toml::de::Error>,
    },
    #[error("--set {0}: expected key=value, such as --set optimizer.momentum=0.8")]
    Override(String),
    #[error("--set {key}: the recipe has no `{key}`")]
    UnknownKey { key: String },
    #[error("recipe: {0}")]
    Architecture(#[from] basin_shared::models::ConfigError),
    #[error("recipe: {name} is {found}, expected {expected}")]
    Range {
        name: &'static str,
        found: String,
        expected: &'static str,
    },
    #[error("recipe: {which} settings: {fault}")]
    Sampler { which: &'static str, fault: String },
}

impl Recipe {
    /// Reads a recipe, applies `key=value` overrides and checks the result.
    pub(crate) fn read(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text, &shown, overrides)
    }

    /// As [`Recipe::read`], of TOML text; `path` is for messages.
    pub(crate) fn parse(text: &str, path: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let parse_error = |source| RecipeError::Parse {
            path: path.into(),
            source: Box::new(source),
        };
        // Straight from the text where nothing is overridden: its errors name the line.
        let recipe: Self = if overrides.is_empty() {
            toml::from_str(text).map_err(parse_error)?
        } else {
            let mut table: toml::Table = toml::from_str(text).map_err(parse_error)?;
            for assignment in overrides {
                set(&mut table, assignment)?;
            }
            table.try_into().map_err(parse_error)?
        };
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as TOML.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }

    /// The network's numbers.
    pub(crate) fn model_config(&self) -> WideResNetConfig {
        let ArchitectureRecipe {
            depth,
            width,
            activation,
            normalization,
        } = self.architecture.clone();
        let [channels, size, _] = self.data_set.shape();
        let classes = self.data_set.class_names().len();
        WideResNetConfig {
            depth,
            width,
            channels,
            size,
            classes,
            activation,
            normalization,
        }
    }

    fn check(&self) -> Result<(), RecipeError> {
        self.model_config().check()?;
        for (name, found) in [
            ("iterations", self.iterations),
            ("batch_size", self.batch_size),
            ("checkpoint_every", self.checkpoint_every),
            ("validate_every", self.validate_every),
            ("validation", self.validation),
        ] {
            if found == 0 {
                return Err(RecipeError::Range {
                    name,
                    found: "0".into(),
                    expected: "at least 1",
                });
            }
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            let found = self.ema_decay.to_string();
            return Err(RecipeError::Range {
                name: "ema_decay",
                found,
                expected: "0 to below 1",
            });
        }
        for (which, settings) in [
            ("generation", &self.generation),
            ("denoising", &self.denoising),
        ] {
            if let Some(fault) = settings.fault() {
                return Err(RecipeError::Sampler { which, fault });
            }
        }
        Ok(())
    }
}

/// Applies `a.b=value` to a key that exists; the value is TOML, or else a string.
fn set(table: &mut toml::Table, assignment: &str) -> Result<(), RecipeError> {
    let (key, text) = assignment
        .split_once('=')
        .ok_or_else(|| RecipeError::Override(assignment.into()))?;
    let unknown = || RecipeError::UnknownKey { key: key.into() };
    let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.into()));
    let mut path = key.split('.').peekable();
    let mut table = table;
    while let Some(name) = path.next() {
        let slot = table.get_mut(name).ok_or_else(unknown)?;
        if path.peek().is_none() {
            // `weight = 1` means 1.0 where a fraction stands.
            *slot = match (&*slot, value) {
                (toml::Value::Float(_), toml::Value::Integer(whole)) => {
                    toml::Value::Float(whole as f64)
                }
                (_, value) => value,
            };
            return Ok(());
        }
        table = slot.as_table_mut().ok_or_else(unknown)?;
    }
    Err(unknown())
}
