//! What stands under *robust accuracy*: the smallest share that any attack left, with its name.

use std::collections::BTreeMap;

/// Attacks as a card names them, and as people do.
const ATTACKS: [(&str, &str); 4] = [
    ("auto_attack_accuracy", "AutoAttack"),
    (
        "pgd_100_restarts_accuracy",
        "PGD, 100 steps from five starts",
    ),
    ("pgd_20_accuracy", "PGD, 20 steps"),
    ("transfer_accuracy", "pictures that fool other models"),
];

/// The accuracy that the worst attack left of those whose figures a card has, and the attack in words with its radius;
/// none where the model was not attacked.
pub fn robust_accuracy(metrics: &BTreeMap<String, f64>) -> Option<(f64, String)> {
    let figures = ATTACKS
        .iter()
        .filter_map(|(name, words)| Some((*metrics.get(*name)?, words)));
    let (left, attack) = figures.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let radius = metrics
        .get("attack_epsilon")
        .map(|&epsilon| radius(epsilon));
    Some((left, format!("{attack}{}", radius.unwrap_or_default())))
}

/// A radius in steps of 255 where it is a whole number of them.
fn radius(epsilon: f64) -> String {
    let steps = epsilon * 255.0;
    match (steps - steps.round()).abs() < 1e-3 {
        true => format!(", each pixel by at most {steps:.0}/255"),
        false => format!(", each pixel by at most {epsilon:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_attack_counts_and_its_radius_is_said() {
        let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
        assert_eq!(robust_accuracy(&metrics), None);
        for (name, value) in [
            ("clean_accuracy", 0.72),
            ("pgd_20_accuracy", 0.40),
            ("pgd_100_restarts_accuracy", 0.39),
            ("attack_epsilon", 8.0 / 255.0),
        ] {
            metrics.insert(name.into(), value);
        }
        let words = "PGD, 100 steps from five starts, each pixel by at most 8/255";
        assert_eq!(robust_accuracy(&metrics), Some((0.39, words.into())));
        metrics.insert("auto_attack_accuracy".into(), 0.33);
        metrics.insert("attack_epsilon".into(), 0.1);
        let words = "AutoAttack, each pixel by at most 0.10";
        assert_eq!(robust_accuracy(&metrics), Some((0.33, words.into())));
    }
}
