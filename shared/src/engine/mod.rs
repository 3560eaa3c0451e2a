//! Basin's own engines: a network as a [`plan`], and who runs it.

#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "the convolution of tensors uses all of it")
)]
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod plan;
#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "the convolution of tensors uses all of it")
)]
pub(crate) mod simd;
