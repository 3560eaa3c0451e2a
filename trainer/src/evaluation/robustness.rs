//! Accuracy under attack.

use anyhow::Result;
use basin_shared::{
    Key,
    attacks::{Budget, Pgd},
};
use serde::Serialize;

use super::{
    accuracy::{self, Adversary},
    candidate::Candidate,
    measured::Measured,
};
use crate::{data::Images, model};

/// Restarts of PGD-100.
const RESTARTS: u64 = 5;
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
pub(crate) struct RobustAccuracy {
    /// The smallest that any attack left.
    pub accuracy: f64,
    /// That attack.
    pub attack: &'static str,
    /// Of how many test images.
    pub images: f64,
    /// Its radius in L-infinity.
    pub epsilon: f64,
}

impl RobustAccuracy {
    /// Among these figures; none where nothing was attacked.
    pub(crate) fn of(measured: &Measured) -> Option<Self> {
        let left = ATTACKS.iter().filter_map(|[accuracy, images, attack]| {
            Some(Self {
                accuracy: measured.figure(accuracy)?,
                attack,
                images: measured.figure(images)?,
                epsilon: measured.figure("attack_epsilon")?,
            })
        });
        left.min_by(|a, b| a.accuracy.total_cmp(&b.accuracy))
    }
}

/// The usual radius in L∞ for images like these.
pub(crate) fn default_epsilon(images: &Images) -> f32 {
    let [channels, ..] = images.shape();
    if channels == 3 { 8.0 / 255.0 } else { 0.1 }
}

/// PGD with steps of a quarter of the radius, or of an eighth where there are many.
pub(crate) fn adversary(steps: usize, budget: Budget, key: Key) -> Adversary {
    let share = if steps > 50 { 8.0 } else { 4.0 };
    let step_size = budget.epsilon / share;
    Adversary {
        budget,
        pgd: Pgd { steps, step_size },
        key,
    }
}

/// Accuracy under PGD-20; then, of fewer images, what PGD-100 with five restarts leaves of those that it
/// left, and accuracy under the examples that PGD-20 makes on each of some other models.
pub(crate) fn robustness(candidate: &Candidate, key: Key, measured: &mut Measured) -> Result<()> {
    let (test, arguments) = (&candidate.data.test, candidate.arguments);
    let (network, device) = (&candidate.network, candidate.device);
    let budget = candidate.budget();
    let share = |left: &[usize], of: usize| left.len() as f64 / of as f64;
    let attacked = arguments.attacked.min(test.len());
    if attacked == 0 {
        measured.leave_out("accuracy under PGD", "--attacked is 0");
        return Ok(());
    }
    let all: Vec<usize> = (0..attacked).collect();
    let [key, again_key, transfer_key] = key.split();
    let plain = adversary(20, budget, key);
    let left = accuracy::survivors(network, network, test, &all, plain, device);
    measured.add("attack_epsilon", f64::from(budget.epsilon));
    measured.add("pgd_20_images", attacked as f64);
    measured.add("pgd_20_accuracy", share(&left, attacked));

    let again = arguments.attacked_again.min(attacked);
    if again > 0 {
        let mut left: Vec<usize> = left.iter().copied().filter(|&i| i < again).collect();
        for restart in 0..RESTARTS {
            let long = adversary(100, budget, again_key.fold_in(restart));
            left = accuracy::survivors(network, network, test, &left, long, device);
        }
        measured.add("pgd_100_restarts_images", again as f64);
        measured.add("pgd_100_restarts_accuracy", share(&left, again));

        if !arguments.transfer.is_empty() {
            let mut left = all[..again].to_vec();
            for (place, path) in arguments.transfer.iter().enumerate() {
                let other = model::of_same_classes(path, candidate.file)?;
                let other = other.model(device).frozen();
                let transfer = adversary(20, budget, transfer_key.fold_in(place as u64));
                left = accuracy::survivors(network, &other, test, &left, transfer, device);
            }
            measured.add("transfer_images", again as f64);
            measured.add("transfer_accuracy", share(&left, again));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_attack_says_how_robust_a_model_is() {
        let mut measured = Measured::default();
        assert_eq!(RobustAccuracy::of(&measured), None);
        for (name, value) in [
            ("attack_epsilon", 0.03),
            ("pgd_20_accuracy", 0.4),
            ("pgd_20_images", 10_000.0),
            ("auto_attack_accuracy", 0.33),
            ("auto_attack_images", 200.0),
            // Of another norm.
            ("auto_attack_l2_accuracy", 0.1),
        ] {
            measured.add(name, value);
        }
        let found = RobustAccuracy::of(&measured).unwrap();
        assert_eq!((found.accuracy, found.images), (0.33, 200.0));
        assert_eq!(found.attack, "AutoAttack");
    }
}
