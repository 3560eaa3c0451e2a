//! The maths of Basin, for native code and WebAssembly alike: models, energies, samplers, attacks
//! and the model file. No backend is chosen here.
//!
//! # Conventions
//!
//! - Images are `[batch, channels, height, width]` in [0, 1]; a model normalises inside its own
//!   `logits`. So ε, Langevin steps and pictures on the page share one scale.
//! - Training or evaluation is said, never inferred: a forward pass takes a [`models::Mode`], and a
//!   [`Classifier`], which is all that attacks and samplers see, is in evaluation mode. They take a
//!   model as `Network::frozen()` gives it, or as an engine compiles it.
//! - Randomness is an argument, a [`key::Key`].

// The kernels of training and those that the GPU shares are compiled with the engine, and used where there is Burn
// or a GPU.
#![cfg_attr(not(all(feature = "flex", feature = "gpu")), allow(dead_code))]

pub mod arrays;
pub mod attacks;
pub mod class_names;
pub mod classifier;
pub mod energy;
pub mod engine;
pub mod file;
pub mod gallery;
pub mod key;
pub mod metrics;
pub mod models;
pub mod offline;
#[cfg(feature = "pictures")]
pub mod pictures;
pub mod preview;
pub mod ranges;
pub mod robust_accuracy;
pub mod samplers;
#[cfg(feature = "tensors")]
pub mod tensors;

pub use classifier::Classifier;
pub use file::{ModelCard, ModelFile, ModelFileError};
pub use key::Key;
