//! The single-step energy attack (JEAT eq. 18 and Algorithm 1; eq. 7 and 31 of its supplement).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Budget;
use crate::{
    key::Key,
    tensors::{classifier::Classifier, energy::Energy},
};

/// Where the gradient of the single step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientAt {
    /// At the clean image, as Algorithm 1 prints it.
    Clean,
    /// At the random start x + δ, as fast adversarial training does (Wong et al. 2020).
    Start,
}

/// δ ~ U(−ε, ε);  δ ← clamp(δ + ε · sign ∇_x E, −ε, ε);  x_adv = x + δ, in [0, 1].
///
/// The paper ascends `energy` = E(x, y); with E(x, y) − E(x), the cross-entropy, it is the attack of
/// fast adversarial training with a step of ε. The paper does not say that x_adv is clipped to the
/// pixel range, we do.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`; returns the same
pub fn energy_attack(
    model: &impl Classifier,
    x: Tensor<4>,
    energy: &Energy,
    budget: Budget,
    gradient_at: GradientAt,
    key: Key,
) -> Tensor<4> {
    let start = budget.random_start(key, x.clone());
    let point = match gradient_at {
        GradientAt::Clean => x.clone(),
        GradientAt::Start => start.clone(),
    };
    let (_, ascent) = model.logits_and_gradient(point, energy);
    budget.project(start + budget.steepest(ascent) * budget.epsilon, &x)
}
