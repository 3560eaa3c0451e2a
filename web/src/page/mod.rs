//! What is on screen around and within the activities.

pub mod app;
pub mod contours;
pub mod curve;
pub mod energies;
pub mod engine_panel;
pub mod explanation;
pub mod later;
pub mod model_card;
pub mod one_step;
pub mod stage;
pub mod theme;
