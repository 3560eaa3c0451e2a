//! Architectures: one a file, in the order config, module, init, forward.

mod frozen;
mod layers;
pub mod wide_resnet;

pub use frozen::Frozen;
pub use layers::{Activation, Convolution, Linear, Normalization};
pub use wide_resnet::{Initialization, WideResNet, WideResNetConfig};
