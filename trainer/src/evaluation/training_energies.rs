//! The energies of adversarial examples over a run's checkpoints (JEAT eq. 15 and Fig. 3): by how much an attack raises
//! them, ΔxE, and by how much training until the next checkpoint lowers them, ΔθE.

use std::path::Path;

use anyhow::{Result, ensure};
use basin_shared::tensors::{Frozen, parameters};
use serde::Serialize;

use super::{attack_energies::MeanEnergies, candidate::Candidate, logits, measured::Measured};
use crate::{recipe::Recipe, tell::Countdown, training::checkpoint::Checkpoint};

/// From one checkpoint to the next, means over the images.
#[derive(Clone, Copy, Debug, Serialize)]
struct Change {
    /// The iteration of the first, and of the second.
    iterations: [usize; 2],
    delta_x_energy_joint: f64,
    delta_x_energy_marginal: f64,
    delta_theta_energy_joint: f64,
    delta_theta_energy_marginal: f64,
}

/// Of FGSM on each checkpoint's model, eq. 14, on the first test images.
pub(crate) fn training_energies(
    candidate: &Candidate,
    run: &Path,
    measured: &mut Measured,
) -> Result<()> {
    let (test, images) = (&candidate.data.test, candidate.images());
    let (x, classes) = (test.values(0..images), test.classes(0..images));
    let paths = Checkpoint::all(run)?;
    ensure!(
        paths.len() > 1,
        "{}: {} checkpoints, expected two at least to compare",
        run.display(),
        paths.len()
    );
    let network = |path: &Path| -> Result<(usize, Frozen)> {
        let checkpoint = Checkpoint::read(path)?;
        let architecture = Recipe::kept(&checkpoint.recipe)?.architecture();
        ensure!(
            architecture.image() == test.shape() && architecture.classes() == candidate.classes(),
            "{}: a model of other images or classes",
            path.display()
        );
        let network = parameters::network(&architecture, &checkpoint.model, candidate.device);
        Ok((checkpoint.progress.iteration, network.frozen()))
    };
    let mut countdown = Countdown::of("checkpoints", paths.len() - 1);
    let mut changes: Vec<Change> = Vec::new();
    let mut now = network(&paths[0])?;
    for path in &paths[1..] {
        let next = network(path)?;
        let x_adv = candidate.fgsm(&now.1, &x, &classes, |_| {});
        let energies = |network: &Frozen, x: &[f32]| {
            MeanEnergies::of(&logits::of(network, x, images), &classes)
        };
        let (clean, attacked) = (energies(&now.1, &x), energies(&now.1, &x_adv));
        let updated = energies(&next.1, &x_adv);
        changes.push(Change {
            iterations: [now.0, next.0],
            delta_x_energy_joint: attacked.joint - clean.joint,
            delta_x_energy_marginal: attacked.marginal - clean.marginal,
            delta_theta_energy_joint: updated.joint - attacked.joint,
            delta_theta_energy_marginal: updated.marginal - attacked.marginal,
        });
        now = next;
        countdown.advance(1);
    }
    let mut mean = |name: &str, of: fn(&Change) -> f64| {
        let sum: f64 = changes.iter().map(of).sum();
        measured.add(&format!("training_{name}"), sum / changes.len() as f64);
    };
    mean("delta_x_energy_joint", |change| change.delta_x_energy_joint);
    mean("delta_x_energy_marginal", |change| {
        change.delta_x_energy_marginal
    });
    mean("delta_theta_energy_joint", |change| {
        change.delta_theta_energy_joint
    });
    mean("delta_theta_energy_marginal", |change| {
        change.delta_theta_energy_marginal
    });
    measured.detail("training_energies", &changes);
    Ok(())
}
