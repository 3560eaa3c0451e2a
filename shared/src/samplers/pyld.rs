//! Proximal YOPO-SGLD, the sampler of JEM++ (Yang & Ji 2021, Algorithm 1).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::tensors::{classifier::Classifier, energy::Energy};

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
    /// Where chains that start at `x` end, `[batch, channels, height, width]`.
    pub fn run(&self, model: &impl Classifier, energy: &Energy, x: Tensor<4>) -> Tensor<4> {
        let mut x = x.inner();
        for _ in 0..self.outer_steps {
            let (_, gradient) = model.logits_and_gradient(x.clone(), energy);
            let limit = self.largest_gradient;
            let step = gradient.clamp(-limit, limit) * self.step_size;
            for _ in 0..self.inner_steps {
                x = (x - step.clone()).clamp(0.0, 1.0);
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// E(x) = Σ (x − 0.8)² by its one logit.
    struct Bowl;

    impl Classifier for Bowl {
        fn logits(&self, x: Tensor<4>) -> Tensor<2> {
            let distance = (x - 0.8).powf_scalar(2.0);
            distance.flatten::<2>(1, 3).sum_dim(1).neg()
        }
    }

    /// M = 2, N = 3 by hand: from 0 the gradient is −1.6, clamped to −1, so three steps of 0.1 lead to
    /// 0.3; there it is −1 again, which leads to 0.6. From 0.7 it is −0.2: 0.76, then −0.08: 0.784.
    #[test]
    fn the_gradient_is_renewed_at_outer_steps_only() {
        let pyld = Pyld {
            outer_steps: 2,
            inner_steps: 3,
            step_size: 0.1,
            largest_gradient: 1.0,
        };
        let x = Tensor::<4>::from_floats([[[[0.0, 0.7]]]], &Device::flex());
        let end = pyld.run(&Bowl, &Energy::Marginal, x).into_data();
        for (found, expected) in end.iter::<f32>().zip([0.6, 0.784]) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{found}, expected {expected}"
            );
        }
    }
}
