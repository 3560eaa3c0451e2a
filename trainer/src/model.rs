//! Model files on disk, and what every command does with a model.

use std::path::Path;

use anyhow::{Context, Result};
use basin_shared::{
    Classifier, Key, ModelFile,
    attacks::{Attack, Budget, Pgd},
    energy::{Conditional, EnergyKind},
    file::container::Precision,
    samplers::{ClassGaussian, Distances, HostChain, Sampler, SamplerSettings, Start, Step},
    tensors::{OnTensors, from_host, to_host},
};
use burn::tensor::{Device, Int, Tensor, TensorData};

use indicatif::MultiProgress;

use crate::{
    checkpoint::write_atomically,
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

/// Reads the model file of another model of the same classes.
pub(crate) fn of_same_classes(path: &Path, file: &ModelFile) -> Result<ModelFile> {
    let other = read(path)?;
    check_classes(path, &other, file)?;
    Ok(other)
}

/// Whether another file's model, read from `path`, knows the same classes.
pub(crate) fn check_classes(path: &Path, other: &ModelFile, file: &ModelFile) -> Result<()> {
    let (found, expected) = (&other.card.class_names, &file.card.class_names);
    anyhow::ensure!(
        found == expected,
        "{}: knows the classes {}, expected {}",
        path.display(),
        found.join(", "),
        expected.join(", ")
    );
    Ok(())
}

/// Writes a model file back, in the precision in which its weights are.
pub(crate) fn write(path: &Path, file: &ModelFile) -> Result<()> {
    let half = !file.holds_single_precision();
    let bytes = file.write(if half { Precision::F16 } else { Precision::F32 })?;
    Ok(write_atomically(path, &bytes)?)
}

/// What matters here of a card's recipe, which may be one of an earlier version.
#[derive(serde::Deserialize)]
struct CardRecipe {
    data_set: DataSet,
    validation: usize,
}

/// The data set that a model was trained on.
pub(crate) fn data(file: &ModelFile, arguments: &DataArgs) -> Result<Splits> {
    Ok(data_and_validation(file, arguments)?.0)
}

/// The same, and the training images that were held out for validation.
pub(crate) fn data_and_validation(
    file: &ModelFile,
    arguments: &DataArgs,
) -> Result<(Splits, Images)> {
    let recipe: CardRecipe =
        toml::from_str(&file.card.recipe).context("the model card's recipe")?;
    let splits = data::load(
        &recipe.data_set,
        arguments.data_dir.as_deref(),
        &MultiProgress::new(),
    )?;
    anyhow::ensure!(
        splits.class_names == file.card.class_names,
        "the data set has the classes {}, the model has {}",
        splits.class_names.join(", "),
        file.card.class_names.join(", ")
    );
    let count = splits.train.len();
    let (_, validation) = splits.train.clone().hold_out(recipe.validation.min(count));
    Ok((splits, validation))
}

/// The card's settings with what was typed in their place.
pub(crate) fn settings(card: &SamplerSettings, typed: &SamplerArgs) -> Result<SamplerSettings> {
    let mut settings = card.clone();
    settings.steps = typed.steps.unwrap_or(settings.steps);
    let sgld = [typed.step_size, typed.noise_std, typed.friction];
    let by_distance = [typed.h, typed.beta];
    match &mut settings.sampler {
        Sampler::Sgld(sampler) => {
            anyhow::ensure!(
                by_distance == [None; 2] && typed.last_steps.is_none(),
                "--h, --beta and --last-steps are of steps by distance, the model's sampler is Langevin \
                 dynamics; expected --step-size, --noise-std or --friction"
            );
            sampler.step_size = typed.step_size.unwrap_or(sampler.step_size);
            sampler.noise_std = typed.noise_std.unwrap_or(sampler.noise_std);
            sampler.friction = typed.friction.unwrap_or(sampler.friction);
        }
        Sampler::ByDistance(sampler) => {
            anyhow::ensure!(
                sgld == [None; 3],
                "--step-size, --noise-std and --friction are of Langevin dynamics, the model's sampler goes \
                 by distance; expected --h, --beta or --last-steps"
            );
            sampler.h = typed.h.unwrap_or(sampler.h);
            sampler.beta = typed.beta.unwrap_or(sampler.beta);
            sampler.last_steps = typed.last_steps.unwrap_or(sampler.last_steps);
        }
    }
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

/// Starts of chains for the classes `y`, images of so many channels, rows and columns; on the host.
///
/// # Panics
/// If class Gaussians are asked for and not given.
pub(crate) fn starts(
    start: Start,
    gaussian: Option<&ClassGaussian>,
    shape: [usize; 3],
    y: &[u8],
    key: Key,
) -> Vec<f32> {
    match start.spread() {
        Some(spread) => {
            let gaussian = gaussian.expect("whoever starts chains there has the class Gaussians");
            let classes: Vec<usize> = y.iter().map(|&class| class.into()).collect();
            gaussian.sample(key, &classes, spread)
        }
        None => key.uniforms(y.len() * shape.iter().product::<usize>()),
    }
}

/// The same as a tensor, `[classes, channels, height, width]`.
pub(crate) fn start(
    start: Start,
    gaussian: Option<&ClassGaussian>,
    shape: [usize; 3],
    y: &[u8],
    key: Key,
    device: &Device,
) -> Tensor<4> {
    let [channels, height, width] = shape;
    let images = starts(start, gaussian, shape, y, key);
    let data = TensorData::new(images, [y.len(), channels, height, width]);
    Tensor::from_data(data, device)
}

/// The step of chains by these settings, which a card recommends or might.
///
/// # Panics
/// If it goes by distance and there is no table: a file that recommends it has one.
pub(crate) fn walk(settings: &SamplerSettings, distances: Option<&Distances>) -> Step {
    let walk = settings.walk(distances);
    walk.expect("who goes by distance has a table")
}

/// Chains on their way: the settings' energy, the classes `y`, the images `x`.
pub(crate) fn chains(
    walk: Step,
    energy: EnergyKind,
    y: &[u8],
    x: &Tensor<4>,
    key: Key,
) -> HostChain {
    let x = to_host(x.clone());
    HostChain {
        walk,
        key,
        energy,
        classes: y.iter().map(|&class| class.into()).collect(),
        velocity: vec![0.0; x.len()],
        x,
        step: 0,
    }
}

/// Has chains take their next steps, on the device for the network and here for the rest; `observe` is told
/// the energies before each. Returns where they are, `[batch, channels, height, width]`.
pub(crate) fn advance(
    model: &impl Classifier,
    dynamics: &mut HostChain,
    [channels, height, width]: [usize; 3],
    steps: usize,
    device: &Device,
    mut observe: impl FnMut(Vec<f32>),
) -> Tensor<4> {
    let batch = dynamics.classes.len();
    let objective = dynamics.objective();
    let mut frame = dynamics.frame();
    for _ in 0..steps {
        let evaluation = model.evaluate(&dynamics.x, batch, &*objective);
        observe(dynamics.energies(&evaluation.logits));
        dynamics.step(evaluation, &mut frame);
        frame.logits.clear();
    }
    let shape = [batch, channels, height, width];
    from_host(dynamics.x.clone(), shape, device)
}

/// Runs chains as the settings say; `observe` is told the energies before each step.
pub(crate) fn run_chains(
    model: &impl Classifier,
    settings: &SamplerSettings,
    distances: Option<&Distances>,
    y: &[u8],
    x: Tensor<4>,
    key: Key,
    observe: impl FnMut(Vec<f32>),
) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let walk = walk(settings, distances);
    let mut dynamics = chains(walk, settings.energy, y, &x, key);
    let shape = [channels, height, width];
    advance(
        model,
        &mut dynamics,
        shape,
        settings.steps,
        &x.device(),
        observe,
    )
}

/// x + std · N(0, I), clamped to [0, 1].
pub(crate) fn add_noise(x: Tensor<4>, std: f32, key: Key) -> Tensor<4> {
    (x.clone() + key.normal(x.dims(), &x.device()) * std).clamp(0.0, 1.0)
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
        .logits_of(x)
        .argmax(1)
        .into_data()
        .iter::<i64>()
        .map(|class| class as u8)
        .collect()
}

/// Share of images that the model classifies rightly.
pub(crate) fn clean_accuracy(model: &impl Classifier, images: &Images, device: &Device) -> f64 {
    let order: Vec<usize> = (0..images.len()).collect();
    let right = order.chunks(BATCH).map(|indices| {
        let classes = predictions(model, images.batch(indices, device).0);
        let pairs = classes.iter().zip(indices);
        pairs
            .filter(|&(&class, &i)| class == images.labels()[i])
            .count()
    });
    right.sum::<usize>() as f64 / images.len() as f64
}

/// PGD, what it may change, and its random starts.
#[derive(Clone, Copy)]
pub(crate) struct Adversary {
    pub budget: Budget,
    pub pgd: Pgd,
    pub key: Key,
}

/// Those of `indices` that the model classifies rightly before and after PGD on the attacker: where it
/// errs already, nothing needs to be changed.
pub(crate) fn survivors(
    model: &impl Classifier,
    attacker: &impl Classifier,
    images: &Images,
    indices: &[usize],
    adversary: Adversary,
    device: &Device,
) -> Vec<usize> {
    let Adversary {
        budget,
        pgd: settings,
        key,
    } = adversary;
    let right = |indices: &[usize], x| {
        let classes = predictions(model, x);
        let pairs = classes.into_iter().zip(indices);
        let kept = pairs.filter(|&(class, &i)| class == images.labels()[i]);
        kept.map(|(_, &i)| i).collect::<Vec<_>>()
    };
    let chunks = indices.chunks(BATCH);
    let clean: Vec<usize> = chunks
        .flat_map(|indices| right(indices, images.batch(indices, device).0))
        .collect();
    let attacked = clean
        .chunks(BATCH)
        .enumerate()
        .flat_map(|(batch, indices)| {
            let x = images.batch(indices, device).0;
            let (shape, x) = (x.dims(), to_host(x));
            let labels = indices.iter().map(|&i| images.labels()[i].into());
            let objective = Conditional {
                classes: labels.collect(),
            };
            let attack = Attack::pgd(budget, &objective, settings);
            let x_adv = attack.run(attacker, &x, indices.len(), key.fold_in(batch as u64));
            // Judged outside the attack: what left the ball would not count as an attack.
            let spent = budget.spent(&x_adv, &x, indices.len());
            let most = spent.into_iter().fold(0.0, f32::max);
            assert!(most <= 1.0001, "PGD left its ball: {most} of its radius");
            right(indices, from_host(x_adv, shape, device))
        });
    attacked.collect()
}
