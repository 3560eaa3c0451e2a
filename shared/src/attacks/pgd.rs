//! Projected gradient descent (Madry et al. 2018; JEAT eq. 3).

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Budget;
use crate::{
    key::Key,
    tensors::{classifier::Classifier, energy::Energy},
};

/// Settings of [`pgd`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pgd {
    /// Iterations.
    pub steps: usize,
    /// Step size, in [0, 1] pixel units.
    pub step_size: f32,
}

/// x_adv ← Π(x_adv + step_size · sign ∇(−log p(y | x_adv))), from a random start in the ball. In L2
/// the gradient is divided by its length.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, `y`: `[batch]`; returns the shape of `x`
pub fn pgd(
    model: &impl Classifier,
    x: Tensor<4>,
    y: Tensor<1, Int>,
    budget: Budget,
    settings: Pgd,
    key: Key,
) -> Tensor<4> {
    let start = budget.random_start(key, x.clone());
    ascend(model, start, &x, &Energy::Conditional(y), budget, settings)
}

/// The same ascent of any energy, from a given start.
pub fn ascend(
    model: &impl Classifier,
    start: Tensor<4>,
    x: &Tensor<4>,
    energy: &Energy,
    budget: Budget,
    settings: Pgd,
) -> Tensor<4> {
    let mut x_adv = start;
    for _ in 0..settings.steps {
        let (_, ascent) = model.logits_and_gradient(x_adv.clone(), energy);
        x_adv = budget.project(x_adv + budget.steepest(ascent) * settings.step_size, x);
    }
    x_adv
}
