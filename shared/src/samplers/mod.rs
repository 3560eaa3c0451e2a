//! Samplers: `init` and `step` over an explicit state and an explicit key; one sampler, one file.

#[cfg(feature = "tensors")]
mod chain;
mod dynamics;
#[cfg(feature = "tensors")]
pub mod pyld;
pub mod sgld;
pub mod start;

#[cfg(feature = "tensors")]
pub use chain::{Chain, StepInfo};
pub use dynamics::{Dynamics, Frame, MOST_STEPS};
#[cfg(feature = "tensors")]
pub use pyld::Pyld;
pub use sgld::{GradientScaling, Sgld};
pub use start::{ClassGaussian, Start};
