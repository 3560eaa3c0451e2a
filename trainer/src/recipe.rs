//! Recipes: all numbers of a run, in TOML. Unknown keys are refused, nothing is defaulted, and the
//! resolved recipe is kept beside the checkpoints.

mod architecture;

use std::{collections::BTreeSet, io::ErrorKind, path::Path};

use basin_shared::{
    models::{Architecture, Initialization},
    ranges::{self, OutOfRange},
    samplers::SamplerSettings,
    tensors::Precision,
};
use serde::{Deserialize, Serialize};

use crate::{
    cli::fraction,
    data::{Augmentation, DataError, DataSet},
    methods::Method,
    recipes,
    training::{sam::Sam, schedule::Schedule},
};

pub(crate) use architecture::{ArchitectureRecipe, WideResNetRecipe};

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
    /// What the network computes in; the optimiser and its weights are in single precision.
    pub precision: Precision,
    /// Share of each label that a cross-entropy spreads over all classes; 0 is none.
    pub label_smoothing: f32,
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
    /// Sharpness-aware minimisation around the optimiser; none where it is not given.
    pub sam: Option<Sam>,
    pub schedule: Schedule,
    pub divergence: Divergence,
    pub method: Method,
    /// Recommended settings to draw a class, for the card.
    pub generation: SamplerSettings,
    /// Recommended settings to clean an image, for the card.
    pub denoising: SamplerSettings,
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
    /// Weight decay is added to the gradient.
    Adam {
        beta_1: f32,
        beta_2: f32,
        epsilon: f32,
        weight_decay: f32,
        /// Largest L2 norm of the whole gradient.
        clip_norm: f32,
    },
    /// Weight decay apart from the gradient (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW {
        beta_1: f32,
        beta_2: f32,
        epsilon: f32,
        weight_decay: f32,
        /// Largest L2 norm of the whole gradient.
        clip_norm: f32,
    },
}

impl OptimizerRecipe {
    /// Largest L2 norm of the whole gradient.
    pub(crate) fn clip_norm(&self) -> f32 {
        match *self {
            Self::Sgd { clip_norm, .. }
            | Self::Adam { clip_norm, .. }
            | Self::AdamW { clip_norm, .. } => clip_norm,
        }
    }
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
    #[error(
        "{path}: there is no such file, and no recipe of this name; `basin recipes` lists those that there are"
    )]
    NotFound { path: String },
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
    Data(#[from] DataError),
    #[error("recipe: {0}")]
    Architecture(#[from] basin_shared::models::ConfigError),
    #[error("recipe: {0}")]
    Number(#[from] OutOfRange),
    #[error("recipe: {name} is {found}, expected {expected}")]
    Range {
        name: &'static str,
        found: String,
        expected: String,
    },
    #[error("recipe: {which} settings: {fault}")]
    Sampler { which: &'static str, fault: String },
}

impl Recipe {
    /// Reads a recipe, applies `key=value` overrides and checks the result.
    pub(crate) fn read(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let shown = path.display().to_string();
        if let (false, Some(text)) = (path.exists(), recipes::named(path)) {
            return Self::parse(text, &shown, overrides);
        }
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => RecipeError::NotFound {
                path: shown.clone(),
            },
            _ => RecipeError::Read {
                path: shown.clone(),
                source,
            },
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

    /// The recipe that a checkpoint or a model card keeps, which may be of an earlier version: what
    /// recipes did not say then is what there was then.
    pub(crate) fn kept(text: &str) -> Result<Self, RecipeError> {
        let path = "the checkpoint's recipe";
        let parse_error = |source| RecipeError::Parse {
            path: path.into(),
            source: Box::new(source),
        };
        let mut table: toml::Table = toml::from_str(text).map_err(parse_error)?;
        complete(&mut table);
        Self::parse(&table.to_string(), path, &[])
    }

    /// The recipe as TOML.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }

    /// The network with all its numbers.
    pub(crate) fn architecture(&self) -> Architecture {
        let [channels, size, _] = self.data_set.shape();
        self.architecture
            .of([channels, size], self.data_set.classes())
    }

    /// What another recipe says otherwise: the keys, with both values.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        fn collect(
            path: &str,
            one: Option<&toml::Value>,
            other: Option<&toml::Value>,
            found: &mut Vec<String>,
        ) {
            if one == other {
                return;
            }
            if let (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) = (one, other) {
                let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                for key in keys {
                    let dot = if path.is_empty() { "" } else { "." };
                    collect(
                        &format!("{path}{dot}{key}"),
                        one.get(key),
                        other.get(key),
                        found,
                    );
                }
                return;
            }
            let said =
                |value: Option<&toml::Value>| value.map_or("nothing".into(), ToString::to_string);
            found.push(format!(
                "{path} is {} there, {} here",
                said(one),
                said(other)
            ));
        }
        let tree = |recipe: &Self| toml::Value::try_from(recipe).expect("a recipe is plain data");
        let mut found = Vec::new();
        collect("", Some(&tree(self)), Some(&tree(other)), &mut found);
        found
    }

    /// Every number, by its path.
    fn numbers(&self) -> Vec<(String, f64)> {
        fn collect(path: &str, value: &toml::Value, numbers: &mut Vec<(String, f64)>) {
            match value {
                toml::Value::Integer(number) => numbers.push((path.into(), *number as f64)),
                toml::Value::Float(number) => numbers.push((path.into(), *number)),
                toml::Value::Array(values) => {
                    values
                        .iter()
                        .for_each(|value| collect(path, value, numbers));
                }
                toml::Value::Table(table) => {
                    let norm = table.get("norm").and_then(toml::Value::as_str);
                    for (key, value) in table {
                        let dot = if path.is_empty() { "" } else { "." };
                        // A radius is of its norm.
                        let norm = match (key.as_str(), norm) {
                            ("epsilon", Some("l2")) => "l2.",
                            _ => "",
                        };
                        collect(&format!("{path}{dot}{norm}{key}"), value, numbers);
                    }
                }
                _ => {}
            }
        }
        let mut numbers = Vec::new();
        let tree = toml::Value::try_from(self).expect("a recipe is plain data");
        collect("", &tree, &mut numbers);
        numbers
    }

    /// Whether a checkpoint is written once so many iterations are done.
    pub(crate) fn checkpoint_due(&self, done: usize) -> bool {
        done.is_multiple_of(self.checkpoint_every) || done == self.iterations
    }

    fn check(&self) -> Result<(), RecipeError> {
        for (path, found) in self.numbers() {
            ranges::check(&path, found)?;
        }
        self.data_set.check()?;
        self.augmentation.check(self.data_set.shape())?;
        self.architecture().check()?;
        if self.label_smoothing > 0.0 && !self.method.has_cross_entropy() {
            return Err(RecipeError::Range {
                name: "label_smoothing",
                found: self.label_smoothing.to_string(),
                expected: "0 for a method without a cross-entropy".into(),
            });
        }
        if let Some((name, found, expected)) = self.method.fault(self.batch_size) {
            return Err(RecipeError::Range {
                name,
                found: found.to_string(),
                expected,
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

/// Says what recipes of earlier versions did not say: there was one architecture, one precision, no
/// smoothing of labels, no cutout, no blending with noise, and each method attacked in one mode.
fn complete(table: &mut toml::Table) {
    let mut mean = None;
    table
        .entry("label_smoothing")
        .or_insert(toml::Value::Float(0.0));
    table.entry("precision").or_insert("f32".into());
    for which in ["generation", "denoising"] {
        name_sampler(table.get_mut(which));
    }
    if let Some(toml::Value::Table(architecture)) = table.get_mut("architecture") {
        architecture.entry("name").or_insert("wide_resnet".into());
        let normalization = architecture.get("normalization");
        mean = normalization.and_then(|it| it.get("mean")).cloned();
    }
    if let (Some(toml::Value::Table(augmentation)), Some(mean)) =
        (table.get_mut("augmentation"), mean)
    {
        let none = toml::Table::from_iter([("size".into(), 0.into()), ("fill".into(), mean)]);
        augmentation.entry("cutout").or_insert(none.into());
    }
    if let Some(toml::Value::Table(method)) = table.get_mut("method") {
        let name = method.get("name").and_then(toml::Value::as_str);
        let name = name.map(ToOwned::to_owned);
        let epsilon = method.get("epsilon").and_then(toml::Value::as_float);
        if name.as_deref() == Some("mart")
            && let Some(lambda) = method.remove("beta")
        {
            method.insert("lambda".into(), lambda);
        }
        let mut said_since = |key: &str, then: toml::Value| {
            method.entry(key).or_insert(then);
        };
        match name.as_deref() {
            Some("fast") => {
                said_since("attack_mode", "evaluate".into());
                let watch = [
                    ("steps".into(), 5.into()),
                    (
                        "step_size".into(),
                        (epsilon.unwrap_or_default() / 4.0).into(),
                    ),
                ];
                said_since("watch", toml::Table::from_iter(watch).into());
                said_since("largest_drop", toml::Value::Float(0.2));
            }
            Some("free") => said_since("attack_mode", "train".into()),
            Some("jeat") => said_since("clean_blend", toml::Value::Float(0.0)),
            _ => {}
        }
    }
}

/// Samplers had no name while every one was Langevin dynamics.
fn name_sampler(settings: Option<&mut toml::Value>) {
    let sampler = settings.and_then(|settings| settings.get_mut("sampler"));
    let unnamed = |sampler: &&mut toml::Value| sampler.get("step_size").is_some();
    if let Some(sampler) = sampler.filter(unnamed) {
        let named = toml::Table::from_iter([("sgld".into(), sampler.clone())]);
        *sampler = named.into();
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
            // `weight = 1` means 1.0 where a fraction stands, and `epsilon = 8/255` is one.
            *slot = match (&*slot, value) {
                (toml::Value::Float(_), toml::Value::Integer(whole)) => {
                    toml::Value::Float(whole as f64)
                }
                (toml::Value::Float(_), toml::Value::String(text)) => match fraction(&text) {
                    Ok(number) => toml::Value::Float(number.into()),
                    Err(_) => toml::Value::String(text),
                },
                (_, value) => value,
            };
            return Ok(());
        }
        table = slot.as_table_mut().ok_or_else(unknown)?;
    }
    Err(unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &str = include_str!("../recipes/standard-fashion-mnist.toml");

    /// As runs kept them that began when there was one architecture, and no smoothing of labels.
    #[test]
    fn what_a_kept_recipe_does_not_say_is_what_there_was_then() {
        let now = Recipe::parse(STANDARD, "test", &[]).unwrap();
        let then = now
            .to_toml()
            .replace("name = \"wide_resnet\"\n", "")
            .replace("label_smoothing = 0.0\n", "")
            .replace("precision = \"f32\"\n", "");
        assert!(!then.contains("wide_resnet") && !then.contains("smoothing"));
        assert_eq!(Recipe::kept(&then).unwrap(), now);
        assert_eq!(Recipe::kept(&now.to_toml()).unwrap(), now);
    }

    /// Fast adversarial training attacked in evaluation mode, free adversarial training in training
    /// mode, before recipes said which.
    #[test]
    fn attacks_of_kept_recipes_are_in_the_mode_that_they_were_in() {
        const FAST: &str = include_str!("../recipes/fast-cifar10.toml");
        const FREE: &str = include_str!("../recipes/free-cifar10.toml");
        for (text, then) in [(FAST, "evaluate"), (FREE, "train")] {
            let setting = format!("method.attack_mode={then}");
            let expected = Recipe::parse(text, "test", &[setting]).unwrap();
            let kept = text.lines().filter(|line| !line.starts_with("attack_mode"));
            let kept: Vec<&str> = kept.collect();
            assert_eq!(Recipe::kept(&kept.join("\n")).unwrap(), expected);
        }
    }

    /// Whatever number any setting of any recipe is made, the recipe is refused by that setting's name or all its
    /// numbers are in their ranges.
    #[test]
    fn fractions_are_numbers() {
        let text = include_str!("../recipes/at-fashion-mnist.toml");
        let parse = |value: &str| {
            let assignment = format!("schedule.peak={value}");
            Recipe::parse(text, "test", &[assignment])
        };
        assert_eq!(parse("1/8").unwrap(), parse("0.125").unwrap());
        assert!(parse("1/0").is_err() && parse("8/").is_err());
    }

    #[test]
    fn any_number_anywhere_is_used_or_refused_by_name() {
        let odd = [
            "nan",
            "inf",
            "-inf",
            "-1.0",
            "-0.03",
            "0.0",
            "1e-300",
            "0.5",
            "1.0",
            "8.0",
            "1e30",
            "1e300",
            "-1",
            "0",
            "1",
            "7",
            "100000000000",
            "9223372036854775807",
        ];
        let (mut refused, mut used) = (0, 0);
        let mut seen = BTreeSet::new();
        for (_, text) in recipes::RECIPES {
            for (path, _) in Recipe::parse(text, "test", &[]).unwrap().numbers() {
                assert!(ranges::range(&path).is_some(), "no range of `{path}`");
                if !seen.insert(path.clone()) {
                    continue;
                }
                let key = path.replace(".l2.", ".");
                let last = key.rsplit('.').next().unwrap();
                for value in odd {
                    match Recipe::parse(text, "test", &[format!("{key}={value}")]) {
                        Ok(recipe) => {
                            let numbers = recipe.numbers().into_iter();
                            numbers.for_each(|(path, found)| ranges::check(&path, found).unwrap());
                            used += 1;
                        }
                        // By its own name, or as what another does not go with.
                        Err(RecipeError::Number(error)) => {
                            assert!(error.name.ends_with(last), "{key}={value}: {error}");
                            refused += 1;
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        assert!(
            refused > used && used > 500,
            "{refused} refused, {used} used"
        );
    }

    /// A buffer that holds fewer images than an iteration draws of it.
    #[test]
    fn a_buffer_holds_what_an_iteration_takes() {
        const JEAT: &str = include_str!("../recipes/jeat-wrn-16-2-cifar10.toml");
        const JEM: &str = include_str!("../recipes/jem-cifar10.toml");
        for (text, setting, expected) in [
            (
                JEM,
                "method.negatives.capacity=20",
                "method.negatives.capacity is 20, expected at least batch_size, 64",
            ),
            (
                JEAT,
                "method.buffer.capacity=3",
                "method.buffer.capacity is 3, expected at least the chains of an iteration, ",
            ),
        ] {
            let error = Recipe::parse(text, "test", &[setting.into()])
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The recipes of the bundled models: their runs', and those on their cards.
    #[test]
    fn published_recipes_stay_readable() {
        let fashion_mnist_jeat: &[u8] =
            include_bytes!("../../docs/fashion-mnist-jeat/model.safetensors");
        let fashion_mnist: &[u8] =
            include_bytes!("../../static/models/fashion-mnist-dsm.safetensors");
        let cifar_10: &[u8] = include_bytes!("../../static/models/cifar-10-dsm.safetensors");
        for (file, texts) in [
            (
                fashion_mnist_jeat,
                [
                    include_str!("../../docs/fashion-mnist-jeat/recipe.toml"),
                    include_str!("../../docs/fashion-mnist-jeat/recipe-00005000.toml"),
                ],
            ),
            (
                fashion_mnist,
                [
                    include_str!("../../docs/fashion-mnist-dsm/recipe.toml"),
                    include_str!("../../docs/fashion-mnist-dsm/recipe-00007000.toml"),
                ],
            ),
            (
                cifar_10,
                [
                    include_str!("../../docs/cifar-10-dsm/recipe.toml"),
                    include_str!("../../docs/cifar-10-dsm/stage-2.toml"),
                ],
            ),
        ] {
            let card = basin_shared::ModelFile::read(file).unwrap().card;
            for text in texts.into_iter().chain([card.recipe.as_str()]) {
                let recipe = Recipe::kept(text).unwrap();
                assert_eq!(recipe.architecture(), card.architecture);
            }
        }
    }

    #[test]
    fn shares_are_below_one_and_labels_are_smoothed_where_they_are_used() {
        const IGEBM: &str = include_str!("../recipes/igebm-cifar10.toml");
        const DSM: &str = include_str!("../recipes/dsm-wrn-16-2-cifar10.toml");
        let message = |text, setting: &str| {
            let error = Recipe::parse(text, "test", &[setting.into()]);
            error.unwrap_err().to_string()
        };
        for (text, setting, expected) in [
            (
                STANDARD,
                "label_smoothing=1",
                "label_smoothing is 1, expected 0 to below 1",
            ),
            (
                STANDARD,
                "schedule.up=-0.5",
                "schedule.up is -0.5, expected 0 to below 1",
            ),
            (
                IGEBM,
                "label_smoothing=0.1",
                "label_smoothing is 0.1, expected 0 for a method without a cross-entropy",
            ),
            (
                DSM,
                "method.share=1.5",
                "method.share is 1.5, expected 0 to 1",
            ),
            (
                DSM,
                "method.slope=0",
                "method.slope is 0, expected above 0 to 1000",
            ),
        ] {
            let message = message(text, setting);
            assert!(message.contains(expected), "{message}");
        }
    }
}
