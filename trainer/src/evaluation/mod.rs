//! What a model is measured by: accuracy with and without attacks, what it draws and what it cleans.

pub(crate) mod accuracy;
pub(crate) mod attack_energies;
pub(crate) mod attacked;
pub(crate) mod auto_attack;
pub(crate) mod blur;
pub(crate) mod calibration;
pub(crate) mod candidate;
pub(crate) mod curves;
pub(crate) mod denoiser;
pub(crate) mod denoising;
pub(crate) mod distances;
pub(crate) mod energies;
pub(crate) mod fisher_scores;
pub(crate) mod frechet;
pub(crate) mod generation;
pub(crate) mod generator;
pub(crate) mod inception;
pub(crate) mod judge;
pub(crate) mod logits;
pub(crate) mod measured;
pub(crate) mod neighbours;
pub(crate) mod outliers;
pub(crate) mod robustness;
pub(crate) mod suite;
pub(crate) mod training_energies;

#[cfg(test)]
#[path = "../../../tests/reference/chirp.rs"]
mod chirp;
