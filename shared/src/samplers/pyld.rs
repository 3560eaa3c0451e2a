//! Proximal YOPO-SGLD, the sampler of JEM++ (Yang & Ji 2021, Algorithm 1).

use serde::{Deserialize, Serialize};

use crate::{classifier::Classifier, energy::Objective};

/// M outer steps of N inner ones.
///
/// The paper's outer step goes through the whole network for p = ∂E/∂(output of the first layer); its
/// inner steps only go through that layer, x ← clamp(x − α · clamp(∂⟨layer(x), p⟩/∂x, ±limit), 0, 1).
/// The first layer is a convolution and so linear in x: what the inner steps follow is ∇E(x) at the
/// outer step's x, all N times, and it need not be computed again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pyld {
    /// M
    pub outer_steps: usize,
    /// N
    pub inner_steps: usize,
    /// α, in [0, 1] pixel units: a quarter of the paper's, whose pixels are in [-1, 1].
    pub step_size: f32,
    /// Each component of the gradient is clamped to ± this: for the same reason, twice the paper's.
    pub largest_gradient: f32,
}

impl Pyld {
    /// Moves `batch` images `x`, `[batch, channels, height, width]`, to where their chains end.
    pub fn run(
        &self,
        model: &impl Classifier,
        objective: &dyn Objective,
        batch: usize,
        x: &mut [f32],
    ) {
        let limit = self.largest_gradient;
        for _ in 0..self.outer_steps {
            let gradient = model.evaluate(x, batch, objective).gradient;
            for _ in 0..self.inner_steps {
                for (x, g) in x.iter_mut().zip(&gradient) {
                    *x = (*x - self.step_size * g.clamp(-limit, limit)).clamp(0.0, 1.0);
                }
            }
        }
    }
}
