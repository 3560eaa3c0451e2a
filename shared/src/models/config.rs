//! The plain numbers of an architecture: what a recipe and a model file say of it.

use serde::{Deserialize, Serialize};

/// Activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// LeakyReLU with slope 0.2 (JEM).
    LeakyRelu,
    /// SiLU, also called Swish.
    Silu,
}

/// The affine map that a model applies to its input: (x − mean) / std, a channel each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Subtracted, one number a channel.
    pub mean: Vec<f32>,
    /// Divided by, one number a channel.
    pub std: Vec<f32>,
}

/// The Wide-ResNet of JEM (Zagoruyko & Komodakis 2016, as in Grathwohl et al. 2020): no
/// normalisation layers, biases everywhere, the stride on a block's second convolution, and a 1x1
/// shortcut of the raw block input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideResNetConfig {
    /// 6n + 4: three groups of n blocks of two convolutions, the stem, and three shortcuts.
    pub depth: usize,
    /// The groups have 16, 32 and 64 times this many channels.
    pub width: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Number of logits.
    pub classes: usize,
    /// Between convolutions.
    pub activation: Activation,
    /// Of the input, part of the model.
    pub normalization: Normalization,
}

/// Scale of the initial weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initialization {
    /// Standard deviation of a convolution's weights, times √fan_in; √2 is He et al.'s.
    pub gain: f32,
    /// Further factor of the second convolution of each block: below 1, blocks start near the
    /// identity, which keeps deep networks without normalisation trainable.
    pub residual_scale: f32,
}

/// What is wrong with a [`WideResNetConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Depth is not 6n + 4.
    #[error("depth {0} is not 6n + 4; take 10, 16, 22 or 28")]
    Depth(usize),
    /// A number is outside what the models accept.
    #[error("{name} is {found}, expected {least} to {most}")]
    Range {
        /// Which.
        name: &'static str,
        /// What it is.
        found: usize,
        /// The least it may be.
        least: usize,
        /// The most it may be.
        most: usize,
    },
    /// The normalisation does not fit the channels.
    #[error("normalization has {mean} means and {std} deviations for {channels} channels")]
    Normalization {
        /// Means given.
        mean: usize,
        /// Deviations given.
        std: usize,
        /// Channels of the input.
        channels: usize,
    },
    /// A normalisation constant that would make every logit useless.
    #[error("normalization: {0} is not usable; means must be finite, deviations finite and > 0")]
    NormalizationValue(String),
}

impl WideResNetConfig {
    /// Checks all numbers, so that nothing after it meets an absurd one.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.depth < 10 || self.depth > 100 || !(self.depth - 4).is_multiple_of(6) {
            return Err(ConfigError::Depth(self.depth));
        }
        for (name, found, least, most) in [
            ("width", self.width, 1, 20),
            ("channels", self.channels, 1, 4),
            ("size", self.size, 8, 256),
            ("classes", self.classes, 2, 1000),
        ] {
            if found < least || found > most {
                return Err(ConfigError::Range {
                    name,
                    found,
                    least,
                    most,
                });
            }
        }
        let Normalization { mean, std } = &self.normalization;
        if mean.len() != self.channels || std.len() != self.channels {
            return Err(ConfigError::Normalization {
                mean: mean.len(),
                std: std.len(),
                channels: self.channels,
            });
        }
        let bad_mean = mean.iter().find(|m| !m.is_finite());
        let bad_std = std.iter().find(|s| !(s.is_finite() && **s > 0.0));
        match bad_mean.or(bad_std) {
            Some(value) => Err(ConfigError::NormalizationValue(value.to_string())),
            None => Ok(()),
        }
    }

    /// Name and shape of every parameter, without building the network.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        let mut convolution = |name: String, input: usize, output: usize, size: usize| {
            shapes.push((format!("{name}.weight"), vec![output, input, size, size]));
            shapes.push((format!("{name}.bias"), vec![output]));
        };
        convolution("conv1".into(), self.channels, 16, 3);
        let mut input = 16;
        for (group, output) in [16, 32, 64]
            .map(|channels| channels * self.width)
            .iter()
            .enumerate()
        {
            for block in 0..(self.depth - 4) / 6 {
                let name = format!("layer{}.{block}", group + 1);
                convolution(format!("{name}.conv1"), input, *output, 3);
                convolution(format!("{name}.conv2"), *output, *output, 3);
                // Only the first block changes width or size.
                if block == 0 && (group > 0 || input != *output) {
                    convolution(format!("{name}.shortcut"), input, *output, 1);
                }
                input = *output;
            }
        }
        shapes.push(("class_output.weight".into(), vec![self.classes, input]));
        shapes.push(("class_output.bias".into(), vec![self.classes]));
        shapes
    }
}
