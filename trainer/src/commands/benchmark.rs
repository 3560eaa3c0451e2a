//! `basin benchmark`: how long an iteration of a recipe takes here.

use std::time::Instant;

use anyhow::Result;
use basin_shared::Key;
use burn::tensor::Device;
use serde_json::json;

use super::train::Run;
use crate::{cli, data::Images, recipe::Recipe};

/// Images to draw batches from: they are made up, so that no data set is needed.
const IMAGES: usize = 1024;

pub(crate) fn run(arguments: cli::Benchmark, device: &Device) -> Result<()> {
    let recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    let shape = recipe.data_set.shape();
    let classes = recipe.data_set.classes();
    let numbers = Key::new(recipe.seed).uniforms(IMAGES * shape.iter().product::<usize>());
    let pixels = numbers.iter().map(|x| (x * 256.0) as u8).collect();
    let labels = (0..IMAGES).map(|image| (image % classes) as u8).collect();
    let images = Images::new(pixels, labels, shape);
    let mut run = Run::init(&recipe, &images, device)?;

    // Threads, memory and compiled kernels are made on the first iteration.
    run.iterate(&recipe, &images, device);
    let mut milliseconds = Vec::new();
    let begun = Instant::now();
    while milliseconds.len() < 3 || begun.elapsed().as_secs_f64() < arguments.seconds {
        let start = Instant::now();
        run.iterate(&recipe, &images, device);
        milliseconds.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds[milliseconds.len() / 2];
    let report = json!({
        "method": recipe.method.name(),
        "network": recipe.architecture().title(),
        "batch_size": recipe.batch_size,
        "iterations": milliseconds.len(),
        "milliseconds": median,
        "least_milliseconds": milliseconds[0],
        "images_per_second": recipe.batch_size as f64 * 1000.0 / median,
    });
    println!("{report:#}");
    Ok(())
}
