//! A network of any of the architectures.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

#[cfg(feature = "flex")]
use super::Linear;
use super::{
    DmWideResNet, Frozen, Initialization, Mode, PreActResNet18, ResNet18, StandardWideResNet,
    WideResNet,
};
use crate::{classifier::Classifier, key::Key, model_card::Architecture};
#[cfg(feature = "flex")]
use crate::{cpu::Compiled, tensors};

/// What is trained, kept in checkpoints and exported. The names of its parameters are those of the
/// architecture within.
///
/// As a [`Classifier`] it is in evaluation mode, whatever is tracked; [`Network::forward`] says the
/// mode.
#[derive(Module, Debug)]
pub enum Network {
    /// See [`Architecture::WideResnet`].
    WideResnet(WideResNet),
    /// See [`Architecture::StandardWideResnet`].
    StandardWideResnet(StandardWideResNet),
    /// See [`Architecture::DmWideResnet`].
    DmWideResnet(DmWideResNet),
    /// See [`Architecture::PreActResnet18`].
    PreActResnet18(PreActResNet18),
    /// See [`Architecture::Resnet18`].
    Resnet18(ResNet18),
}

impl Architecture {
    /// Builds the network with random weights.
    pub fn init(&self, initialization: Initialization, key: Key, device: &Device) -> Network {
        debug_assert_eq!(self.check(), Ok(()));
        match self {
            Self::WideResnet(config) => {
                Network::WideResnet(config.init(initialization, key, device))
            }
            Self::StandardWideResnet(config) => Network::StandardWideResnet(
                StandardWideResNet::init(config, initialization, key, device),
            ),
            Self::DmWideResnet(config) => {
                Network::DmWideResnet(DmWideResNet::init(config, initialization, key, device))
            }
            Self::PreActResnet18(config) => {
                Network::PreActResnet18(PreActResNet18::init(config, initialization, key, device))
            }
            Self::Resnet18(config) => {
                Network::Resnet18(ResNet18::init(config, initialization, key, device))
            }
        }
    }
}

impl Network {
    /// Which network, with all its numbers.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::WideResnet(network) => Architecture::WideResnet(network.config().clone()),
            Self::StandardWideResnet(network) => {
                Architecture::StandardWideResnet(network.config().clone())
            }
            Self::DmWideResnet(network) => Architecture::DmWideResnet(network.config().clone()),
            Self::PreActResnet18(network) => Architecture::PreActResnet18(network.config().clone()),
            Self::Resnet18(network) => Architecture::Resnet18(network.config().clone()),
        }
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.architecture().classes()
    }

    /// The last layer.
    #[cfg(feature = "flex")]
    fn head(&self) -> &Linear {
        match self {
            Self::WideResnet(network) => network.head(),
            Self::StandardWideResnet(network) => network.head(),
            Self::DmWideResnet(network) => network.head(),
            Self::PreActResnet18(network) => network.head(),
            Self::Resnet18(network) => network.head(),
        }
    }

    /// The logits f(x), with the batch's statistics where the mode says so.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]` in [0, 1]
    /// - returns `[batch, classes]`
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::WideResnet(network) => network.logits(x),
            Self::StandardWideResnet(network) => network.forward(x, mode),
            Self::DmWideResnet(network) => network.forward(x, mode),
            Self::PreActResnet18(network) => network.forward(x, mode),
            Self::Resnet18(network) => network.forward(x, mode),
        }
    }

    /// This network with the weights and statistics that it has now, as attacks and samplers take
    /// it.
    pub fn frozen(&self) -> Frozen {
        let network = self.valid();
        #[cfg(feature = "flex")]
        if crate::convolution::runs_on_flex(&network.head().weight.val()) {
            let plan = self.architecture().plan(&tensors::collect(&network));
            return Frozen::Compiled(Box::new(Compiled::new(plan)));
        }
        Frozen::Tensors(Box::new(network))
    }
}

impl Classifier for Network {
    fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward(x, Mode::Evaluate)
    }
}
