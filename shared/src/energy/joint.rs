//! E(x, y) = −f(x)\[y\], which draws class y (JEAT eq. 10 and 17).

use super::{EnergyKind, Objective};

/// Joint energy. Its slope is −e_y.
#[derive(Clone, Debug)]
pub struct Joint {
    /// y of each image.
    pub classes: Vec<usize>,
}

pub(super) fn energy(logits: &[f32], class: usize) -> f32 {
    -logits[class]
}

impl Objective for Joint {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        energy(logits, self.classes[image])
    }

    fn slope(&self, image: usize, _: &[f32], slope: &mut [f32]) {
        slope.fill(0.0);
        slope[self.classes[image]] = -1.0;
    }

    fn in_kernel(&self) -> Option<(EnergyKind, &[usize])> {
        Some((EnergyKind::Joint, &self.classes))
    }
}
