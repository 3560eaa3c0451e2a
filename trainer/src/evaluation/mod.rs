//! What a model is measured by: accuracy with and without attacks, what it draws and what it cleans.

pub(crate) mod accuracy;
pub(crate) mod attacked;
pub(crate) mod blur;
pub(crate) mod denoiser;
pub(crate) mod denoising;
pub(crate) mod distances;
pub(crate) mod energies;
pub(crate) mod frechet;
pub(crate) mod generator;
pub(crate) mod judge;
pub(crate) mod robustness;
