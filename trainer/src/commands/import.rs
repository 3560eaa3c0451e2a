//! `basin import`: weights that were trained with PyTorch to a model file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::tensor::Device;

use super::export::{self, Trained};
use crate::{atomic_file::try_out, cli, pytorch::StateDictionary, recipe::Recipe};

pub(crate) fn run(arguments: cli::Import, device: &Device) -> Result<()> {
    try_out(&arguments.file.output)?;
    let mut recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    let path = &arguments.weights;
    let read = std::fs::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(StateDictionary::read(&bytes, &recipe.architecture())?))
        .with_context(|| path.display().to_string())?;
    let (normalization, said) = read.normalization(recipe.architecture().normalization());
    say!("{said}");
    *recipe.architecture.normalization_mut() = normalization;
    recipe.architecture().check()?;
    let imported = Trained {
        text: recipe.to_toml(),
        recipe,
        begun_with: None,
        hardware: Vec::new(),
        weights: read.weights,
        metrics: BTreeMap::new(),
    };
    export::write(imported, &arguments.file, device)
}
