//! Model files on disk, and what every command does with a model.

use std::path::Path;

use anyhow::{Context, Result};
use basin_shared::{
    Classifier, Key, ModelFile,
    attacks::{Budget, Pgd, pgd},
    model_card::{Architecture, SamplerSettings},
    models::WideResNetConfig,
    samplers::{Chain, ClassGaussian, Start, StepInfo},
};
use burn::tensor::{Device, Int, Tensor, TensorData};

use indicatif::MultiProgress;

use crate::{
    cli::{DataArgs, SamplerArgs},
    data::{self, DataSet, Images, Splits},
    picture::Grid,
};

/// Images in one pass, where nothing else asks for a number.
pub(crate) const BATCH: usize = 100;

/// Reads a model file; its path is in the error.
pub(crate) fn read(path: &Path) -> Result<ModelFile> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    ModelFile::read(&bytes).with_context(|| path.display().to_string())
}

/// The data set that a model was trained on.
pub(crate) fn data(file: &ModelFile, arguments: &DataArgs) -> Result<Splits> {
    let name = serde_json::Value::String(file.card.data_set.clone());
    let data_set: DataSet = serde_json::from_value(name).context("the model card's data set")?;
    Ok(data::load(
        data_set,
        arguments.data_dir.as_deref(),
        &MultiProgress::new(),
    )?)
}

/// The network's numbers.
pub(crate) fn config(file: &ModelFile) -> &WideResNetConfig {
    let Architecture::WideResnet(config) = &file.card.architecture;
    config
}

/// The card's settings with what was typed in their place.
pub(crate) fn settings(card: &SamplerSettings, typed: &SamplerArgs) -> Result<SamplerSettings> {
    let mut settings = card.clone();
    settings.steps = typed.steps.unwrap_or(settings.steps);
    let sampler = &mut settings.sampler;
    sampler.step_size = typed.step_size.unwrap_or(sampler.step_size);
    sampler.noise_std = typed.noise_std.unwrap_or(sampler.noise_std);
    sampler.friction = typed.friction.unwrap_or(sampler.friction);
    match settings.fault() {
        Some(fault) => anyhow::bail!("sampler: {fault}"),
        None => Ok(settings),
    }
}

/// `y` as a tensor.
pub(crate) fn labels(y: &[u8], device: &Device) -> Tensor<1, Int> {
    let y: Vec<i64> = y.iter().map(|&label| label.into()).collect();
    Tensor::from_data(y.as_slice(), device)
}

/// Starts of chains for the classes `y`.
pub(crate) fn start(
    start: Start,
    gaussian: &ClassGaussian,
    y: &[u8],
    key: Key,
    device: &Device,
) -> Tensor<4> {
    let [channels, height, width] = gaussian.mean.shape[1..] else {
        unreachable!("a model file is read with means of images")
    };
    let shape = [y.len(), channels, height, width];
    match start {
        Start::ClassGaussian => {
            let classes: Vec<usize> = y.iter().map(|&class| class.into()).collect();
            let images = gaussian.sample(key, &classes);
            Tensor::from_data(TensorData::new(images, shape), device)
        }
        Start::Uniform => key.uniform(shape, device),
    }
}

/// Runs chains as the settings say; `observe` sees every step.
pub(crate) fn run_chains(
    model: &impl Classifier,
    settings: &SamplerSettings,
    y: Tensor<1, Int>,
    x: Tensor<4>,
    key: Key,
    mut observe: impl FnMut(&StepInfo),
) -> Tensor<4> {
    let energy = settings.energy.of(y);
    let mut chain = Chain::init(x);
    for _ in 0..settings.steps {
        let (next, info) = settings.sampler.step(key, model, &energy, chain);
        observe(&info);
        chain = next;
    }
    chain.x
}

/// Writes images as a PNG, `columns` in a row, each pixel shown as a square.
pub(crate) fn write_grid(path: &Path, x: Tensor<4>, columns: usize) -> Result<()> {
    let [_, channels, height, width] = x.dims();
    let values: Vec<f32> = x.into_data().iter().collect();
    let grid = Grid {
        columns,
        scale: 3,
        gap: 2,
    };
    Ok(grid.write(path, &values, [channels, height, width])?)
}

/// The first `count` images, or all where there are fewer.
pub(crate) fn head(images: &Images, count: usize) -> Images {
    images
        .clone()
        .hold_out(images.len().saturating_sub(count))
        .0
}

/// The classes that a model gives to images.
pub(crate) fn predictions(model: &impl Classifier, x: Tensor<4>) -> Vec<u8> {
    model
        .logits(x)
        .argmax(1)
        .into_data()
        .iter::<i64>()
        .map(|class| class as u8)
        .collect()
}

/// Share of images that the model classifies rightly.
pub(crate) fn clean_accuracy(model: &impl Classifier, images: &Images, device: &Device) -> f64 {
    accuracy(images, device, |x, _, _| predictions(model, x))
}

/// Share of the first `count` images that the model classifies rightly under PGD.
pub(crate) fn robust_accuracy(
    model: &impl Classifier,
    images: &Images,
    count: usize,
    budget: Budget,
    attack: Pgd,
    key: Key,
    device: &Device,
) -> f64 {
    let images = head(images, count);
    accuracy(&images, device, |x, y, batch| {
        let x_adv = pgd(
            model,
            x.clone(),
            y,
            budget,
            attack,
            key.fold_in(batch as u64),
        );
        // Judged outside the attack: what left the ball would not count as an attack.
        let size = (x_adv.clone() - x).abs().max().into_scalar::<f32>();
        assert!(size <= budget.epsilon * 1.0001, "PGD left its ball: {size}");
        predictions(model, x_adv)
    })
}

fn accuracy(
    images: &Images,
    device: &Device,
    mut classify: impl FnMut(Tensor<4>, Tensor<1, Int>, usize) -> Vec<u8>,
) -> f64 {
    let order: Vec<usize> = (0..images.len()).collect();
    let mut right = 0;
    for (batch, indices) in order.chunks(BATCH).enumerate() {
        let (x, y) = images.batch(indices, device);
        let classes = classify(x, y, batch);
        right += classes
            .iter()
            .zip(indices)
            .filter(|&(c, &i)| *c == images.labels()[i])
            .count();
    }
    right as f64 / images.len() as f64
}
