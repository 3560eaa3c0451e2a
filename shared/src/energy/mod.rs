//! The energies of a classifier's logits (Grathwohl et al. 2020, "Your classifier is secretly an
//! energy based model"; Zhu et al. 2021 (JEAT), section 3), and whatever else samplers descend and attacks
//! ascend: an [`Objective`], one a file.

mod conditional;
mod difference;
mod dlr;
mod each;
mod expected;
mod joint;
mod margin;
mod marginal;
mod mixed;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

pub use conditional::Conditional;
pub use difference::Difference;
pub use dlr::{Dlr, TargetedDlr, ranked};
pub use each::Each;
pub use expected::Expected;
pub use joint::Joint;
pub use margin::{Hinge, likeliest_other, margin};
pub use marginal::Marginal;
pub use mixed::{Mixed, Mixture};

/// A function of an image by way of its logits. As it is one of the logits, a network's backward pass needs
/// nothing of it but its slope, and a forward pass serves its value and all else that an observer wants to see.
pub trait Objective: Debug + Send + Sync {
    /// The value for image `image` of a batch. `logits`: `[classes]`
    ///
    /// # Panics
    /// If the objective does not know so many images, or a class that it names does not exist.
    fn value(&self, image: usize, logits: &[f32]) -> f32;

    /// ∂value / ∂logits of that image, put in the place of what is in `slope`. Both `[classes]`
    ///
    /// # Panics
    /// As [`Objective::value`].
    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]);

    /// The energy that this is and the classes of the batch, where a GPU's kernel knows its slope
    /// (`engine/gpu/head.wgsl`). Of any other objective, the slope is computed here between two halves of the
    /// kernels' work.
    fn in_kernel(&self) -> Option<(EnergyKind, &[usize])> {
        None
    }

    /// The values for a batch. `logits`: `[batch, classes]`; returns `[batch]`
    fn values(&self, logits: &[f32], batch: usize) -> Vec<f32> {
        let rows = logits.chunks_exact(logits.len() / batch.max(1));
        rows.enumerate()
            .map(|(image, row)| self.value(image, row))
            .collect()
    }
}

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
    /// The energy for these classes, one for each image; of no meaning for E(x).
    pub fn of(self, classes: Vec<usize>) -> Box<dyn Objective> {
        match self {
            Self::Joint => Box::new(Joint { classes }),
            Self::Marginal => Box::new(Marginal { classes }),
            Self::Conditional => Box::new(Conditional { classes }),
        }
    }

    /// The energy of one image. `logits`: `[classes]`; `class` is of no meaning for E(x).
    pub fn of_logits(self, logits: &[f32], class: usize) -> f32 {
        match self {
            Self::Joint => joint::energy(logits, class),
            Self::Marginal => marginal::energy(logits),
            Self::Conditional => conditional::energy(logits, class),
        }
    }
}

/// Puts p(y | x) = softmax(f) in the place of what is in `probabilities`. Both `[classes]`
pub fn softmax(logits: &[f32], probabilities: &mut [f32]) {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    for (probability, f) in probabilities.iter_mut().zip(logits) {
        *probability = (f - largest).exp();
    }
    let sum: f32 = probabilities.iter().sum();
    probabilities.iter_mut().for_each(|p| *p /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    const CLASSES: usize = 7;

    fn objectives() -> Vec<Box<dyn Objective>> {
        let mut probabilities = Key::new(3).uniforms(3 * CLASSES);
        for row in probabilities.chunks_exact_mut(CLASSES) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        let classes = vec![0, 6, 3];
        vec![
            EnergyKind::Joint.of(classes.clone()),
            EnergyKind::Marginal.of(classes.clone()),
            EnergyKind::Conditional.of(classes.clone()),
            Box::new(Expected { probabilities }),
            Box::new(Dlr {
                classes: classes.clone(),
            }),
            Box::new(TargetedDlr {
                classes: classes.clone(),
                targets: vec![5, 1, 2],
            }),
            Box::new(Difference {
                classes: classes.clone(),
                targets: vec![5, 1, 2],
            }),
            Box::new(Mixed {
                classes: classes.clone(),
                mixture: Mixture {
                    class: 6,
                    share: 0.3,
                },
            }),
            Box::new(Hinge {
                classes,
                confidence: 4.0,
            }),
        ]
    }

    /// By central differences.
    #[test]
    fn slopes_are_the_derivatives_of_values() {
        let logits: Vec<f32> = Key::new(1)
            .normals(CLASSES)
            .iter()
            .map(|f| 3.0 * f)
            .collect();
        for objective in objectives() {
            for image in 0..3 {
                let mut slope = vec![f32::NAN; CLASSES];
                objective.slope(image, &logits, &mut slope);
                for (k, slope) in slope.into_iter().enumerate() {
                    let at = |by: f32| {
                        let mut logits = logits.clone();
                        logits[k] += by;
                        objective.value(image, &logits)
                    };
                    let expected = (at(0.01) - at(-0.01)) / 0.02;
                    assert!(
                        (slope - expected).abs() < 1e-3,
                        "{objective:?}, image {image}, logit {k}: {slope}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn joint_minus_marginal_is_conditional() {
        let logits = Key::new(1).normals(CLASSES);
        for class in 0..CLASSES {
            let of = |kind: EnergyKind| kind.of_logits(&logits, class);
            let difference = of(EnergyKind::Joint) - of(EnergyKind::Marginal);
            assert!((difference - of(EnergyKind::Conditional)).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_overflows() {
        let logits = [1000.0, 999.0, -1000.0];
        let softplus = (1.0 + (-1f32).exp()).ln();
        let energy = EnergyKind::Marginal.of_logits(&logits, 0);
        assert!((energy - (-1000.0 - softplus)).abs() < 1e-3, "{energy}");
        let mut p = [0.0; 3];
        softmax(&logits, &mut p);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6 && p[2] == 0.0);
    }
}
