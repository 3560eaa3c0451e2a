//! The plain numbers of an architecture: what a recipe and a model file say of it.

use serde::{Deserialize, Serialize};

use super::{outline::Outline, sequential::LayerFault};

/// Activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// LeakyReLU with slope 0.2 (JEM).
    LeakyRelu,
    /// SiLU, also called Swish.
    Silu,
    /// ReLU.
    Relu,
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

impl Normalization {
    /// The same mean and deviation in each channel; 0.5 and 0.5 carry [0, 1] to [−1, 1].
    pub fn uniform(channels: usize, mean: f32, std: f32) -> Self {
        Self {
            mean: vec![mean; channels],
            std: vec![std; channels],
        }
    }
}

/// The numbers of a Wide-ResNet (Zagoruyko & Komodakis 2016), whichever of its layouts
/// [`crate::models::Architecture`] names.
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
    /// The normalisation of the input, part of the model.
    pub normalization: Normalization,
}

impl WideResNetConfig {
    /// A network for images of `channels` × `size` × `size`, with SiLU and numbers from −1 to 1 (mean and
    /// deviation 0.5).
    pub fn new([depth, width]: [usize; 2], [channels, size]: [usize; 2], classes: usize) -> Self {
        Self {
            depth,
            width,
            channels,
            size,
            classes,
            activation: Activation::Silu,
            normalization: Normalization::uniform(channels, 0.5, 0.5),
        }
    }
}

/// The numbers of a PreActResNet-18 (He et al. 2016, *Identity Mappings*): four groups of two blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreActResNet18Config {
    /// The groups have 1, 2, 4 and 8 times this many channels; 64 in the papers.
    pub width: usize,
    /// Whether BatchNorm and ReLU follow the last block (Rice et al. 2020) or nothing does
    /// (Fast AT, Wong et al. 2020).
    pub final_batch_norm: bool,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Number of logits.
    pub classes: usize,
    /// The normalisation of the input, part of the model.
    pub normalization: Normalization,
}

/// The numbers of a ResNet-18 (He et al. 2016, *Deep Residual Learning*): four groups of two blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet18Config {
    /// The groups have 1, 2, 4 and 8 times this many channels; 64 in the papers.
    pub width: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Number of logits.
    pub classes: usize,
    /// The normalisation of the input, part of the model.
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

/// What is wrong with the numbers of an architecture.
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
    /// A number is not a multiple of what the layout needs.
    #[error("{name} is {found}, expected a multiple of {of} for this architecture")]
    Multiple {
        /// Which.
        name: &'static str,
        /// What it is.
        found: usize,
        /// What it should be a multiple of.
        of: usize,
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
    /// A layer of a list does not fit what it is given, or what the network should make of an image.
    #[error("layer {place} ({name}) {fault}")]
    Layer {
        /// Its place in the list, from 0.
        place: usize,
        /// What it is.
        name: &'static str,
        /// Why.
        fault: LayerFault,
    },
    /// More weights than a model file can hold.
    #[error("the layers have {found} weights, expected at most {most}")]
    Weights {
        /// How many there are.
        found: u64,
        /// How many there may be.
        most: u64,
    },
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
        check_ranges(&[("width", self.width, 1, 20)])?;
        check_input(self.channels, self.size, self.classes, &self.normalization)
    }

    /// Name and shape of every tensor in JEM's layout, without building the network.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        Outline::wide_resnet(self).tensor_shapes()
    }

    /// Channels in and out, and the stride, of each block of the three groups.
    pub(crate) fn groups(&self) -> [Vec<([usize; 2], usize)>; 3] {
        let [c1, c2, c3] = [16, 32, 64].map(|channels| channels * self.width);
        let blocks = (self.depth - 4) / 6;
        [([16, c1], 1), ([c1, c2], 2), ([c2, c3], 2)].map(|first| group(first, blocks))
    }
}

impl PreActResNet18Config {
    /// Checks all numbers, so that nothing after it meets an absurd one.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_width_of_18(self.width)?;
        check_input(self.channels, self.size, self.classes, &self.normalization)
    }

    /// Channels in and out, and the stride, of each block of the four groups.
    pub(crate) fn groups(&self) -> [Vec<([usize; 2], usize)>; 4] {
        groups_of_18(self.width)
    }
}

impl ResNet18Config {
    /// Checks all numbers, so that nothing after it meets an absurd one.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_width_of_18(self.width)?;
        check_input(self.channels, self.size, self.classes, &self.normalization)
    }

    /// Channels in and out, and the stride, of each block of the four groups.
    pub(crate) fn groups(&self) -> [Vec<([usize; 2], usize)>; 4] {
        groups_of_18(self.width)
    }
}

/// Checks the width of either network of 18 layers.
fn check_width_of_18(width: usize) -> Result<(), ConfigError> {
    check_ranges(&[("width", width, 16, 128)])?;
    check_multiple("width", width, 16)
}

fn groups_of_18(width: usize) -> [Vec<([usize; 2], usize)>; 4] {
    let [c1, c2, c3, c4] = [1, 2, 4, 8].map(|factor| factor * width);
    [([c1, c1], 1), ([c1, c2], 2), ([c2, c3], 2), ([c3, c4], 2)].map(|first| group(first, 2))
}

/// A group of blocks, of which only the first changes channels and size.
fn group(first: ([usize; 2], usize), blocks: usize) -> Vec<([usize; 2], usize)> {
    let ([_, output], _) = first;
    let mut group = vec![([output; 2], 1); blocks];
    group[0] = first;
    group
}

/// Name, value, and the least and the most it may be.
pub(super) fn check_ranges(
    numbers: &[(&'static str, usize, usize, usize)],
) -> Result<(), ConfigError> {
    for &(name, found, least, most) in numbers {
        if found < least || found > most {
            return Err(ConfigError::Range {
                name,
                found,
                least,
                most,
            });
        }
    }
    Ok(())
}

pub(crate) fn check_multiple(
    name: &'static str,
    found: usize,
    of: usize,
) -> Result<(), ConfigError> {
    match found.is_multiple_of(of) {
        true => Ok(()),
        false => Err(ConfigError::Multiple { name, found, of }),
    }
}

/// What every architecture has: images, their normalisation, and classes.
pub(super) fn check_input(
    channels: usize,
    size: usize,
    classes: usize,
    Normalization { mean, std }: &Normalization,
) -> Result<(), ConfigError> {
    check_ranges(&[
        ("channels", channels, 1, 4),
        ("size", size, 8, 256),
        ("classes", classes, 2, 1000),
    ])?;
    if mean.len() != channels || std.len() != channels {
        return Err(ConfigError::Normalization {
            mean: mean.len(),
            std: std.len(),
            channels,
        });
    }
    let bad_mean = mean.iter().find(|m| !m.is_finite());
    let bad_std = std.iter().find(|s| !(s.is_finite() && **s > 0.0));
    match bad_mean.or(bad_std) {
        Some(value) => Err(ConfigError::NormalizationValue(value.to_string())),
        None => Ok(()),
    }
}
