//! The fast gradient sign method (Goodfellow et al. 2015; JEAT eq. 2 and 14).

use burn::tensor::{Int, Tensor};

use super::Budget;
use crate::tensors::{classifier::Classifier, energy::Energy};

/// x_adv = x + ε · sign ∇_x (−log p(y | x)), in [0, 1].
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, `y`: `[batch]`; returns the shape of `x`
pub fn fgsm(model: &impl Classifier, x: Tensor<4>, y: Tensor<1, Int>, budget: Budget) -> Tensor<4> {
    let (_, ascent) = model.logits_and_gradient(x.clone(), &Energy::Conditional(y));
    budget.project(x.clone() + budget.steepest(ascent) * budget.epsilon, &x)
}
