//! PGD with momentum (Dong et al. 2018, "Boosting adversarial attacks with momentum", Algorithm 1):
//! v ← μ v + ∇ / mean |∇|;  x_adv ← Π(x_adv + step_size · s(v)), with s the steepest direction under the norm. The paper
//! divides by the sum of |∇|, which scales v alone.

use serde::{Deserialize, Serialize};

use super::Pgd;

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mim {
    /// Its steps.
    pub pgd: Pgd,
    /// μ, how much of the velocity is kept.
    pub decay: f32,
}

impl Mim {
    /// v, from the v before, none at first, and the gradient.
    pub(super) fn velocity(&self, before: &[f32], gradient: &[f32], batch: usize) -> Vec<f32> {
        let image = gradient.len() / batch.max(1);
        let mut velocity = gradient.to_vec();
        for gradient in velocity.chunks_exact_mut(image.max(1)) {
            let mean = gradient.iter().map(|g| g.abs()).sum::<f32>() / image as f32;
            // Where there is no slope, the velocity alone goes on.
            gradient
                .iter_mut()
                .for_each(|g| *g /= mean.max(f32::MIN_POSITIVE));
        }
        for (velocity, before) in velocity.iter_mut().zip(before) {
            *velocity += self.decay * before;
        }
        velocity
    }
}
