//! Architectures: their plain numbers, and with Burn's tensors one architecture a file, in the order
//! module, init, forward.

pub mod config;
#[cfg(feature = "tensors")]
pub mod dm_wide_resnet;
#[cfg(feature = "tensors")]
mod frozen;
#[cfg(feature = "tensors")]
mod layers;
#[cfg(feature = "tensors")]
pub mod network;
pub(crate) mod outline;
#[cfg(feature = "tensors")]
pub mod pre_act_resnet_18;
#[cfg(feature = "tensors")]
pub mod resnet_18;
#[cfg(feature = "tensors")]
pub mod standard_wide_resnet;
#[cfg(feature = "tensors")]
pub mod wide_resnet;

pub use config::{
    Activation, ConfigError, Initialization, Normalization, PreActResNet18Config, ResNet18Config,
    WideResNetConfig,
};
#[cfg(feature = "tensors")]
pub use dm_wide_resnet::DmWideResNet;
#[cfg(feature = "tensors")]
pub use frozen::Frozen;
#[cfg(feature = "tensors")]
pub use layers::{BatchNorm, Convolution, Linear, Mode, Precision};
#[cfg(feature = "tensors")]
pub use network::Network;
#[cfg(feature = "tensors")]
pub use pre_act_resnet_18::PreActResNet18;
#[cfg(feature = "tensors")]
pub use resnet_18::ResNet18;
#[cfg(feature = "tensors")]
pub use standard_wide_resnet::StandardWideResNet;
#[cfg(feature = "tensors")]
pub use wide_resnet::WideResNet;
