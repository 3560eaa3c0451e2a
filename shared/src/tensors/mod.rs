//! What training needs of Burn's tensors: networks whose weights have gradients, their layers, and the
//! losses. Everything that needs Burn is here, so that the page's engines are built without it.

pub mod activation;
#[cfg(feature = "cubecl")]
mod attack;
#[cfg(feature = "cubecl")]
mod chain;
pub mod convolution;
#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "cubecl")]
pub mod descent;
pub mod dm_wide_resnet;
mod draws;
pub mod energy;
mod frozen;
pub mod gradient;
pub mod head;
mod layers;
mod network;
mod normalization;
mod on_tensors;
#[cfg(all(test, feature = "flex"))]
mod oracle;
pub mod parameters;
pub mod pre_act_resnet_18;
pub mod resnet_18;
#[cfg(feature = "cubecl")]
mod sequence;
pub mod sequential;
pub mod standard_wide_resnet;
pub mod wide_resnet;

#[cfg(feature = "cubecl")]
pub use cube::is_cube;
pub use dm_wide_resnet::DmWideResNet;
pub use frozen::Frozen;
pub use layers::{BatchNorm, Convolution, Linear, Mode, Precision};
pub use network::Network;
pub use on_tensors::{OnTensors, Transfers, from_host, to_host, whole_from_host};
pub use pre_act_resnet_18::PreActResNet18;
pub use resnet_18::ResNet18;
pub use sequential::Sequential;
pub use standard_wide_resnet::StandardWideResNet;
pub use wide_resnet::WideResNet;
