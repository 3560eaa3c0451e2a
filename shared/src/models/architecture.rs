//! Which network, with all its numbers.

use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Normalization, PreActResNet18Config, ResNet18Config, SequentialConfig,
    WideResNetConfig, config::check_multiple, outline::Outline,
};

/// The architectures.
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
    /// One layer after another, as PyTorch's `nn.Sequential` has them: convolutions of any kernel, activations,
    /// pooling, linear layers.
    Sequential(SequentialConfig),
}

/// Why Basin's own engines do not run a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Basin's own engines run residual networks (Wide-ResNet, PreActResNet-18, ResNet-18), and this is a {0}; \
     `basin` evaluates and attacks it on tensors"
)]
pub struct NoEngine(String);

impl Architecture {
    /// Shape of one image: channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        let (channels, size) = match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => (config.channels, config.size),
            Self::PreActResnet18(config) => (config.channels, config.size),
            Self::Resnet18(config) => (config.channels, config.size),
            Self::Sequential(config) => (config.channels, config.size),
        };
        [channels, size, size]
    }

    /// The normalisation of the input, part of the model.
    pub fn normalization(&self) -> &Normalization {
        match self {
            Self::WideResnet(config)
            | Self::StandardWideResnet(config)
            | Self::DmWideResnet(config) => &config.normalization,
            Self::PreActResnet18(config) => &config.normalization,
            Self::Resnet18(config) => &config.normalization,
            Self::Sequential(config) => &config.normalization,
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
            Self::Sequential(config) => config.classes,
        }
    }

    /// Whether examples of a batch interact in training.
    pub fn has_batch_norm(&self) -> bool {
        !matches!(self, Self::WideResnet(_) | Self::Sequential(_))
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
            Self::Sequential(config) => config.title(),
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
            Self::Sequential(config) => config.check(),
        }
    }

    /// Name and shape of every tensor, running statistics included, without building the network.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self.residual() {
            Ok(outline) => outline.tensor_shapes(),
            Err(sequential) => sequential.parameter_shapes(),
        }
    }

    /// How many numbers are learned.
    pub fn parameter_count(&self) -> usize {
        let shapes = self.parameter_shapes().into_iter();
        shapes
            .filter(|(name, _)| !is_statistic(name))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Whether Basin's own engines run the network.
    ///
    /// # Errors
    /// If they do not.
    pub fn check_engine(&self) -> Result<(), NoEngine> {
        self.outline().map(drop)
    }

    /// What an engine is told of the network.
    pub(crate) fn outline(&self) -> Result<Outline, NoEngine> {
        self.residual().map_err(|_| NoEngine(self.title()))
    }

    fn residual(&self) -> Result<Outline, &SequentialConfig> {
        Ok(match self {
            Self::WideResnet(config) => Outline::wide_resnet(config),
            Self::StandardWideResnet(config) => Outline::standard_wide_resnet(config),
            Self::DmWideResnet(config) => Outline::dm_wide_resnet(config),
            Self::PreActResnet18(config) => Outline::pre_act_resnet_18(config),
            Self::Resnet18(config) => Outline::resnet_18(config),
            Self::Sequential(config) => return Err(config),
        })
    }
}

/// Whether a tensor of this name is a running statistic of BatchNorm, which nobody learns.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}
