//! Basin's own engines: a network as a [`plan`], and who runs it.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod plan;
pub(crate) mod simd;
