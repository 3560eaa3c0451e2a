//! Architectures as plain numbers: which networks there are, what each is made of, and the names and
//! shapes of its weights. The networks of Burn's tensors are in `tensors`, the plan of an engine in
//! [`crate::engine::plan`].

mod architecture;
mod config;
pub(crate) mod outline;
mod sequential;
mod widen;

pub use architecture::{Architecture, NoEngine, is_statistic};
pub use config::{
    Activation, ConfigError, Initialization, Normalization, PreActResNet18Config, ResNet18Config,
    WideResNetConfig,
};
pub use outline::Extent;
pub use sequential::{Layer, LayerFault, SequentialConfig, Shape};
pub use widen::widen;
