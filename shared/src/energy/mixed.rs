//! (1 − s) E(x, y) + s E(x, y'), which draws something between two classes: the energy of a product of experts
//! p(x | y)^(1 − s) p(x | y')^s (Hinton 2002; Du et al. 2020 compose energies likewise).

use serde::{Deserialize, Serialize};

use super::Objective;

/// Another class that every image of a chain is drawn to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// y'
    pub class: usize,
    /// s, in [0, 1].
    pub share: f32,
}

impl Mixture {
    /// The energy of one image. `logits`: `[classes]`
    pub fn of_logits(self, logits: &[f32], class: usize) -> f32 {
        -((1.0 - self.share) * logits[class] + self.share * logits[self.class])
    }
}

/// Mixed joint energy. Its slope is −(1 − s) e_y − s e_y'.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// y of each image.
    pub classes: Vec<usize>,
    /// y' and s.
    pub mixture: Mixture,
}

impl Objective for Mixed {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        self.mixture.of_logits(logits, self.classes[image])
    }

    fn slope(&self, image: usize, _: &[f32], slope: &mut [f32]) {
        let Mixture { class, share } = self.mixture;
        slope.fill(0.0);
        slope[self.classes[image]] -= 1.0 - share;
        slope[class] -= share;
    }
}
