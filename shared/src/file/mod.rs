//! The model file: its container, and the card that says what is in it. Only this room knows the card.

pub mod card;
pub mod container;

pub use card::{ModelCard, Origin, SCHEMA};
pub use container::{ModelFile, ModelFileError};
