//! Attacks: functions of (model, x, y, budget, settings, key) that return x_adv; one attack, one file.
//!
//! The model is passed in evaluation mode and off the autodiff device.

pub mod budget;
pub mod energy_attack;
pub mod fgsm;
pub mod pgd;

pub use budget::{Budget, Norm};
pub use energy_attack::{GradientAt, energy_attack};
pub use fgsm::fgsm;
pub use pgd::{Pgd, ascend, pgd};
