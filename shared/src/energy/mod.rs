//! The energies of a classifier's logits (Grathwohl et al. 2020, "Your classifier is secretly an
//! energy based model"; Zhu et al. 2021 (JEAT), section 3).

use serde::{Deserialize, Serialize};

/// Which energy a recommended sampler descends; the class is the visitor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyKind {
    /// E(x, y)
    Joint,
    /// E(x)
    Marginal,
    /// E(x, y) − E(x)
    Conditional,
}

impl EnergyKind {
    /// The energy of an image. `logits`: `[classes]`; `class` is of no meaning for E(x).
    pub fn of_logits(self, logits: &[f32], class: usize) -> f32 {
        let marginal = || {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = logits.iter().map(|f| (f - largest).exp()).sum();
            -(largest + sum.ln())
        };
        match self {
            Self::Joint => -logits[class],
            Self::Marginal => marginal(),
            Self::Conditional => -logits[class] - marginal(),
        }
    }
}
