//! Projected gradient descent (Madry et al. 2018; JEAT eq. 3):
//! x_adv ← Π(x_adv + step_size · sign ∇(−log p(y | x_adv))); in L2 the gradient is divided by its length.

use serde::{Deserialize, Serialize};

/// Settings of the search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pgd {
    /// Iterations.
    pub steps: usize,
    /// Step size, in [0, 1] pixel units.
    pub step_size: f32,
}
