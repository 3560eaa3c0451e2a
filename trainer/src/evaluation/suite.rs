//! The parts of an evaluation, and what is kept of those that are done.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use basin_shared::{Key, attacks::Norm, tensors::Frozen};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    attack_energies::attack_energies, auto_attack::auto_attack, calibration::calibration,
    candidate::Candidate, curves::curves, denoising::denoising, energies,
    fisher_scores::fisher_scores, generation::generation, measured::Measured,
    neighbours::neighbours, outliers::outliers, robustness::robustness,
    training_energies::training_energies,
};
use crate::{atomic_file::write_atomically, cli};

/// A part of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    CleanAccuracy,
    Calibration,
    Robustness,
    AutoAttack,
    AutoAttackL2,
    AttackEnergies,
    Curves,
    Energies,
    Outliers,
    FisherScores,
    Denoising,
    Generation,
    Neighbours,
    TrainingEnergies,
}

/// What is measured where nobody asks for more.
const QUICK: [Part; 5] = [
    Part::CleanAccuracy,
    Part::Robustness,
    Part::Energies,
    Part::Denoising,
    Part::Generation,
];

/// Every figure that the papers print, the quickest first.
const PAPER: [Part; 14] = [
    Part::CleanAccuracy,
    Part::Calibration,
    Part::Energies,
    Part::AttackEnergies,
    Part::FisherScores,
    Part::Outliers,
    Part::Denoising,
    Part::TrainingEnergies,
    Part::Curves,
    Part::Robustness,
    Part::Generation,
    Part::Neighbours,
    Part::AutoAttack,
    Part::AutoAttackL2,
];

impl cli::Suite {
    /// Its parts in their order.
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Self::Quick => &QUICK,
            Self::Paper => &PAPER,
        }
    }
}

impl Part {
    /// In words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CleanAccuracy => "clean accuracy",
            Self::Calibration => "calibration",
            Self::Robustness => "accuracy under PGD",
            Self::AutoAttack => "AutoAttack in L-infinity",
            Self::AutoAttackL2 => "AutoAttack in L2",
            Self::AttackEnergies => "energies under attack",
            Self::Curves => "accuracy over the radius",
            Self::Energies => "energies of images and noise",
            Self::Outliers => "outliers",
            Self::FisherScores => "Fisher scores",
            Self::Denoising => "denoising",
            Self::Generation => "what the model draws",
            Self::Neighbours => "nearest training images",
            Self::TrainingEnergies => "energies over training",
        }
    }

    /// Measures it. `state` is the file of the evaluation, beside which a long part keeps its own.
    pub(crate) fn measure(self, candidate: &Candidate, state: Option<&Path>) -> Result<Measured> {
        let begun = Instant::now();
        let mut measured = Measured::default();
        let found = &mut measured;
        // Those of the quick suite, which are older than the other.
        let keys = Key::new(candidate.arguments.seed).split();
        let [attack_key, noise_key, denoise_key, chain_key, order_key] = keys;
        let (network, test): (&Frozen, _) = (&candidate.network, &candidate.data.test);
        let arguments = candidate.arguments;
        match self {
            Self::CleanAccuracy => clean_accuracy(candidate, found)?,
            Self::Calibration => calibration(candidate, found)?,
            Self::Robustness => robustness(candidate, attack_key, found)?,
            Self::Curves | Self::AutoAttack | Self::AutoAttackL2 if arguments.attacked == 0 => {
                found.leave_out(self.title(), "--attacked is 0");
            }
            Self::AutoAttack => auto_attack(candidate, Norm::Linf, state, found)?,
            Self::AutoAttackL2 => auto_attack(candidate, Norm::L2, state, found)?,
            Self::AttackEnergies => attack_energies(candidate, found)?,
            Self::Curves => curves(candidate, found),
            Self::Energies => {
                energies::energies(network, test, noise_key, candidate.device, found);
                energies::order(network, test, order_key, candidate.device, found);
            }
            Self::Outliers => outliers(candidate, found)?,
            Self::FisherScores => fisher_scores(candidate, found),
            Self::Denoising => denoising(
                candidate.file,
                network,
                [test, &candidate.validation],
                denoise_key,
                candidate.device,
                found,
            ),
            Self::Generation => generation(candidate, chain_key, found),
            Self::Neighbours => neighbours(candidate, arguments.neighbours.as_deref(), found)?,
            Self::TrainingEnergies => match &arguments.run {
                Some(run) => training_energies(candidate, run, found)?,
                None => found.leave_out("energies over training", "there is no --run"),
            },
        }
        measured.seconds = begun.elapsed().as_secs_f64();
        Ok(measured)
    }
}

fn clean_accuracy(candidate: &Candidate, measured: &mut Measured) -> Result<()> {
    let labels = candidate.data.test.labels();
    let rows = candidate.test_logits()?.chunks_exact(candidate.classes());
    let named = rows.map(basin_shared::attacks::named);
    let right = named
        .zip(labels)
        .filter(|(class, label)| *class == usize::from(**label));
    measured.add("clean_accuracy", right.count() as f64 / labels.len() as f64);
    Ok(())
}

/// What has been measured so far, in a file where one is named.
#[derive(Debug)]
pub(crate) struct State {
    path: Option<PathBuf>,
    kept: Kept,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// What decides what is found.
    settings: Value,
    /// By the SHA-256 of a model's weights.
    models: BTreeMap<String, BTreeMap<Part, Measured>>,
}

impl State {
    /// Of an evaluation of these settings; it goes on where the file says it was.
    ///
    /// # Errors
    /// If the file cannot be read, or is of other settings.
    pub(crate) fn open(path: Option<PathBuf>, settings: Value) -> Result<Self> {
        let mut kept = Kept {
            settings,
            models: BTreeMap::new(),
        };
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            let shown = || path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(shown)?;
            let found: Kept = serde_json::from_str(&text)
                .context("expected the state of an evaluation")
                .with_context(shown)?;
            if let Some(difference) = difference(&found.settings, &kept.settings) {
                anyhow::bail!(
                    "{}: it is the state of another evaluation, {difference}; give this one another file, or the \
                     settings of that one",
                    path.display()
                );
            }
            kept = found;
            tell!("going on from {}", path.display());
        }
        Ok(Self { path, kept })
    }

    /// The file.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What was found of a model before.
    pub(crate) fn known(&self, model: &str, part: Part) -> Option<&Measured> {
        self.kept.models.get(model)?.get(&part)
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn keep(&mut self, model: &str, part: Part, measured: Measured) -> Result<()> {
        let parts = self.kept.models.entry(model.into()).or_default();
        parts.insert(part, measured);
        if let Some(path) = &self.path {
            let text = serde_json::to_string(&self.kept).expect("plain data");
            write_atomically(path, text.as_bytes())?;
        }
        Ok(())
    }
}

/// The first setting that differs, in words.
fn difference(found: &Value, expected: &Value) -> Option<String> {
    let (found, expected) = (found.as_object()?, expected.as_object()?);
    let names = expected.keys().chain(found.keys());
    let of = |settings: &serde_json::Map<String, Value>, name: &String| {
        settings.get(name).cloned().unwrap_or(Value::Null)
    };
    let mut differing = names.filter(|name| of(found, name) != of(expected, name));
    let name = differing.next()?;
    Some(format!(
        "whose {name} is {}, and this one's is {}",
        of(found, name),
        of(expected, name)
    ))
}

/// Fails if a model's parts are asked for that its suite does not have.
pub(crate) fn check(arguments: &cli::Evaluate) -> Result<()> {
    let of_paper = [
        ("--outliers", !arguments.outliers.is_empty()),
        ("--run", arguments.run.is_some()),
        ("--neighbours", arguments.neighbours.is_some()),
        ("--robustbench", arguments.robustbench.is_some()),
    ];
    if arguments.suite == cli::Suite::Quick
        && let Some((name, _)) = of_paper.into_iter().find(|(_, given)| *given)
    {
        anyhow::bail!("{name} is of the figures of --suite paper");
    }
    for (name, given) in [
        ("--robustbench", arguments.robustbench.is_some()),
        ("--neighbours", arguments.neighbours.is_some()),
        ("--run", arguments.run.is_some()),
    ] {
        ensure!(
            !given || arguments.models.len() == 1,
            "{name} is of one model, and {} are given",
            arguments.models.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_gone_on_from_by_the_same_settings_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let settings = json!({"seed": 3, "epsilon": null});
        let mut state = State::open(Some(path.clone()), settings.clone()).unwrap();
        let mut measured = Measured::default();
        measured.add("clean_accuracy", 0.75);
        state
            .keep("abc", Part::CleanAccuracy, measured.clone())
            .unwrap();
        let state = State::open(Some(path.clone()), settings).unwrap();
        assert_eq!(state.known("abc", Part::CleanAccuracy), Some(&measured));
        assert_eq!(state.known("abc", Part::Curves), None);
        assert_eq!(state.known("abd", Part::CleanAccuracy), None);
        let error = State::open(Some(path.clone()), json!({"seed": 4, "epsilon": null}));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("whose seed is 3, and this one's is 4"),
            "{error}"
        );
        std::fs::write(&path, "{").unwrap();
        let error = State::open(Some(path), json!({})).unwrap_err();
        assert!(format!("{error:#}").contains("expected the state of an evaluation"));
    }

    #[test]
    fn every_part_of_the_quick_suite_is_one_of_the_other() {
        assert!(QUICK.iter().all(|part| PAPER.contains(part)));
    }
}
