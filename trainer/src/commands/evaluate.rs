//! `basin evaluate`: what models can do, measured on the test set.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use basin_shared::{
    Key, ModelFile,
    attacks::{Budget, Norm},
    metrics::mean,
    robust_accuracy::RobustAccuracy,
    tensors::{OnTensors, energy},
};
use burn::tensor::Device;
use serde_json::{Value, json};

use crate::{
    atomic_file::{try_out, write_atomically},
    cli,
    evaluation::{
        accuracy,
        auto_attack::beside,
        candidate::Candidate,
        measured::Measured,
        robustness::{adversary, default_epsilon},
        suite::{self, Part, State},
    },
    figures::{
        json::{Figures, JsonReport},
        picture,
        robustbench::robustbench,
        table::{shown, table},
    },
    model,
};

pub(crate) fn run(arguments: cli::Evaluate, device: &Device) -> Result<()> {
    suite::check(&arguments)?;
    let report = JsonReport::to(arguments.json.clone())?;
    for path in [&arguments.state, &arguments.robustbench]
        .into_iter()
        .flatten()
    {
        try_out(path)?;
    }
    if let Some(path) = &arguments.neighbours {
        picture::try_out(path)?;
    }
    if arguments.card {
        arguments.models.iter().try_for_each(|path| try_out(path))?;
    }
    // Before anything is computed, so that no file is missed in the end.
    let files = arguments.models.iter().map(|path| model::read(path));
    let mut files: Vec<ModelFile> = files.collect::<Result<_>>()?;
    for (path, file) in arguments.models.iter().zip(&files).skip(1) {
        model::check_classes(path, file, &files[0])?;
    }
    let settings = settings(&arguments)?;
    let mut state = State::open(arguments.state.clone(), settings.clone())?;
    let evaluations = files.iter().map(|file| {
        let alone = (files.len() == 1).then_some(&report);
        evaluate(file, &arguments, &mut state, alone, device)
    });
    let evaluations: Vec<Evaluation> = evaluations.collect::<Result<_>>()?;
    match &evaluations[..] {
        [alone] => alone.told_last().iter().for_each(|line| report.tell(line)),
        several => {
            let names = names(&arguments, &files);
            let rows = compared(several);
            table(&names, &rows)
                .iter()
                .for_each(|line| report.tell(line));
            for (name, evaluation) in names.iter().zip(several) {
                report.tell(name);
                evaluation
                    .told_last()
                    .iter()
                    .for_each(|line| report.tell(line));
            }
        }
    }

    // One that cannot be written takes no other with it.
    let pairs = files.iter().zip(&evaluations);
    let mut texts = pairs.map(|(file, evaluation)| evaluation.to_json(file, &arguments, &settings));
    let text = match files.len() {
        1 => texts.next().expect("one model"),
        _ => json!({"models": texts.collect::<Vec<Value>>()}),
    };
    let mut written = report.write(&text);
    if let Some(path) = &arguments.robustbench {
        let shaped = robustbench(&files[0], &evaluations[0].all());
        let done = shaped.and_then(|text| {
            let text = format!("{text:#}\n");
            write_atomically(path, text.as_bytes()).context("--robustbench")
        });
        written = written.and(done);
    }
    if arguments.card {
        let models = files.iter_mut().zip(&evaluations);
        for ((file, evaluation), path) in models.zip(&arguments.models) {
            file.card.metrics.extend(evaluation.all().by_name());
            written = written.and(model::write(path, file));
        }
    }
    written?;
    let failed: Vec<&str> = evaluations
        .iter()
        .flat_map(|of| of.failed.iter().copied())
        .collect();
    ensure!(
        failed.is_empty(),
        "not everything could be measured: {}; the other figures are those above",
        failed.join(", ")
    );
    Ok(())
}

/// What has been found of a model.
struct Evaluation {
    /// With the words for each part.
    parts: Vec<(&'static str, Measured)>,
    robust: Option<RobustAccuracy>,
    /// The parts that something went wrong with.
    failed: Vec<&'static str>,
}

/// Measures a model part by part; figures are told when a part is done, where `report` is given.
fn evaluate(
    file: &ModelFile,
    arguments: &cli::Evaluate,
    state: &mut State,
    report: Option<&JsonReport>,
    device: &Device,
) -> Result<Evaluation> {
    let card = &file.card;
    let told = |line: &str| match report {
        Some(report) => report.tell(line),
        None => tell!("{line}"),
    };
    told(&format!(
        "{} ({}, {})",
        card.name, card.method, card.data_set
    ));
    let figures_told = |measured: &Measured| {
        if report.is_some() {
            for (name, value) in &measured.figures {
                told(&format!("  {name:<46} {:>10}", shown(*value)));
            }
        }
    };
    let candidate = Candidate::new(file, arguments, device)?;
    let mut evaluation = Evaluation {
        parts: Vec::new(),
        robust: None,
        failed: Vec::new(),
    };
    let parts = arguments.suite.parts();
    for (place, &part) in parts.iter().enumerate() {
        let title = part.title();
        tell!("{} of {}: {title}", place + 1, parts.len());
        let measured = match state.known(&card.weights_sha256, part) {
            Some(known) => known.clone(),
            None => match part.measure(&candidate, state.path()) {
                Ok(measured) => {
                    keep(state, &card.weights_sha256, part, &measured);
                    measured
                }
                // Without logits that are numbers nothing else has a meaning.
                Err(error) if part == Part::CleanAccuracy => return Err(error),
                Err(error) => {
                    let mut nothing = Measured::default();
                    nothing.leave_out(title, crate::whole(&error));
                    evaluation.failed.push(title);
                    nothing
                }
            },
        };
        figures_told(&measured);
        evaluation.parts.push((title, measured));
    }
    let mut last = Measured::default();
    let all = evaluation.all();
    evaluation.robust = RobustAccuracy::of(|name| all.figure(name));
    if let Some(robust) = evaluation.robust {
        last.add("robust_accuracy", robust.accuracy);
    }
    if let Some(directory) = &arguments.check_dir {
        for (name, value) in check(file, directory, device)? {
            last.add(&name, value);
        }
    }
    figures_told(&last);
    evaluation.parts.push(("all together", last));
    Ok(evaluation)
}

/// Keeps what a part has found; a disk that is full loses no figure of this run.
fn keep(state: &mut State, model: &str, part: Part, measured: &Measured) {
    if let Err(error) = state.keep(model, part, measured.clone()) {
        tell!("warning: --state: {error:#}; a run that is killed now would begin anew");
        return;
    }
    // What the attacks kept for themselves is of no more use.
    let norm = match part {
        Part::AutoAttack => Norm::Linf,
        Part::AutoAttackL2 => Norm::L2,
        _ => return,
    };
    if let Some(path) = state.path() {
        let _ = std::fs::remove_file(beside(path, norm, model));
    }
}

impl Evaluation {
    /// All figures, one part behind the other.
    fn all(&self) -> Measured {
        let mut all = Measured::default();
        self.parts
            .iter()
            .for_each(|(_, part)| all.extend(part.clone()));
        all
    }

    /// The figure that people look for first, then what else is to be said.
    fn told_last(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(robust) = &self.robust {
            lines.push(format!(
                "robust accuracy {:.2} %: the smallest that any attack left, {} on {} test images within {:.4} in \
                 L-infinity",
                100.0 * robust.accuracy,
                robust.attack,
                robust.images.unwrap_or_default(),
                robust.epsilon.unwrap_or_default()
            ));
        }
        let all = self.all();
        lines.extend(all.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(
            all.left_out
                .iter()
                .map(|(what, why)| format!("left out: {what}: {why}")),
        );
        lines
    }

    /// As docs/figures.md says.
    fn to_json(&self, file: &ModelFile, arguments: &cli::Evaluate, settings: &Value) -> Value {
        let all = self.all();
        let mut settings = settings.clone();
        settings["generation"] = json!(file.card.generation);
        settings["denoising"] = json!(file.card.denoising);
        let left_out = all
            .left_out
            .iter()
            .map(|(what, why)| json!({"what": what, "why": why}));
        let seconds = self
            .parts
            .iter()
            .map(|(title, part)| (title.to_string(), json!(part.seconds)));
        json!({
            "model": file.card.name,
            "weights_sha256": file.card.weights_sha256,
            "seed": arguments.seed,
            "settings": settings,
            "headline": {"clean_accuracy": all.figure("clean_accuracy"), "robust_accuracy": self.robust},
            "figures": all.by_name(),
            "details": all.details,
            "left_out": left_out.collect::<Vec<Value>>(),
            "notes": all.notes,
            "seconds": seconds.collect::<serde_json::Map<String, Value>>(),
        })
    }
}

/// What decides what is found, but for the model.
fn settings(arguments: &cli::Evaluate) -> Result<Value> {
    let checksum = |path: &Path| -> Result<String> { Ok(model::read(path)?.card.weights_sha256) };
    let judge = arguments.judge.as_deref().map(checksum).transpose()?;
    let transfer = arguments.transfer.iter().map(|path| checksum(path));
    Ok(json!({
        "epsilon": arguments.epsilon,
        "attacked": arguments.attacked,
        "attacked_again": arguments.attacked_again,
        "images": arguments.images,
        "generated": arguments.generated,
        "seed": arguments.seed,
        "judge": judge,
        "inception": arguments.inception,
        "transfer": transfer.collect::<Result<Vec<String>>>()?,
        "outliers": arguments.outliers,
        "run": arguments.run,
        "neighbours": arguments.neighbours,
        "data_dir": arguments.data.data_dir,
    }))
}

/// The heads of the table's columns: the names of the cards, or of the files where cards have the same.
fn names(arguments: &cli::Evaluate, files: &[ModelFile]) -> Vec<String> {
    let cards: Vec<&str> = files.iter().map(|file| file.card.name.as_str()).collect();
    let unique = |(place, name): (usize, &&str)| !cards[..place].contains(name);
    if cards.iter().enumerate().all(unique) {
        return cards.into_iter().map(String::from).collect();
    }
    let paths = arguments.models.iter();
    paths.map(|path| path.display().to_string()).collect()
}

/// The rows of a table of several models, with a heading for each part.
fn compared(evaluations: &[Evaluation]) -> Vec<(String, Vec<Option<f64>>)> {
    let mut rows = Vec::new();
    for (place, (title, _)) in evaluations[0].parts.iter().enumerate() {
        let parts: Vec<&Measured> = evaluations.iter().map(|of| &of.parts[place].1).collect();
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in parts.iter().flat_map(|part| &part.figures) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            continue;
        }
        rows.push(((*title).to_owned(), Vec::new()));
        rows.extend(names.into_iter().map(|name| {
            let values = parts.iter().map(|part| part.figure(name));
            (name.clone(), values.collect())
        }));
    }
    rows
}

/// What the card says of the few images of a directory, measured anew: accuracy, and mean energy.
fn check(file: &ModelFile, directory: &Path, device: &Device) -> Result<Figures> {
    let arguments = cli::DataArgs {
        data_dir: Some(directory.to_path_buf()),
    };
    let test = model::data(file, &arguments)?.test;
    let network = file.model(device).frozen();
    let all: Vec<usize> = (0..test.len()).collect();
    let energy = energy::marginal(network.logits_of(test.batch(&all, device).0));
    let energy: Vec<f32> = energy.into_data().iter().collect();
    let budget = Budget::linf(default_epsilon(&test));
    let adversary = adversary(20, budget, Key::new(0));
    let robust = accuracy::survivors(&network, &network, &test, &all, adversary, device);
    Ok(Figures::from([
        (
            "check_clean_accuracy".into(),
            accuracy::clean_accuracy(&network, &test, device),
        ),
        (
            "check_pgd_20_accuracy".into(),
            robust.len() as f64 / all.len() as f64,
        ),
        ("check_energy".into(), mean(&energy)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cards of the bundled models say of the few images in the repository, measured anew.
    #[test]
    fn bundled_cards_agree_with_their_models() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for entry in std::fs::read_dir(root.join("static/models")).unwrap() {
            let path = entry.unwrap().path();
            // Their list and pictures lie beside them.
            if path.extension().is_none_or(|kind| kind != "safetensors") {
                continue;
            }
            let file = model::read(&path).unwrap();
            let directory = root.join("tests/data").join(&file.card.data_set);
            let found = check(&file, &directory, &Device::flex()).unwrap();
            for (name, found) in found {
                let said = file.card.metrics.get(&name);
                let said = said.unwrap_or_else(|| panic!("{}: no {name}", path.display()));
                assert!(
                    (said - found).abs() <= 1e-3 * said.abs().max(1.0),
                    "{}: {name} is {found}, the card says {said}",
                    path.display()
                );
            }
        }
    }
}
