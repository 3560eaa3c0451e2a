//! E(x) = −log Σ_y exp f(x)\[y\], which draws any image (JEAT Algorithm 1).

use super::{EnergyKind, Objective, softmax};

/// Marginal energy. Its slope is −softmax(f).
#[derive(Clone, Debug)]
pub struct Marginal {
    /// A class of each image, of no meaning; what runs on a GPU wants to know how many there are.
    pub classes: Vec<usize>,
}

pub(super) fn energy(logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|f| (f - largest).exp()).sum();
    -(largest + sum.ln())
}

impl Objective for Marginal {
    fn value(&self, _: usize, logits: &[f32]) -> f32 {
        energy(logits)
    }

    fn slope(&self, _: usize, logits: &[f32], slope: &mut [f32]) {
        softmax(logits, slope);
        slope.iter_mut().for_each(|slope| *slope = -*slope);
    }

    fn in_kernel(&self) -> Option<(EnergyKind, &[usize])> {
        Some((EnergyKind::Marginal, &self.classes))
    }
}
