//! What stands under *robust accuracy*: the smallest share that any attack left, with its name.

use serde::Serialize;

/// Attacks in L-infinity by the figure that says what they leave, the figure that says of how many images, and in words.
const ATTACKS: [[&str; 3]; 4] = [
    ["auto_attack_accuracy", "auto_attack_images", "AutoAttack"],
    [
        "pgd_100_restarts_accuracy",
        "pgd_100_restarts_images",
        "PGD-100 from five starts",
    ],
    ["pgd_20_accuracy", "pgd_20_images", "PGD-20"],
    [
        "transfer_accuracy",
        "transfer_images",
        "examples made on other models",
    ],
];

/// What a model's robust accuracy is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RobustAccuracy {
    /// The smallest that any attack left.
    pub accuracy: f64,
    /// That attack.
    pub attack: &'static str,
    /// Of how many test images, where that is known.
    pub images: Option<f64>,
    /// Its radius in L-infinity, where that is known.
    pub epsilon: Option<f64>,
}

impl RobustAccuracy {
    /// Among figures by their names, those of a card or of an evaluation; none where nothing was attacked.
    pub fn of(figure: impl Fn(&str) -> Option<f64>) -> Option<Self> {
        let left = ATTACKS.iter().filter_map(|[accuracy, images, attack]| {
            Some(Self {
                accuracy: figure(accuracy)?,
                attack,
                images: figure(images),
                epsilon: figure("attack_epsilon"),
            })
        });
        left.min_by(|a, b| a.accuracy.total_cmp(&b.accuracy))
    }

    /// The attack with its radius, in steps of 255 where it is a whole number of them.
    pub fn attack_in_words(&self) -> String {
        let attack = self.attack;
        let Some(epsilon) = self.epsilon else {
            return attack.to_owned();
        };
        let steps = epsilon * 255.0;
        match (steps - steps.round()).abs() < 1e-3 {
            true => format!("{attack}, each pixel by at most {steps:.0}/255"),
            false => format!("{attack}, each pixel by at most {epsilon:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_attack_counts_and_its_radius_is_said() {
        let of = |figures: &[(&str, f64)]| {
            let figure = |name: &str| figures.iter().find(|(of, _)| *of == name).map(|(_, v)| *v);
            RobustAccuracy::of(figure)
        };
        assert_eq!(of(&[("clean_accuracy", 0.72)]), None);
        let mut figures = vec![
            ("pgd_20_accuracy", 0.40),
            ("pgd_100_restarts_accuracy", 0.39),
            ("pgd_100_restarts_images", 1000.0),
            ("attack_epsilon", 8.0 / 255.0),
        ];
        let robust = of(&figures).unwrap();
        assert_eq!((robust.accuracy, robust.images), (0.39, Some(1000.0)));
        assert_eq!(
            robust.attack_in_words(),
            "PGD-100 from five starts, each pixel by at most 8/255"
        );
        figures.push(("auto_attack_accuracy", 0.33));
        // Of another norm.
        figures.push(("auto_attack_l2_accuracy", 0.1));
        figures[3].1 = 0.1;
        let robust = of(&figures).unwrap();
        assert_eq!((robust.accuracy, robust.images), (0.33, None));
        assert_eq!(
            robust.attack_in_words(),
            "AutoAttack, each pixel by at most 0.10"
        );
    }
}
