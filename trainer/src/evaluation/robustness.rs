//! Accuracy under attack.

use anyhow::Result;
use basin_shared::{
    Key, ModelFile,
    attacks::{Budget, Pgd},
    tensors::Frozen,
};
use burn::tensor::Device;

use super::accuracy::{self, Adversary};
use crate::{cli, data::Images, model};

/// Restarts of PGD-100.
const RESTARTS: u64 = 5;
/// What another attack may take off the accuracy under PGD-20.
const NEGLIGIBLE: f64 = 0.02;

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
///
/// `robust_accuracy` is that under PGD-20, unless one of the others takes more than [`NEGLIGIBLE`] off
/// on the same images: then it is what that one leaves.
pub(crate) fn robustness(
    file: &ModelFile,
    network: &Frozen,
    test: &Images,
    arguments: &cli::Evaluate,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) -> Result<()> {
    let budget = Budget::linf(arguments.epsilon.unwrap_or_else(|| default_epsilon(test)));
    let share = |left: &[usize], of: usize| left.len() as f64 / of as f64;
    let attacked = arguments.attacked.min(test.len());
    let all: Vec<usize> = (0..attacked).collect();
    let [key, again_key, transfer_key] = key.split();
    let plain = adversary(20, budget, key);
    let left = accuracy::survivors(network, network, test, &all, plain, device);
    add("attack_epsilon", f64::from(budget.epsilon));
    add("pgd_20_images", attacked as f64);
    let mut robust = share(&left, attacked);
    add("pgd_20_accuracy", robust);

    let again = arguments.attacked_again.min(attacked);
    if again > 0 {
        let mut left: Vec<usize> = left.iter().copied().filter(|&i| i < again).collect();
        let before = share(&left, again);
        let mut leaves = |accuracy: f64| {
            if before - accuracy > NEGLIGIBLE {
                robust = robust.min(accuracy);
            }
        };
        for restart in 0..RESTARTS {
            let long = adversary(100, budget, again_key.fold_in(restart));
            left = accuracy::survivors(network, network, test, &left, long, device);
        }
        add("pgd_100_restarts_images", again as f64);
        add("pgd_100_restarts_accuracy", share(&left, again));
        leaves(share(&left, again));

        if !arguments.transfer.is_empty() {
            let mut left = all[..again].to_vec();
            for (place, path) in arguments.transfer.iter().enumerate() {
                let other = model::of_same_classes(path, file)?.model(device).frozen();
                let transfer = adversary(20, budget, transfer_key.fold_in(place as u64));
                left = accuracy::survivors(network, &other, test, &left, transfer, device);
            }
            add("transfer_images", again as f64);
            add("transfer_accuracy", share(&left, again));
            leaves(share(&left, again));
        }
    }
    add("robust_accuracy", robust);
    Ok(())
}
