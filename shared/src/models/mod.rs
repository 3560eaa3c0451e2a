//! Architectures: their plain numbers, and with Burn's tensors one architecture a file, in the order
//! module, init, forward.

pub mod config;
#[cfg(feature = "tensors")]
mod frozen;
#[cfg(feature = "tensors")]
mod layers;
#[cfg(feature = "tensors")]
pub mod wide_resnet;

pub use config::{Activation, ConfigError, Initialization, Normalization, WideResNetConfig};
#[cfg(feature = "tensors")]
pub use frozen::Frozen;
#[cfg(feature = "tensors")]
pub use layers::{Convolution, Linear};
#[cfg(feature = "tensors")]
pub use wide_resnet::WideResNet;
