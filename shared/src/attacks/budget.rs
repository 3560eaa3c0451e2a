//! What an adversary may do: move each pixel by at most ε and stay in [0, 1].

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// The L∞ ball of radius ε, cut to the pixel range [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Radius, in [0, 1] pixel units.
    pub epsilon: f32,
}

impl Budget {
    /// x + δ with δ ~ U(−ε, ε), projected.
    pub fn random_start(&self, key: Key, x: Tensor<4>) -> Tensor<4> {
        let delta = (key.uniform(x.dims(), &x.device()) * 2.0 - 1.0) * self.epsilon;
        self.project(x.clone() + delta, &x)
    }

    /// The direction of steepest ascent under the norm: the gradient's sign.
    pub fn steepest(&self, gradient: Tensor<4>) -> Tensor<4> {
        gradient.sign()
    }

    /// The nearest image within ε of `x` and within [0, 1].
    pub fn project(&self, x_adv: Tensor<4>, x: &Tensor<4>) -> Tensor<4> {
        let delta = (x_adv - x.clone()).clamp(-self.epsilon, self.epsilon);
        (x.clone() + delta).clamp(0.0, 1.0)
    }
}
