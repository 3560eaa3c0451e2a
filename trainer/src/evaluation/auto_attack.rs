//! What AutoAttack leaves of a model's accuracy.

use std::path::{Path, PathBuf};

use anyhow::Result;
use basin_shared::attacks::{Budget, NamedAttack, Norm, auto_attack as ensemble};

use super::{
    accuracy::BATCH,
    attacked::{Attacked, Settings, usual_epsilon},
    candidate::Candidate,
    measured::Measured,
};

/// AutoAttack's version `standard` on the first test images, in a norm. With `state`, a run that was killed in the
/// middle goes on from the file beside it.
///
/// # Errors
/// If the logits of a test image are no numbers, or the file is of another run.
pub(crate) fn auto_attack(
    candidate: &Candidate,
    norm: Norm,
    state: Option<&Path>,
    measured: &mut Measured,
) -> Result<()> {
    let (file, test) = (candidate.file, &candidate.data.test);
    let name = match norm {
        Norm::Linf => "auto_attack",
        Norm::L2 => "auto_attack_l2",
    };
    let epsilon = match norm {
        Norm::Linf => Some(candidate.budget().epsilon),
        Norm::L2 => usual_epsilon(norm, test),
    };
    let Some(epsilon) = epsilon else {
        measured.leave_out(
            "AutoAttack in L2",
            "images without colour have no usual radius; basin attack --norm l2 --epsilon 1.5 takes one",
        );
        return Ok(());
    };
    let classes = candidate.classes();
    let (attacks, impossible): (Vec<NamedAttack>, Vec<_>) = ensemble::standard()
        .into_iter()
        .partition(|attack| attack.name.check(norm, classes).is_ok());
    let whole = impossible.is_empty();
    for attack in impossible {
        let why = attack
            .name
            .check(norm, classes)
            .expect_err("it cannot be made");
        measured.leave_out(attack.name.text(), why.to_string());
    }
    // Without one of its attacks it is not AutoAttack.
    let name = if whole {
        name.into()
    } else {
        format!("{name}_without_apgd_t")
    };
    let settings = Settings {
        model: file.card.weights_sha256.clone(),
        data_set: file.card.data_set.clone(),
        images: candidate.images(),
        budget: Budget { norm, epsilon },
        attacks,
        seed: candidate.arguments.seed,
    };
    let mut attacked = Attacked::new(&candidate.network, test, settings)?;
    let state = state.map(|state| beside(state, norm, &file.card.weights_sha256));
    if let Some(path) = state.as_deref().filter(|path| path.exists()) {
        attacked.restore(path)?;
        tell!("going on from {}", path.display());
    }
    let first = attacked.settings.images.min(BATCH);
    let pixels: usize = attacked.shape.iter().product();
    let (x, labels) = (&attacked.x[..first * pixels], &attacked.labels[..first]);
    let attacks = attacked.settings.attacks.clone();
    let warnings = ensemble::warnings(&candidate.network, &attacks, x, labels);
    measured
        .notes
        .extend(warnings.iter().map(ToString::to_string));

    measured.add(&format!("{name}_epsilon"), f64::from(epsilon));
    measured.add(&format!("{name}_images"), attacked.settings.images as f64);
    for (place, attack) in attacks.iter().enumerate() {
        if let Err(why) = attacked.attack(&candidate.network, place, state.as_deref()) {
            tell!("warning: {why:#}; what this attack found is not kept");
        }
        let accuracy = attacked.accuracy_before(place + 1);
        measured.add(&format!("{name}_after_{}", attack.name.text()), accuracy);
    }
    measured.add(
        &format!("{name}_accuracy"),
        attacked.accuracy_before(attacks.len()),
    );
    Ok(())
}

/// The file in which the attacks in a norm keep what they know, beside that of the evaluation.
pub(crate) fn beside(state: &Path, norm: Norm, weights_sha256: &str) -> PathBuf {
    let norm = match norm {
        Norm::Linf => "linf",
        Norm::L2 => "l2",
    };
    let mut file = state.as_os_str().to_owned();
    file.push(format!(".{norm}-{}.safetensors", &weights_sha256[..8]));
    file.into()
}
