//! The maths of Basin, for native code and WebAssembly alike: models, energies, samplers, attacks
//! and the model file. No backend is chosen here.
//!
//! # Conventions
//!
//! - Images are `[batch, channels, height, width]` in [0, 1]; a model normalises inside its own
//!   `logits`. So ε, Langevin steps and pictures on the page share one scale.
//! - Training or evaluation is said, never inferred: a forward pass takes a [`models::Mode`], and a
//!   [`Classifier`], which is all that attacks and samplers see, is in evaluation mode. They take a
//!   model as `Network::frozen()` gives it, off the autodiff device; only x is tracked there.
//! - Randomness is an argument, a [`key::Key`].
//! - Nothing here reads a tensor back to the host, as a browser must await that; what an observer
//!   may want stays a tensor, and the edge reads it.

#[cfg(feature = "tensors")]
pub mod activation;
#[cfg(feature = "tensors")]
pub mod attacks;
#[cfg(feature = "tensors")]
pub mod classifier;
#[cfg(feature = "tensors")]
pub mod convolution;
#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "the convolution of tensors uses all of it")
)]
pub mod cpu;
#[cfg(feature = "tensors")]
pub mod energy;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "tensors")]
pub mod gradient;
pub mod key;
pub mod model_card;
pub mod model_file;
pub mod models;
pub mod plan;
pub mod samplers;
#[cfg_attr(
    not(feature = "flex"),
    allow(dead_code, reason = "the convolution of tensors uses all of it")
)]
mod simd;
#[cfg(feature = "tensors")]
pub mod tensors;
pub mod weights;

#[cfg(feature = "tensors")]
pub use classifier::Classifier;
#[cfg(feature = "tensors")]
pub use energy::Energy;
pub use key::Key;
pub use model_card::ModelCard;
pub use model_file::{ModelFile, ModelFileError};
