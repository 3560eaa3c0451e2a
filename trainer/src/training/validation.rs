//! How a run is doing, by images that it does not train on.

use std::path::Path;

use anyhow::Result;
use basin_shared::{Key, attacks::Pgd, samplers::Sampler, tensors::Network};
use burn::tensor::Device;
use serde_json::json;

use crate::{
    chains,
    data::{self, Images},
    evaluation::{
        accuracy::{self, Adversary},
        distances,
    },
    figures::picture,
    recipe::Recipe,
};

/// Validation images attacked at each measurement.
const ATTACKED: usize = 500;
/// Validation images off which samples learn how far away the data are.
const MEASURED: usize = 200;

/// Accuracies of the averaged model on held-out training images.
pub(crate) fn validate(
    ema: &Network,
    recipe: &Recipe,
    validation: &Images,
    device: &Device,
) -> serde_json::Value {
    let ema = &ema.frozen();
    let mut measured = json!({"clean_accuracy": accuracy::clean_accuracy(ema, validation, device)});
    if let Some(budget) = recipe.method.budget() {
        let adversary = Adversary {
            budget,
            pgd: Pgd {
                steps: 10,
                step_size: budget.epsilon / 4.0,
            },
            key: Key::new(recipe.seed).stream("validation"),
        };
        let attacked: Vec<usize> = (0..ATTACKED.min(validation.len())).collect();
        let robust = accuracy::survivors(ema, ema, validation, &attacked, adversary, device);
        measured["robust_accuracy"] = json!(robust.len() as f64 / attacked.len() as f64);
    }
    measured
}

/// Writes a sheet of samples of the averaged model.
pub(crate) fn draw_samples(
    ema: &Network,
    recipe: &Recipe,
    validation: &Images,
    path: &Path,
    device: &Device,
) -> Result<()> {
    let classes = recipe.data_set.classes();
    let y: Vec<u8> = (0..classes).flat_map(|class| [class as u8; 4]).collect();
    let [channels, height, width] = recipe.data_set.shape();
    let key = Key::new(recipe.seed).stream("samples");
    let x = key
        .stream("starts")
        .uniform([4 * classes, channels, height, width], device);
    let settings = &recipe.generation;
    let network = ema.frozen();
    let distances = matches!(settings.sampler, Sampler::ByDistance(_)).then(|| {
        let some = data::head(validation, MEASURED);
        distances::measure(&network, &some, key.stream("distances"), device)
    });
    let distances = distances.as_ref();
    let x = chains::run_chains(
        &network,
        settings,
        distances,
        &y,
        x,
        key.stream("chains"),
        |_| {},
    );
    Ok(picture::write_grid(path, x, 4)?)
}
