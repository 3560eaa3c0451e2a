//! AutoAttack (Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
//! parameter-free attacks"): four attacks, each on the images that withstood those before it, and signs that a figure
//! is not to be trusted.

use std::fmt;

use super::{AttackName, NamedAttack, Norm};
use crate::{classifier::Classifier, energy::Conditional};

/// The version `standard`: APGD on the cross-entropy, APGD-T and FAB-T on nine classes each, and Square.
pub fn standard() -> [NamedAttack; 4] {
    use AttackName::{ApgdCe, ApgdT, FabT, Square};
    [ApgdCe, ApgdT, FabT, Square].map(AttackName::once)
}

/// The version `plus`: APGD on the cross-entropy and on the ratio, and FAB, with five restarts each; Square; APGD-T
/// and FAB-T.
pub fn plus() -> [NamedAttack; 6] {
    use AttackName::{ApgdCe, ApgdDlr, ApgdT, Fab, FabT, Square};
    [ApgdCe, ApgdDlr, Fab, Square, ApgdT, FabT].map(|name| NamedAttack {
        restarts: match name {
            ApgdCe | ApgdDlr | Fab => 5,
            _ => 1,
        },
        ..name.once()
    })
}

/// A sign that robust accuracy may be lower than what attacks leave.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// An image has other logits the second time.
    Random,
    /// The outputs are probabilities.
    Probabilities,
    /// How many of how many images the cross-entropy has no slope at.
    NoSlope(usize, usize),
    /// Fewer other classes than an attack is aimed at.
    Targets(AttackName, usize),
    /// Square took more than [`LARGEST_GAIN`] off what attacks by gradients left.
    Square(f64),
}

/// What Square may take off accuracy after attacks by gradients, which are stronger where gradients are of use.
pub const LARGEST_GAIN: f64 = 0.002;

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str(
                "the model gives the same image other logits each time; attacks that take them at their word \
                 underestimate an adversary who averages",
            ),
            Self::Probabilities => f.write_str(
                "the model's outputs look like probabilities; attacks want logits, whose slopes do not vanish",
            ),
            Self::NoSlope(none, images) => write!(
                f,
                "the cross-entropy has no slope at {none} of {images} images; attacks by gradients find nothing there"
            ),
            Self::Targets(name, others) => write!(
                f,
                "the model has {others} other classes; {} is aimed at these alone",
                name.text()
            ),
            Self::Square(gain) => write!(
                f,
                "Square, which knows no gradient, took {:.1} points off the accuracy that attacks by gradients left; \
                 these may be misled, and the figure too high",
                100.0 * gain
            ),
        }
    }
}

/// What a first batch tells before attacks begin.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, `classes`: `[batch]`
pub fn warnings(
    model: &impl Classifier,
    attacks: &[NamedAttack],
    x: &[f32],
    classes: &[usize],
) -> Vec<Warning> {
    let batch = classes.len();
    let objective = Conditional {
        classes: classes.to_vec(),
    };
    let found = model.evaluate(x, batch, &objective);
    let again = model.logits(x, batch);
    let count = again.len() / batch.max(1);
    let rows = |logits: &[f32]| -> Vec<Vec<f32>> {
        // To length one, as the size of logits says nothing of their noise.
        let one = |row: &[f32]| {
            let length = Norm::L2.of(row) + 1e-10;
            row.iter().map(|f| f / length).collect()
        };
        logits.chunks_exact(count).map(one).collect()
    };
    let mut warnings = Vec::new();
    let pairs = rows(&found.logits).into_iter().zip(rows(&again));
    // What adds up in another order the second time differs by less.
    if pairs
        .into_iter()
        .any(|(a, b)| Norm::L2.between(&a, &b) > 1e-4)
    {
        warnings.push(Warning::Random);
    }
    let is_share = |row: &[f32]| {
        let sum: f32 = row.iter().sum();
        row.iter().all(|f| (-1e-5..1.0 + 1e-5).contains(f)) && (sum - 1.0).abs() < 1e-5
    };
    if found.logits.chunks_exact(count).all(is_share) {
        warnings.push(Warning::Probabilities);
    }
    let image = found.gradient.len() / batch.max(1);
    let flat = |gradient: &&[f32]| gradient.iter().all(|g| *g == 0.0);
    let none = found.gradient.chunks_exact(image).filter(flat).count();
    if none > 0 {
        warnings.push(Warning::NoSlope(none, batch));
    }
    for attack in attacks {
        let aimed = matches!(attack.name, AttackName::ApgdT | AttackName::FabT);
        if aimed && attack.targets + 1 > count {
            warnings.push(Warning::Targets(attack.name, count - 1));
        }
    }
    warnings
}

/// Whether Square has taken so much off the accuracy that attacks by gradients left that these seem misled.
pub fn judge_square(before: f64, after: f64) -> Option<Warning> {
    let gain = before - after;
    (gain > LARGEST_GAIN).then_some(Warning::Square(gain))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{classifier::Evaluation, energy::Objective};

    /// Three classes of one pixel, all of whose answers are given; what is `Random` adds its count of answers.
    struct Made {
        logits: [f32; 3],
        gradient: f32,
        random: bool,
        asked: Cell<u8>,
    }

    impl Classifier for Made {
        fn logits(&self, _: &[f32], batch: usize) -> Vec<f32> {
            self.asked.set(self.asked.get() + 1);
            let mut logits = self.logits;
            logits[0] += f32::from(self.asked.get()) * f32::from(u8::from(self.random));
            logits.repeat(batch)
        }

        fn evaluate(&self, x: &[f32], batch: usize, _: &dyn Objective) -> Evaluation {
            Evaluation {
                logits: self.logits(x, batch),
                gradient: vec![self.gradient; batch],
            }
        }
    }

    #[test]
    fn each_sign_is_seen_and_no_other() {
        let sound = || Made {
            logits: [3.0, -1.0, 0.5],
            gradient: 1.0,
            random: false,
            asked: Cell::default(),
        };
        let attacks = [AttackName::ApgdCe.once()];
        let found = |model: Made| warnings(&model, &attacks, &[0.5; 2], &[0, 0]);
        assert_eq!(found(sound()), []);
        let random = Made {
            random: true,
            ..sound()
        };
        assert_eq!(found(random), [Warning::Random]);
        let probabilities = Made {
            logits: [0.25, 0.25, 0.5],
            ..sound()
        };
        assert_eq!(found(probabilities), [Warning::Probabilities]);
        let flat = Made {
            gradient: 0.0,
            ..sound()
        };
        assert_eq!(found(flat), [Warning::NoSlope(2, 2)]);
        let aimed = [AttackName::FabT.once()];
        assert_eq!(
            warnings(&sound(), &aimed, &[0.5], &[0]),
            [Warning::Targets(AttackName::FabT, 2)]
        );
    }

    #[test]
    fn square_is_not_to_find_what_gradients_do_not() {
        assert_eq!(judge_square(0.5, 0.499), None);
        assert!(judge_square(0.5, 0.49).is_some());
    }
}
