//! Σ_y p\[y\] (E(x, y) − E(x)), the cross-entropy against a distribution, which is KL(p ‖ p(y | x)) but for a
//! constant: what TRADES' attack ascends.

use super::{Objective, marginal, softmax};

/// Expected conditional energy. Its slope is softmax(f) − p.
#[derive(Clone, Debug)]
pub struct Expected {
    /// p of each image, `[batch, classes]`
    pub probabilities: Vec<f32>,
}

impl Expected {
    fn of(&self, image: usize, classes: usize) -> &[f32] {
        &self.probabilities[image * classes..][..classes]
    }
}

impl Objective for Expected {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        let marginal = marginal::energy(logits);
        let pairs = self.of(image, logits.len()).iter().zip(logits);
        pairs.map(|(p, f)| p * (-f - marginal)).sum()
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        softmax(logits, slope);
        for (slope, p) in slope.iter_mut().zip(self.of(image, logits.len())) {
            *slope -= p;
        }
    }
}
