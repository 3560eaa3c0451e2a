//! Accuracy under attack.

use super::{
    accuracy::{self, Adversary},
    candidate::Candidate,
    measured::Measured,
};
use crate::{data::Images, model};
use anyhow::Result;
use basin_shared::{
    Key,
    attacks::{Budget, Pgd},
};

/// Restarts of PGD-100.
const RESTARTS: u64 = 5;
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
