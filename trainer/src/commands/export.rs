//! `basin export`: a run's newest or best checkpoint to a model file.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
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
use indicatif::MultiProgress;

use crate::{
    atomic_file::{try_out, write_atomically},
    cli, data,
    evaluation::distances,
    recipe::Recipe,
    training::{checkpoint::Checkpoint, class_gaussian::class_gaussian},
};

pub(crate) fn run(arguments: cli::Export, device: &Device) -> Result<()> {
    try_out(&arguments.file.output)?;
    let warn = |text| tell!("{text}");
    let checkpoint = if arguments.best {
        Checkpoint::best(&arguments.run, warn)?
    } else {
        Checkpoint::newest(&arguments.run, warn)?
    };
    let recipe = Recipe::kept(&checkpoint.recipe)?;
    let weights = if recipe.ema_decay > 0.0 {
        checkpoint.ema
    } else {
        checkpoint.model
    };
    let progress = checkpoint.progress;
    let metrics = BTreeMap::from([
        ("training_iterations".into(), progress.iteration as f64),
        ("training_seconds".into(), progress.seconds),
        ("training_roll_backs".into(), progress.roll_backs as f64),
    ]);
    let trained = Trained {
        recipe,
        text: checkpoint.recipe,
        begun_with: checkpoint.begun_with,
        hardware: progress.hardware,
        weights,
        metrics,
    };
    write(trained, &arguments.file, device)
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
    let stored = as_stored(weights, precision);
    let by_distance = |of: &SamplerSettings| matches!(of.sampler, Sampler::ByDistance(_));
    if by_distance(&card.generation) || by_distance(&card.denoising) {
        let network = parameters::network(&card.architecture, &stored, device).frozen();
        let measured = distances::measure(&network, &validation, Key::new(recipe.seed), device);
        card.distances = Some(measured);
    }
    finish(card, stored, start, precision, &arguments.output, device)
}

/// Weights as a file of this precision holds them.
pub(super) fn as_stored(weights: Weights, storage: Storage) -> Weights {
    match storage {
        Storage::Half => rounded(weights),
        Storage::Single => weights,
    }
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

/// The weights as half precision holds them: the probe must belong to what is stored.
fn rounded(weights: Weights) -> Weights {
    let round = |value: f32| half::f16::from_f32(value).to_f32();
    let array = |Array { shape, values }| Array {
        shape,
        values: values.into_iter().map(round).collect(),
    };
    weights
        .into_iter()
        .map(|(name, weight)| match keeps_single_precision(&name) {
            true => (name, weight),
            false => (name, array(weight)),
        })
        .collect()
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
