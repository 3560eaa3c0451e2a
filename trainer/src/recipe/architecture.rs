//! What a recipe says of its network.

use basin_shared::models::{
    Activation, Architecture, Layer, Normalization, PreActResNet18Config, ResNet18Config,
    SequentialConfig, WideResNetConfig,
};
use serde::{Deserialize, Serialize};

/// The network, see [`Architecture`]; channels, size and classes are the data set's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum ArchitectureRecipe {
    WideResnet(WideResNetRecipe),
    StandardWideResnet(WideResNetRecipe),
    DmWideResnet(WideResNetRecipe),
    #[serde(rename = "pre_act_resnet_18")]
    PreActResnet18(PreActResNet18Recipe),
    #[serde(rename = "resnet_18")]
    Resnet18(ResNet18Recipe),
    Sequential(SequentialRecipe),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WideResNetRecipe {
    /// 6n + 4.
    pub depth: usize,
    pub width: usize,
    pub activation: Activation,
    pub normalization: Normalization,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreActResNet18Recipe {
    /// Channels of the first group; 64 in the papers.
    pub width: usize,
    /// Whether BatchNorm and ReLU follow the last block.
    pub final_batch_norm: bool,
    pub normalization: Normalization,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResNet18Recipe {
    /// Channels of the first group; 64 in the papers.
    pub width: usize,
    pub normalization: Normalization,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SequentialRecipe {
    /// In order, the first one of the images.
    pub layers: Vec<Layer>,
    pub normalization: Normalization,
}

impl ArchitectureRecipe {
    /// What the network subtracts of an image and divides it by.
    pub(crate) fn normalization_mut(&mut self) -> &mut Normalization {
        match self {
            Self::WideResnet(recipe)
            | Self::StandardWideResnet(recipe)
            | Self::DmWideResnet(recipe) => &mut recipe.normalization,
            Self::PreActResnet18(recipe) => &mut recipe.normalization,
            Self::Resnet18(recipe) => &mut recipe.normalization,
            Self::Sequential(recipe) => &mut recipe.normalization,
        }
    }
    /// The network with all its numbers, for images of these channels and this size.
    pub(super) fn of(&self, [channels, size]: [usize; 2], classes: usize) -> Architecture {
        let wide = |recipe: &WideResNetRecipe| {
            let WideResNetRecipe {
                depth,
                width,
                activation,
                normalization,
            } = recipe.clone();
            WideResNetConfig {
                depth,
                width,
                channels,
                size,
                classes,
                activation,
                normalization,
            }
        };
        match self {
            Self::WideResnet(recipe) => Architecture::WideResnet(wide(recipe)),
            Self::StandardWideResnet(recipe) => Architecture::StandardWideResnet(wide(recipe)),
            Self::DmWideResnet(recipe) => Architecture::DmWideResnet(wide(recipe)),
            Self::PreActResnet18(recipe) => Architecture::PreActResnet18(PreActResNet18Config {
                width: recipe.width,
                final_batch_norm: recipe.final_batch_norm,
                channels,
                size,
                classes,
                normalization: recipe.normalization.clone(),
            }),
            Self::Resnet18(recipe) => Architecture::Resnet18(ResNet18Config {
                width: recipe.width,
                channels,
                size,
                classes,
                normalization: recipe.normalization.clone(),
            }),
            Self::Sequential(recipe) => Architecture::Sequential(SequentialConfig {
                layers: recipe.layers.clone(),
                channels,
                size,
                classes,
                normalization: recipe.normalization.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::{Recipe, RecipeError};

    const STANDARD: &str = include_str!("../../recipes/standard-fashion-mnist.toml");

    fn with_architecture(architecture: &str) -> Result<Recipe, RecipeError> {
        let (before, rest) = STANDARD.split_once("[architecture]").unwrap();
        let (_, after) = rest.split_once("[initialization]").unwrap();
        let text = format!("{before}[architecture]\n{architecture}\n[initialization]{after}");
        Recipe::parse(&text, "test", &[])
    }

    #[test]
    fn every_architecture_has_its_fields_and_survives_toml() {
        let wide = "depth = 16\nwidth = 2\nactivation = \"relu\"";
        let pre_act = "width = 64\nfinal_batch_norm = true";
        let normalization = "normalization = { mean = [0.5], std = [0.5] }";
        let layers = "layers = [{ convolution = { channels = 4, kernel = 5, stride = 3, padding = 1 } }, \"silu\", \
            { leaky_relu = { slope = 0.01 } }, { max_pool = { kernel = 2, stride = 2 } }, \"flatten\", \
            { linear = { outputs = 10 } }]";
        for (name, fields, title) in [
            ("wide_resnet", wide, "Wide-ResNet 16-2"),
            (
                "standard_wide_resnet",
                wide,
                "Wide-ResNet 16-2 with BatchNorm",
            ),
            ("dm_wide_resnet", wide, "DeepMind's Wide-ResNet 16-2"),
            ("pre_act_resnet_18", pre_act, "PreActResNet-18"),
            ("resnet_18", "width = 64", "ResNet-18"),
            (
                "sequential",
                layers,
                "plain network of 1 convolution and 1 linear layer",
            ),
        ] {
            let recipe =
                with_architecture(&format!("name = \"{name}\"\n{fields}\n{normalization}"));
            let recipe = recipe.unwrap();
            assert_eq!(recipe.architecture().title(), title);
            assert_eq!(recipe.architecture().image(), [1, 28, 28]);
            assert_eq!(
                Recipe::parse(&recipe.to_toml(), "test", &[]).unwrap(),
                recipe
            );
            let message = with_architecture(&format!("name = \"{name}\"\n{normalization}"));
            let message = message.unwrap_err().to_string();
            assert!(message.contains("missing field"), "{message}");
        }
        for (architecture, expected) in [
            (format!("{wide}\n{normalization}"), "missing field `name`"),
            (
                format!("name = \"vgg\"\n{wide}\n{normalization}"),
                "unknown variant `vgg`",
            ),
            (
                format!("name = \"wide_resnet\"\ncolour = 3\n{wide}\n{normalization}"),
                "unknown field `colour`",
            ),
            (
                format!(
                    "name = \"sequential\"\n{normalization}\n{}",
                    layers.replace("silu", "gelu")
                ),
                "unknown variant `gelu`",
            ),
            (
                format!(
                    "name = \"sequential\"\n{normalization}\n{}",
                    layers.replace("\"flatten\", ", "")
                ),
                "layer 4 (linear) is given 4 channels of 4 × 4 pixels, expected numbers in a row",
            ),
            (
                format!(
                    "name = \"sequential\"\n{normalization}\n{}",
                    layers.replace("kernel = 5", "kernel = 40")
                ),
                "layers.convolution.kernel is 40, expected a whole number from 1 to 31",
            ),
        ] {
            let message = with_architecture(&architecture).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
