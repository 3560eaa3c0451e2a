//! Samplers: `init` and `step` over an explicit state and an explicit key; one sampler, one file.

pub mod sgld;
pub mod start;

pub use sgld::{Chain, GradientScaling, Sgld, StepInfo};
pub use start::{ClassGaussian, Start};
