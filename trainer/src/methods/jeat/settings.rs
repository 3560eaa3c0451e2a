//! The settings of JEAT.

use basin_shared::{attacks::GradientAt, energy::EnergyKind, samplers::Sgld};
use serde::{Deserialize, Serialize};

use super::{restart::BufferSettings, slope::Slope};

/// Settings. The paper's algorithm has weights 1, 0 and 1, no penalty, x_adv as data, unconditional chains
/// and restarts from uniform noise alone; then E(x_adv) cancels and the loss is
/// E(x_adv, y) − E(x_sample).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jeat {
    /// Radius of the attack, in [0, 1] pixel units.
    pub epsilon: f32,
    /// The energy that the attack ascends: E(x, y) in the paper. Where energies have a slope away from
    /// the data that would be ascended rather than the margin; E(x, y) − E(x) is free of it.
    pub attack_energy: EnergyKind,
    /// Where the attack takes its gradient.
    pub gradient_at: GradientAt,
    /// Weight of E(x_adv, y) − E(x_adv), the gradient of −log p(y | x).
    pub weight_conditional: f32,
    /// Weight of E(x, y) − E(x), the same on the clean images.
    pub weight_conditional_clean: f32,
    /// Weight of E(x_data) − E(x_sample), the gradient of −log p(x).
    pub weight_marginal: f32,
    /// Weight of the penalty E(x_data)² + E(x_sample)².
    pub energy_penalty: f32,
    /// Has energies grow with the distance from the data.
    pub slope: Option<Slope>,
    /// What the marginal term calls data.
    pub data: DataTerm,
    /// Standard deviation of Gaussian noise on the clean images, which are then clamped to [0, 1]
    /// (JEM's 0.03 in [-1, 1] is 0.015).
    pub clean_noise_std: f32,
    /// Clean images are blended with uniform noise, x_t = (1 − t) x + t u, t from U(0, this) for each, so
    /// that its class can be told all along the way from noise to an image.
    pub clean_blend: f32,
    /// Chains of an iteration; at most the batch size.
    pub chains: usize,
    /// Steps of a chain in each iteration.
    pub steps: usize,
    /// Whether chains descend E(x, y) of their class rather than E(x).
    pub conditional_chains: bool,
    /// The step of a chain.
    pub sampler: Sgld,
    /// Where chains go on and where they restart.
    pub buffer: BufferSettings,
}

/// The images whose energy the marginal term lowers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataTerm {
    /// The adversarial examples, as in Algorithm 1.
    Adversarial,
    /// The clean images.
    Clean,
}
