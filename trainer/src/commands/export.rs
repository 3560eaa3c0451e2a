//! `basin export`: a run's newest or best checkpoint to a model file, or weights to PyTorch's state dictionary.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use basin_shared::{
    Classifier, Key, ModelCard, ModelFile,
    arrays::{Array, Weights},
    classifier::Evaluation,
    energy::Joint,
    file::{
        card::{Origin, SCHEMA},
        container::{PROBE_IMAGES, Probe, Storage, keeps_single_precision, probe_images},
    },
    models::Architecture,
    samplers::{ClassGaussian, Sampler, SamplerSettings},
    tensors::{Frozen, parameters},
};
use burn::tensor::Device;
use half::f16;
use indicatif::MultiProgress;

use crate::{
    atomic_file::{try_out, write_atomically},
    cli, data,
    evaluation::distances,
    model, pytorch,
    recipe::Recipe,
    training::{checkpoint::Checkpoint, class_gaussian::class_gaussian},
};

pub(crate) fn run(arguments: cli::Export, device: &Device) -> Result<()> {
    if let Some(path) = &arguments.pytorch {
        return to_pytorch(&arguments, path);
    }
    try_out(&arguments.file.output)?;
    ensure!(
        !arguments.run.is_file(),
        "{}: a file, expected the directory of a run; with --pytorch it may be a model file",
        arguments.run.display()
    );
    let (checkpoint, recipe) = checkpoint(&arguments)?;
    let progress = checkpoint.progress;
    let metrics = BTreeMap::from([
        ("training_iterations".into(), progress.iteration as f64),
        ("training_seconds".into(), progress.seconds),
        ("training_roll_backs".into(), progress.roll_backs as f64),
    ]);
    let trained = Trained {
        weights: averaged(&recipe, checkpoint.model, checkpoint.ema),
        recipe,
        text: checkpoint.recipe,
        begun_with: checkpoint.begun_with,
        hardware: progress.hardware,
        metrics,
    };
    write(trained, &arguments.file, device)
}

/// Writes the weights of a run or of a model file as PyTorch knows them.
fn to_pytorch(arguments: &cli::Export, path: &Path) -> Result<()> {
    try_out(path)?;
    let (architecture, weights) = if arguments.run.is_file() {
        ensure!(
            !arguments.best,
            "--best is of a run, and {} is a file",
            arguments.run.display()
        );
        let file = model::read(&arguments.run)?;
        (file.card.architecture.clone(), file.weights().clone())
    } else {
        let (checkpoint, recipe) = checkpoint(arguments)?;
        let weights = averaged(&recipe, checkpoint.model, checkpoint.ema);
        (recipe.architecture(), weights)
    };
    let bytes = pytorch::write(&architecture, &weights);
    write_atomically(path, &bytes)?;
    say!("{}: {} bytes", path.display(), bytes.len());
    say!("{}", model::described(&architecture));
    Ok(())
}

/// The weights that count: their average where the recipe keeps one.
fn averaged(recipe: &Recipe, model: Weights, ema: Weights) -> Weights {
    match recipe.ema_decay > 0.0 {
        true => ema,
        false => model,
    }
}

/// The checkpoint asked for, and its recipe.
fn checkpoint(arguments: &cli::Export) -> Result<(Checkpoint, Recipe)> {
    let warn = |text| tell!("{text}");
    let checkpoint = if arguments.best {
        let best = Checkpoint::best(&arguments.run, warn)?;
        let iteration = best.progress.iteration;
        match Checkpoint::measured(&arguments.run)? {
            0 => {
                tell!("no checkpoint was validated: the newest is taken, of iteration {iteration}")
            }
            count => {
                tell!("iteration {iteration}, the best of {count} checkpoints that were validated")
            }
        }
        best
    } else {
        Checkpoint::newest(&arguments.run, warn)?
    };
    let recipe = Recipe::kept(&checkpoint.recipe)?;
    Ok((checkpoint, recipe))
}

/// Weights, and what the card says of them.
pub(super) struct Trained {
    pub recipe: Recipe,
    /// The recipe as the card shows it.
    pub text: String,
    pub begun_with: Option<Origin>,
    /// What it was trained on.
    pub hardware: Vec<String>,
    pub weights: Weights,
    pub metrics: BTreeMap<String, f64>,
}

/// Writes a model file.
pub(super) fn write(
    trained: Trained,
    arguments: &cli::ModelFileArgs,
    device: &Device,
) -> Result<()> {
    let Trained {
        recipe,
        text,
        begun_with,
        hardware,
        weights,
        metrics,
    } = trained;
    let images = data::load(
        &recipe.data_set,
        arguments.data.data_dir.as_deref(),
        &MultiProgress::new(),
    )?;
    let classes = recipe.data_set.classes();
    let count = images.train.len();
    let (_, validation) = images.train.clone().hold_out(recipe.validation.min(count));
    let start = class_gaussian(&images.train, classes, arguments.rank as usize, device)?;
    let directions = start.basis.shape[0];
    if directions < arguments.rank as usize {
        tell!(
            "--rank is {}, and the data have no more than {directions} directions: these are kept",
            arguments.rank
        );
    }
    let precision = if arguments.f32 {
        Storage::Single
    } else {
        Storage::Half
    };
    let mut card = ModelCard {
        schema: SCHEMA,
        name: recipe.name.clone(),
        architecture: recipe.architecture(),
        class_names: images.class_names,
        data_set: recipe.data_set.name().into(),
        method: recipe.method.name(),
        recipe: text,
        begun_with,
        averaged: Vec::new(),
        hardware,
        metrics,
        generation: recipe.generation,
        quick: None,
        denoising: recipe.denoising,
        distances: None,
        licence: recipe.licence.clone(),
        author: recipe.author.clone(),
        basin_version: env!("CARGO_PKG_VERSION").into(),
        weights_sha256: String::new(),
    };
    let stored = as_stored(weights, precision)?;
    let by_distance = |of: &SamplerSettings| matches!(of.sampler, Sampler::ByDistance(_));
    if by_distance(&card.generation) || by_distance(&card.denoising) {
        let network = parameters::network(&card.architecture, &stored, device).frozen();
        let measured = distances::measure(&network, &validation, Key::new(recipe.seed), device);
        card.distances = Some(measured);
    }
    finish(card, stored, start, precision, &arguments.output, device)
}

/// Weights as a file of this precision holds them. What half precision makes zero is told.
///
/// # Errors
/// If half precision cannot hold a weight.
pub(super) fn as_stored(mut weights: Weights, storage: Storage) -> Result<Weights> {
    if storage == Storage::Single {
        return Ok(weights);
    }
    let (mut vanished, mut count) = (Vec::new(), 0);
    for (name, array) in &mut weights {
        if keeps_single_precision(name) {
            continue;
        }
        let before = count;
        for value in &mut array.values {
            let half = f16::from_f32(*value);
            ensure!(
                half.is_finite() || !value.is_finite(),
                "tensor `{name}` holds {value}, and half precision ends at {}; keep single precision with --f32",
                f16::MAX
            );
            count += usize::from(half == f16::ZERO && *value != 0.0);
            *value = half.to_f32();
        }
        // A weight in a thousand; fewer are no loss.
        if (count - before) * 1000 > array.values.len() {
            vanished.push(name.as_str());
        }
    }
    if let [first, ..] = vanished[..] {
        tell!(
            "half precision makes {count} weights zero, most of them in {} tensors, of which `{first}` is one; \
             --f32 keeps them",
            vanished.len()
        );
    }
    Ok(weights)
}

/// Writes a model file of its parts, with the probe of its weights, [`as_stored`].
pub(super) fn finish(
    card: ModelCard,
    stored: Weights,
    start: ClassGaussian,
    storage: Storage,
    output: &Path,
    device: &Device,
) -> Result<()> {
    let probe = probe(&card.architecture, &stored, device);
    let bytes = ModelFile::new(card, stored, start, probe)?.write(storage)?;
    ModelFile::read(&bytes).context("the file just made")?;
    write_atomically(output, &bytes)?;
    say!("{}: {} bytes", output.display(), bytes.len());
    Ok(())
}

fn probe(architecture: &Architecture, weights: &Weights, device: &Device) -> Probe {
    let network = parameters::network(architecture, weights, device);
    let (x, objective) = (
        probe_images(architecture),
        Joint {
            classes: (0..PROBE_IMAGES).collect(),
        },
    );
    // By tensors: engines are compared with it.
    let network = Frozen::Tensors(Box::new(network));
    let Evaluation { logits, gradient } = network.evaluate(&x.values, PROBE_IMAGES, &objective);
    let logits = Array {
        shape: vec![PROBE_IMAGES, architecture.classes()],
        values: logits,
    };
    let gradient = Array {
        shape: x.shape,
        values: gradient,
    };
    Probe { logits, gradient }
}
