//! Model files on disk: read, written, and what they say of their data and their samplers.

use std::path::Path;

use anyhow::{Context, Result};
use basin_shared::{
    ModelFile,
    file::container::Storage,
    models::Architecture,
    samplers::{Sampler, SamplerSettings},
};
use indicatif::MultiProgress;

use crate::{
    atomic_file::write_atomically,
    cli::{DataArgs, SamplerArgs},
    data::{self, DataSet, Images, Splits},
};

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
    let bytes = file.write(if half { Storage::Half } else { Storage::Single })?;
    // What could not be read again replaces nothing.
    ModelFile::read(&bytes).context("the file just made")?;
    Ok(write_atomically(path, &bytes)?)
}

/// What matters here of a card's recipe, which may be one of an earlier version.
#[derive(serde::Deserialize)]
struct CardRecipe {
    data_set: DataSet,
    validation: usize,
}

/// A network in words, with its numbers.
pub(crate) fn described(architecture: &Architecture) -> String {
    let numbers = serde_json::to_string(architecture).expect("plain data");
    format!("{} {numbers}", architecture.title())
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
    let mut settings = *card;
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
