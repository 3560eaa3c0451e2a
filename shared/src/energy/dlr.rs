//! The difference of logits ratio (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble
//! of diverse parameter-free attacks"): a margin that neither a shift nor a scale of the logits changes, so that its
//! slope does not vanish where a network is very sure. With the logits in falling order, z₁ ≥ z₂ ≥ …:
//!
//! - untargeted: −(f\[y\] − max_{i≠y} f\[i\]) / (z₁ − z₃)
//! - targeted: −(f\[y\] − f\[t\]) / (z₁ − (z₃ + z₄) / 2)
//!
//! Both are above zero where another class, or t itself, has a larger logit than y.

use super::Objective;

/// What no denominator is below.
const LEAST: f32 = 1e-12;

/// The ratio against the likeliest other class. It takes three classes.
#[derive(Clone, Debug)]
pub struct Dlr {
    /// y of each image.
    pub classes: Vec<usize>,
}

/// The ratio against one class. It takes four classes.
#[derive(Clone, Debug)]
pub struct TargetedDlr {
    /// y of each image.
    pub classes: Vec<usize>,
    /// t of each image, another class.
    pub targets: Vec<usize>,
}

/// The classes from the largest logit to the smallest; of equal ones the first comes first. `logits`: `[classes]`
pub fn ranked(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
}

/// Σ of weighted logits.
type Sum<const N: usize> = [(usize, f32); N];

fn value<const N: usize>(sum: &Sum<N>, logits: &[f32]) -> f32 {
    sum.iter()
        .map(|&(class, weight)| weight * logits[class])
        .sum()
}

/// −margin / (spread + 1e-12), and its slope where one is wanted.
fn ratio<const N: usize>(
    margin: Sum<2>,
    spread: Sum<N>,
    logits: &[f32],
    slope: Option<&mut [f32]>,
) -> f32 {
    let denominator = value(&spread, logits) + LEAST;
    let ratio = -value(&margin, logits) / denominator;
    if let Some(slope) = slope {
        slope.fill(0.0);
        for (class, weight) in margin {
            slope[class] -= weight / denominator;
        }
        for (class, weight) in spread {
            slope[class] -= ratio * weight / denominator;
        }
    }
    ratio
}

impl Dlr {
    fn of(&self, image: usize, logits: &[f32], slope: Option<&mut [f32]>) -> f32 {
        let (class, order) = (self.classes[image], ranked(logits));
        let other = if order[0] == class {
            order[1]
        } else {
            order[0]
        };
        let margin = [(class, 1.0), (other, -1.0)];
        ratio(margin, [(order[0], 1.0), (order[2], -1.0)], logits, slope)
    }
}

impl TargetedDlr {
    fn of(&self, image: usize, logits: &[f32], slope: Option<&mut [f32]>) -> f32 {
        let order = ranked(logits);
        let margin = [(self.classes[image], 1.0), (self.targets[image], -1.0)];
        let spread = [(order[0], 1.0), (order[2], -0.5), (order[3], -0.5)];
        ratio(margin, spread, logits, slope)
    }
}

impl Objective for Dlr {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        self.of(image, logits, None)
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        self.of(image, logits, Some(slope));
    }
}

impl Objective for TargetedDlr {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        self.of(image, logits, None)
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        self.of(image, logits, Some(slope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: z = 3, 2, 1, 0.
    #[test]
    fn values_are_those_of_the_formulas() {
        let logits = [1.0, 3.0, 0.0, 2.0];
        let dlr = |class| {
            Dlr {
                classes: vec![class],
            }
            .value(0, &logits)
        };
        assert_eq!([1, 3, 2].map(dlr), [-0.5, 0.5, 1.5]);
        let targeted = |class, target| {
            let (classes, targets) = (vec![class], vec![target]);
            TargetedDlr { classes, targets }.value(0, &logits)
        };
        assert_eq!([targeted(1, 0), targeted(0, 3)], [-2.0 / 2.5, 1.0 / 2.5]);
    }

    #[test]
    fn shifts_and_scales_change_nothing() {
        let logits = [1.0f32, 3.0, 0.5, 2.0];
        let moved = logits.map(|f| 8.0 * f + 4.0);
        let (classes, targets) = (vec![1], vec![0]);
        let dlr = Dlr { classes: vec![1] };
        let targeted = TargetedDlr { classes, targets };
        for objective in [&dlr as &dyn Objective, &targeted] {
            assert_eq!(objective.value(0, &logits), objective.value(0, &moved));
        }
    }
}
