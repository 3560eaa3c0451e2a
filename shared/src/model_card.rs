//! The model card: everything a model file says of its model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    models::{
        ConfigError, Normalization, PreActResNet18Config, ResNet18Config, WideResNetConfig,
        config::check_multiple, outline::Outline,
    },
    plan::Plan,
    samplers::{Annealing, Distances, Sampler, Start, Step},
    weights::Weights,
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

/// The architectures that a file may hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Architecture {
    /// The Wide-ResNet of JEM (Grathwohl et al. 2020): no normalisation layers, biases everywhere,
    /// the stride on a block's second convolution, and a 1x1 shortcut of the raw block input.
    WideResnet(WideResNetConfig),
    /// The Wide-ResNet of TRADES (Zhang et al. 2019) and RobustBench: BatchNorm, no biases, the
    /// stride on a block's first convolution, and a 1x1 shortcut of the activated block input.
    StandardWideResnet(WideResNetConfig),
    /// DeepMind's (Gowal et al. 2020; Wang et al. 2023): the same, but convolutions with stride two
    /// have their zeros behind the image alone.
    DmWideResnet(WideResNetConfig),
    /// PreActResNet-18 (He et al. 2016; Wong et al. 2020): BatchNorm, no biases, the stride on a
    /// block's first convolution, and a 1x1 shortcut of the raw block input.
    #[serde(rename = "pre_act_resnet_18")]
    PreActResnet18(PreActResNet18Config),
    /// ResNet-18 (He et al. 2016; TRADES, MAIL and WEAT's code): BatchNorm behind each convolution, no
    /// biases, ReLU after the residual sum.
    #[serde(rename = "resnet_18")]
    Resnet18(ResNet18Config),
}

impl Architecture {
    /// Shape of one image: channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        let (channels, size) = match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => (config.channels, config.size),
            Self::PreActResnet18(config) => (config.channels, config.size),
            Self::Resnet18(config) => (config.channels, config.size),
        };
        [channels, size, size]
    }

    /// Of the input, part of the model.
    pub fn normalization(&self) -> &Normalization {
        match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => &config.normalization,
            Self::PreActResnet18(config) => &config.normalization,
            Self::Resnet18(config) => &config.normalization,
        }
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => config.classes,
            Self::PreActResnet18(config) => config.classes,
            Self::Resnet18(config) => config.classes,
        }
    }

    /// Whether examples of a batch interact in training.
    pub fn has_batch_norm(&self) -> bool {
        !matches!(self, Self::WideResnet(_))
    }

    /// What a person calls the network, such as `Wide-ResNet 16-1`.
    pub fn title(&self) -> String {
        let wide = |config: &WideResNetConfig| format!("{}-{}", config.depth, config.width);
        match self {
            Self::WideResnet(config) => format!("Wide-ResNet {}", wide(config)),
            Self::StandardWideResnet(config) => {
                format!("Wide-ResNet {} with BatchNorm", wide(config))
            }
            Self::DmWideResnet(config) => format!("DeepMind's Wide-ResNet {}", wide(config)),
            Self::PreActResnet18(PreActResNet18Config { width: 64, .. }) => {
                "PreActResNet-18".into()
            }
            Self::PreActResnet18(config) => format!("PreActResNet-18 of width {}", config.width),
            Self::Resnet18(ResNet18Config { width: 64, .. }) => "ResNet-18".into(),
            Self::Resnet18(config) => format!("ResNet-18 of width {}", config.width),
        }
    }

    /// Checks all numbers, so that nothing after it meets an absurd one.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::WideResnet(config) | Self::StandardWideResnet(config) => config.check(),
            Self::DmWideResnet(config) => {
                config.check()?;
                // Of an odd size, zeros behind it alone would not be what TensorFlow pads.
                check_multiple("size", config.size, 4)
            }
            Self::PreActResnet18(config) => config.check(),
            Self::Resnet18(config) => config.check(),
        }
    }

    /// Name and shape of every tensor, running statistics included, without building the network.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.outline().tensor_shapes()
    }

    /// How many numbers are learned.
    pub fn parameter_count(&self) -> usize {
        let shapes = self.parameter_shapes().into_iter();
        shapes
            .filter(|(name, _)| !is_statistic(name))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// The network with these weights, for Basin's own engines.
    ///
    /// # Panics
    /// If a weight is missing or of another shape: whoever reads a file checks that before.
    pub fn plan(&self, weights: &Weights) -> Plan {
        Plan::new(&self.outline(), weights)
    }

    fn outline(&self) -> Outline {
        match self {
            Self::WideResnet(config) => Outline::wide_resnet(config),
            Self::StandardWideResnet(config) => Outline::standard_wide_resnet(config),
            Self::DmWideResnet(config) => Outline::dm_wide_resnet(config),
            Self::PreActResnet18(config) => Outline::pre_act_resnet_18(config),
            Self::Resnet18(config) => Outline::resnet_18(config),
        }
    }
}

/// Whether a tensor of this name is a running statistic of BatchNorm, which nobody learns.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
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

impl EnergyKind {
    /// The energy of an image. `logits`: `[classes]`; `class` is of no meaning for E(x).
    pub fn of_logits(self, logits: &[f32], class: usize) -> f32 {
        let marginal = || {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = logits.iter().map(|f| (f - largest).exp()).sum();
            -(largest + sum.ln())
        };
        match self {
            Self::Joint => -logits[class],
            Self::Marginal => marginal(),
            Self::Conditional => -logits[class] - marginal(),
        }
    }
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
    pub sampler: Sampler,
}

impl SamplerSettings {
    /// What is out of range, if anything, as `name is found, expected range`.
    pub fn fault(&self) -> Option<String> {
        let steps = (self.steps == 0 || self.steps > 10_000)
            .then(|| format!("steps is {}, expected 1 to 10000", self.steps));
        let of_sampler = || match &self.sampler {
            Sampler::Sgld(sgld) => sgld.fault(),
            Sampler::ByDistance(sampler) => sampler.fault(self.energy),
        };
        steps.or_else(of_sampler)
    }
    /// The step of a chain by these settings; none where it goes by distance and no table is given.
    pub fn walk(&self, distances: Option<&Distances>) -> Option<Step> {
        let sampler = match &self.sampler {
            Sampler::Sgld(sgld) => return Some(Step::Sgld(sgld.clone())),
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
