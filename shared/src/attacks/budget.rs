//! What an adversary may do: change an image by at most ε in a norm and stay in [0, 1].

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// The ball of radius ε around an image, cut to the pixel range [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How a change is measured.
    pub norm: Norm,
    /// Radius, in [0, 1] pixel units.
    pub epsilon: f32,
}

/// A norm of a change to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// The largest change of a pixel.
    Linf,
    /// The root of the sum of squares.
    L2,
}

impl Budget {
    /// The L∞ ball of radius ε.
    pub fn linf(epsilon: f32) -> Self {
        Self {
            norm: Norm::Linf,
            epsilon,
        }
    }

    /// x + δ with δ uniform in the ball, projected.
    pub fn random_start(&self, key: Key, x: Tensor<4>) -> Tensor<4> {
        let delta = match self.norm {
            Norm::Linf => (key.uniform(x.dims(), &x.device()) * 2.0 - 1.0) * self.epsilon,
            Norm::L2 => {
                // A direction, and a length with the density of the ball's shells.
                let [direction_key, length_key] = key.split();
                let [batch, channels, height, width] = x.dims();
                let direction = direction_key.normal(x.dims(), &x.device());
                let length = length_key.uniform([batch, 1, 1, 1], &x.device());
                let dimensions = (channels * height * width) as f32;
                let length = length.powf_scalar(1.0 / dimensions) * self.epsilon;
                direction.clone() / l2(direction) * length
            }
        };
        self.project(x.clone() + delta, &x)
    }

    /// The direction of steepest ascent under the norm, of length one: the gradient's sign, or the
    /// gradient divided by its length.
    pub fn steepest(&self, gradient: Tensor<4>) -> Tensor<4> {
        match self.norm {
            Norm::Linf => gradient.sign(),
            Norm::L2 => gradient.clone() / l2(gradient),
        }
    }

    /// The image within ε of `x`, the nearest to `x_adv`, cut to [0, 1].
    pub fn project(&self, x_adv: Tensor<4>, x: &Tensor<4>) -> Tensor<4> {
        let delta = x_adv - x.clone();
        let delta = match self.norm {
            Norm::Linf => delta.clamp(-self.epsilon, self.epsilon),
            Norm::L2 => {
                let factor = (l2(delta.clone()) / self.epsilon.max(1e-12)).clamp_min(1.0);
                delta / factor
            }
        };
        (x.clone() + delta).clamp(0.0, 1.0)
    }

    /// How much of the budget each image spends, 1 being all. `[batch]`
    pub fn spent(&self, x_adv: Tensor<4>, x: Tensor<4>) -> Tensor<1> {
        let delta = x_adv - x;
        let length: Tensor<2> = match self.norm {
            Norm::Linf => delta.abs().flatten::<2>(1, 3).max_dim(1),
            Norm::L2 => l2(delta).flatten::<2>(1, 3),
        };
        length.squeeze_dim::<1>(1) / self.epsilon.max(1e-12)
    }
}

/// The length of each image, at least 1e-12. `[batch, 1, 1, 1]`
fn l2(x: Tensor<4>) -> Tensor<4> {
    let [batch, ..] = x.dims();
    let squares = x.powf_scalar(2.0).flatten::<2>(1, 3).sum_dim(1);
    squares.sqrt().clamp_min(1e-12).reshape([batch, 1, 1, 1])
}
