//! What attacks do to the energies (JEAT eq. 15 and Table 1, WEAT appendix A): ΔxE = E(x_adv) − E(x), joint and marginal.

use anyhow::Result;
use basin_shared::{
    attacks::{Attack, GradientAt, Pgd, named},
    energy::{Conditional, EnergyKind, Joint},
};
use serde::Serialize;

use super::{accuracy::BATCH, candidate::Candidate, logits, measured::Measured};
use crate::tell::Countdown;

/// Steps of PGD.
const STEPS: usize = 20;

/// Mean energies of some images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct MeanEnergies {
    /// Of E(x, y), y being the true class.
    pub joint: f64,
    /// Of E(x).
    pub marginal: f64,
}

impl MeanEnergies {
    /// Of images with these logits, `[images, classes]`, and these true classes.
    pub(crate) fn of(logits: &[f32], classes: &[usize]) -> Self {
        let rows = || {
            logits
                .chunks_exact(logits.len() / classes.len())
                .zip(classes)
        };
        let mean = |kind: EnergyKind| {
            let energies = rows().map(|(f, &class)| f64::from(kind.of_logits(f, class)));
            energies.sum::<f64>() / classes.len() as f64
        };
        Self {
            joint: mean(EnergyKind::Joint),
            marginal: mean(EnergyKind::Marginal),
        }
    }
}

/// The normal attack of one step (JEAT eq. 14), the energy attack (eq. 18) and PGD-20, on all of the first test images,
/// also those that the model errs on.
pub(crate) fn attack_energies(candidate: &Candidate, measured: &mut Measured) -> Result<()> {
    let (test, images) = (&candidate.data.test, candidate.images());
    let (x, classes) = (test.values(0..images), test.classes(0..images));
    let clean = logits::of_test_images(&candidate.network, &x, images)?;
    let before = MeanEnergies::of(&clean, &classes);
    measured.add("attack_energies_images", images as f64);
    measured.add("energy_joint_clean", before.joint);
    measured.add("energy_marginal_clean", before.marginal);
    let (budget, size) = (candidate.budget(), x.len() / images);
    let pgd = Pgd {
        steps: STEPS,
        step_size: budget.epsilon / 4.0,
    };
    for name in ["normal_attack", "energy_attack", "pgd_20"] {
        let key = candidate.key(name);
        let mut countdown = Countdown::of(name.replace('_', " "), images);
        let mut x_adv = Vec::new();
        let batches = x.chunks(BATCH * size).zip(classes.chunks(BATCH));
        for (batch, (x, classes)) in batches.enumerate() {
            let (joint, conditional) = (
                Joint {
                    classes: classes.to_vec(),
                },
                Conditional {
                    classes: classes.to_vec(),
                },
            );
            let attack = match name {
                "normal_attack" => Attack::fgsm(budget, &conditional),
                "energy_attack" => Attack::energy(budget, &joint, GradientAt::Clean),
                _ => Attack::pgd(budget, &conditional, pgd),
            };
            let key = key.fold_in(batch as u64);
            x_adv.extend(attack.run(&candidate.network, x, classes.len(), key));
            countdown.advance(classes.len());
        }
        let attacked = logits::of(&candidate.network, &x_adv, images);
        let after = MeanEnergies::of(&attacked, &classes);
        // That under PGD-20 is of more images elsewhere.
        if name != "pgd_20" {
            let rows = attacked.chunks_exact(candidate.classes()).zip(&classes);
            let right = rows.filter(|(f, class)| named(f) == **class).count();
            measured.add(&format!("{name}_accuracy"), right as f64 / images as f64);
        }
        measured.add(
            &format!("delta_x_energy_joint_{name}"),
            after.joint - before.joint,
        );
        measured.add(
            &format!("delta_x_energy_marginal_{name}"),
            after.marginal - before.marginal,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_are_means_over_images() {
        let logits = [1.0, 2.0, 3.0, -1.0];
        let found = MeanEnergies::of(&logits, &[1, 1]);
        assert!((found.joint - (-2.0 + 1.0) / 2.0).abs() < 1e-6);
        let marginal = |a: f64, b: f64| -(a.exp() + b.exp()).ln();
        let expected = (marginal(1.0, 2.0) + marginal(3.0, -1.0)) / 2.0;
        assert!((found.marginal - expected).abs() < 1e-6);
    }
}
