//! `basin attack`: adversarial examples, and what they leave of a model's accuracy.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};
use basin_shared::{
    Classifier,
    attacks::{AttackName, Budget, NamedAttack, Norm, auto_attack, named},
    ranges,
};
use burn::tensor::Device;
use serde_json::json;

use crate::{
    atomic_file::try_out,
    cli::{self, AttackChoice},
    evaluation::{
        accuracy::BATCH,
        attack_energies::MeanEnergies,
        attacked::{Attacked, Settings, usual_epsilon},
        logits,
    },
    figures::{
        json::JsonReport,
        picture::{self, Grid},
    },
    model,
};

/// Images on the sheet at most.
const SHOWN: usize = 10;

pub(crate) fn run(arguments: cli::Attack, device: &Device) -> Result<()> {
    let report = JsonReport::to(arguments.json.clone())?;
    for path in [&arguments.save, &arguments.state].into_iter().flatten() {
        try_out(path)?;
    }
    picture::try_out(&arguments.output)?;
    let (norm, attacks) = (arguments.norm.into(), attacks(&arguments));
    let typed = arguments
        .epsilon
        .map(|epsilon| budget(norm, epsilon))
        .transpose()?;
    let file = model::read(&arguments.model)?;
    for attack in &attacks {
        attack
            .name
            .check(norm, file.card.class_names.len())
            .context("--attack")?;
    }
    let test = model::data(&file, &arguments.data)?.test;
    let budget = match (typed, usual_epsilon(norm, &test)) {
        (Some(budget), _) => budget,
        (None, Some(epsilon)) => Budget { norm, epsilon },
        (None, None) => anyhow::bail!(
            "--norm l2 needs --epsilon for images without colour, such as --epsilon 1.5"
        ),
    };
    let network = file.model(device).frozen();
    let settings = Settings {
        model: file.card.weights_sha256.clone(),
        data_set: file.card.data_set.clone(),
        images: arguments.images.min(test.len()),
        budget,
        attacks,
        seed: arguments.seed,
    };
    let mut attacked = Attacked::new(&network, &test, settings)?;
    if let Some(path) = arguments.state.as_deref().filter(|path| path.exists()) {
        attacked.restore(path).context("--state")?;
        tell!("going on from {}", path.display());
    }

    let told = |line: String| report.tell(&line);
    let figure = |name: &str, value: f64| told(format!("  {name:<36} {value:>10.4}"));
    told(format!(
        "{}, {} test images, {} of radius {}",
        file.card.name,
        attacked.settings.images,
        norm.text(),
        budget.epsilon
    ));
    figure("clean_accuracy", attacked.accuracy_before(0));
    let mut warnings = warnings(&network, &attacked);
    for warning in &warnings {
        tell!("warning: {warning}");
    }
    let mut found = Vec::new();
    for (place, attack) in attacked.settings.attacks.clone().into_iter().enumerate() {
        let begun = Instant::now();
        attacked.attack(&network, place, arguments.state.as_deref())?;
        let accuracy = attacked.accuracy_before(place + 1);
        figure(&format!("accuracy_after_{}", attack.name.text()), accuracy);
        found.push(json!({
            "attack": attack, "accuracy": accuracy, "seconds": begun.elapsed().as_secs_f64(),
        }));
        let before = attacked.accuracy_before(place);
        if attack.name == AttackName::Square
            && place > 0
            && let Some(warning) = auto_attack::judge_square(before, accuracy)
        {
            tell!("warning: {warning}");
            warnings.push(warning.to_string());
        }
    }
    let robust = attacked.accuracy_before(attacked.settings.attacks.len());
    figure("robust_accuracy", robust);
    let energies = energies(&network, &attacked);
    if let Some([clean, found]) = energies {
        for (name, clean, found) in [
            ("joint", clean.joint, found.joint),
            ("marginal", clean.marginal, found.marginal),
        ] {
            figure(&format!("energy_{name}_clean"), clean);
            figure(&format!("energy_{name}_attacked"), found);
        }
    }
    let median = median(&attacked);
    if let Some(median) = median {
        figure("median_distance", f64::from(median));
    }

    // One that cannot be written takes no other with it.
    let saved = arguments
        .save
        .as_deref()
        .map_or(Ok(()), |path| attacked.write(path))
        .context("--save");
    let drawn = sheet(
        &network,
        &attacked,
        &file.card.class_names,
        &arguments.output,
    );
    let text = json!({
        "model": file.card.name, "settings": attacked.settings, "warnings": warnings,
        "clean_accuracy": attacked.accuracy_before(0), "robust_accuracy": robust,
        "median_distance": median, "attacks": found,
        "energies": energies.map(|[clean, attacked]| json!({"clean": clean, "attacked": attacked})),
    });
    report.write(&text).and(saved).and(drawn)
}

/// What was typed, as attacks.
fn attacks(arguments: &cli::Attack) -> Vec<NamedAttack> {
    let named = arguments.attacks.iter().flat_map(|choice| match choice {
        AttackChoice::AutoAttack => auto_attack::standard().to_vec(),
        AttackChoice::AutoAttackPlus => auto_attack::plus().to_vec(),
        AttackChoice::Named(name) => vec![name.once()],
    });
    let changed = named.map(|attack| NamedAttack {
        restarts: arguments.restarts.unwrap_or(attack.restarts),
        targets: arguments.targets.unwrap_or(attack.targets),
        steps: arguments.steps.unwrap_or(attack.steps),
        ..attack
    });
    changed.collect()
}

/// The ball of this radius.
fn budget(norm: Norm, epsilon: f32) -> Result<Budget> {
    let right = match norm {
        Norm::Linf => cli::check_epsilon(epsilon).map(drop),
        Norm::L2 => ranges::check("l2.epsilon", epsilon).map_err(|fault| fault.to_string()),
    };
    match right {
        Ok(()) => Ok(Budget { norm, epsilon }),
        Err(fault) => anyhow::bail!("--epsilon: {fault}"),
    }
}

/// What the first images tell before attacks begin.
fn warnings(network: &impl Classifier, attacked: &Attacked) -> Vec<String> {
    let first = attacked.settings.images.min(BATCH);
    let pixels: usize = attacked.shape.iter().product();
    let (x, labels) = (&attacked.x[..first * pixels], &attacked.labels[..first]);
    let found = auto_attack::warnings(network, &attacked.settings.attacks, x, labels);
    found.iter().map(ToString::to_string).collect()
}

/// How far images of other classes are that were found, within the budget or not; none where none were looked for beyond
/// it.
fn median(attacked: &Attacked) -> Option<f32> {
    let beyond =
        |attack: &NamedAttack| matches!(attack.name, AttackName::DeepFool | AttackName::Cw);
    if !attacked.settings.attacks.iter().any(beyond) {
        return None;
    }
    let mut distances: Vec<f32> = attacked.distances.iter().flatten().copied().collect();
    distances.sort_by(f32::total_cmp);
    distances.get(distances.len() / 2).copied()
}

/// Mean energies of the images with which the model is fooled, before and after (WEAT appendix A); none where it is not.
fn energies(network: &impl Classifier, attacked: &Attacked) -> Option<[MeanEnergies; 2]> {
    let rows = attacked.fooled();
    if rows.is_empty() {
        return None;
    }
    let classes: Vec<usize> = rows.iter().map(|&i| attacked.labels[i]).collect();
    let of = |x: &[f32]| {
        let x: Vec<f32> = rows
            .iter()
            .flat_map(|&i| attacked.image(x, i))
            .copied()
            .collect();
        MeanEnergies::of(&logits::of(network, &x, rows.len()), &classes)
    };
    Some([of(&attacked.x), of(&attacked.x_adv)])
}

/// A sheet with a row for each of some images: as it was, the change magnified until it fills the range, as it is.
fn sheet(
    network: &impl Classifier,
    attacked: &Attacked,
    names: &[String],
    path: &Path,
) -> Result<()> {
    let mut rows = attacked.fooled();
    if rows.is_empty() {
        tell!("no image fooled the model that did not before; there is no sheet");
        return Ok(());
    }
    rows.truncate(SHOWN);
    let mut values = Vec::new();
    for &i in &rows {
        let [x, x_adv] = [&attacked.x, &attacked.x_adv].map(|x| attacked.image(x, i));
        let most = Norm::Linf.between(x, x_adv).max(f32::MIN_POSITIVE);
        values.extend_from_slice(x);
        values.extend(
            x_adv
                .iter()
                .zip(x)
                .map(|(a, b)| 0.5 + (a - b) / (2.0 * most)),
        );
        values.extend_from_slice(x_adv);
        let [before, after] =
            [attacked.labels[i], named(&network.logits(x_adv, 1))].map(|y| &names[y]);
        tell!("test image {i}: {before}, taken for {after}");
    }
    let grid = Grid {
        columns: 3,
        scale: 3,
        gap: 2,
    };
    grid.write(path, &values, attacked.shape)?;
    tell!("{}: image, change, result", path.display());
    Ok(())
}
