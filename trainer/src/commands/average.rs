//! `basin average`: the mean of several models' weights (model soups, Wortsman et al. 2022).
//!
//! Runs that went on from common weights end in one basin of the loss, and the mean of their ends lies
//! further inside it. Energies of the mean are smoother than those of each.

use anyhow::{Result, ensure};
use basin_shared::{
    ModelFile,
    arrays::{Array, Weights},
    file::{card::Origin, container::Storage},
};
use burn::tensor::Device;

use super::export;
use crate::{atomic_file::try_out, cli, model};

pub(crate) fn run(arguments: cli::Average, device: &Device) -> Result<()> {
    try_out(&arguments.output)?;
    let mut files = vec![model::read(&arguments.models[0])?];
    for path in &arguments.models[1..] {
        let other = model::read(path)?;
        let (found, expected) = (&other.card.architecture, &files[0].card.architecture);
        ensure!(
            found == expected,
            "{}: the network is {}, expected the first file's {}",
            path.display(),
            model::described(found),
            model::described(expected)
        );
        model::check_classes(path, &other, &files[0])?;
        files.push(other);
    }
    let first = &files[0];
    ensure!(
        !first.card.architecture.has_batch_norm(),
        "{}: the network has BatchNorm, whose statistics of a mean are not the mean of the statistics",
        arguments.models[0].display()
    );
    let mut card = first.card.clone();
    // What was measured of the first is not true of the mean, but for what it cost.
    card.metrics.retain(|name, _| name.starts_with("training_"));
    if card.distances.is_some() {
        tell!(
            "the table of distances is the first file's; `basin tune-sampler` measures that of the mean"
        );
    }
    let named = files.iter().zip(&arguments.models);
    card.averaged = named
        .map(|(file, path)| Origin {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            weights_sha256: file.card.weights_sha256.clone(),
        })
        .collect();
    for hardware in files.iter().flat_map(|file| &file.card.hardware) {
        if !card.hardware.contains(hardware) {
            card.hardware.push(hardware.clone());
        }
    }
    let precision = if first.holds_single_precision() {
        Storage::Single
    } else {
        Storage::Half
    };
    let weights = mean(&files.iter().map(ModelFile::weights).collect::<Vec<_>>());
    let start = first.class_gaussian().clone();
    let weights = export::as_stored(weights, precision)?;
    export::finish(card, weights, start, precision, &arguments.output, device)
}

/// The mean of weights with the same names and shapes.
fn mean(weights: &[&Weights]) -> Weights {
    let of = |name: &str, array: &Array| Array {
        shape: array.shape.clone(),
        values: (0..array.values.len())
            .map(|i| {
                let sum: f64 = weights.iter().map(|w| f64::from(w[name].values[i])).sum();
                (sum / weights.len() as f64) as f32
            })
            .collect(),
    };
    let names = weights[0].iter();
    names
        .map(|(name, array)| (name.clone(), of(name, array)))
        .collect()
}
