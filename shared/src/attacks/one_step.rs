//! One step (Goodfellow et al. 2015; Wong et al. 2020; JEAT Algorithm 1).

use serde::{Deserialize, Serialize};

/// Settings of a single step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneStep {
    /// Its length under the norm, in [0, 1] pixel units.
    pub step_size: f32,
    /// Where its direction comes from.
    pub gradient_at: GradientAt,
}

/// Where the gradient of the single step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientAt {
    /// At the clean image, as JEAT's Algorithm 1 prints it.
    Clean,
    /// At the random start x + δ, as fast adversarial training does (Wong et al. 2020).
    Start,
}

impl GradientAt {
    /// The one of both.
    pub(super) fn of<'a>(self, x: &'a [f32], start: &'a [f32]) -> &'a [f32] {
        match self {
            Self::Clean => x,
            Self::Start => start,
        }
    }
}
