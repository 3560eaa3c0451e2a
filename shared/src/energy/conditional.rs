//! E(x, y) − E(x) = −log p(y | x), what makes x of class y rather than another (JEAT eq. 16): the
//! cross-entropy of each image.

use super::{EnergyKind, Objective, marginal, softmax};

/// Conditional energy. Its slope is softmax(f) − e_y.
#[derive(Clone, Debug)]
pub struct Conditional {
    /// y of each image.
    pub classes: Vec<usize>,
}

pub(super) fn energy(logits: &[f32], class: usize) -> f32 {
    -logits[class] - marginal::energy(logits)
}

impl Objective for Conditional {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        energy(logits, self.classes[image])
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        softmax(logits, slope);
        slope[self.classes[image]] -= 1.0;
    }

    fn in_kernel(&self) -> Option<(EnergyKind, &[usize])> {
        Some((EnergyKind::Conditional, &self.classes))
    }
}
