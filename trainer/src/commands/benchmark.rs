//! `basin benchmark`: what an iteration of recipes costs here, in time and memory.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};
use basin_shared::{Key, models::Activation};
use burn::tensor::Device;
use serde_json::{Value, json};

use crate::{
    cli::{self, NetworkSize},
    data::Images,
    device::DeviceChoice,
    recipe::{ArchitectureRecipe, Recipe, WideResNetRecipe},
    training::run::Run,
};

/// Images to draw batches from: they are made up, so that no data set is needed.
const IMAGES: usize = 1024;

pub(crate) fn run(
    arguments: cli::Benchmark,
    choice: DeviceChoice,
    name: &str,
    device: &Device,
) -> Result<()> {
    let mut sizes: Vec<Option<NetworkSize>> =
        arguments.networks.iter().copied().map(Some).collect();
    if sizes.is_empty() {
        sizes.push(None);
    }
    let measurements = match (arguments.recipes.as_slice(), sizes.as_slice()) {
        (recipes, sizes) if arguments.losses.is_some() => {
            let mut measurements = Vec::new();
            for recipe in recipes {
                for &size in sizes {
                    measurements.push(compare(recipe, size, &arguments, device)?);
                }
            }
            measurements
        }
        ([recipe], [size]) => vec![measure(recipe, *size, &arguments, device)?],
        (recipes, sizes) => {
            let mut measurements = Vec::new();
            for recipe in recipes {
                for &size in sizes {
                    measurements.push(measure_apart(recipe, size, &arguments, choice)?);
                }
            }
            measurements
        }
    };
    let report = json!({"device": name, "measurements": measurements});
    say!("{report:#}");
    Ok(())
}

/// In a process of its own, whose peak of memory is that of this measurement alone.
fn measure_apart(
    recipe: &Path,
    size: Option<NetworkSize>,
    arguments: &cli::Benchmark,
    choice: DeviceChoice,
) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe().context("the program's own path")?);
    command.args(["--device", &choice.to_string(), "benchmark"]);
    command.arg(recipe);
    command.args(["--seconds", &arguments.seconds.to_string()]);
    for assignment in &arguments.overrides {
        command.args(["--set", assignment]);
    }
    let mut what = recipe.display().to_string();
    if let Some(size) = size {
        command.args(["--networks", &size.to_string()]);
        what = format!("{what} on Wide-ResNet {size}");
    }
    tell!("{what}");
    let output = command.output().with_context(|| what.clone())?;
    let told = String::from_utf8_lossy(&output.stderr);
    // Behind the line that names the device.
    let error = told
        .split_once("basin: ")
        .map_or(&*told, |(_, error)| error);
    ensure!(output.status.success(), "{what}: {}", error.trim());
    let mut report: Value = serde_json::from_slice(&output.stdout).context(what)?;
    Ok(report["measurements"][0].take())
}

/// The recipe that is measured.
fn recipe(path: &Path, size: Option<NetworkSize>, overrides: &[String]) -> Result<Recipe> {
    let mut recipe = Recipe::read(path, overrides)?;
    if let Some(NetworkSize { depth, width }) = size {
        recipe.architecture = ArchitectureRecipe::WideResnet(WideResNetRecipe {
            depth,
            width,
            activation: Activation::LeakyRelu,
            normalization: recipe.architecture().normalization().clone(),
        });
        recipe.architecture().check()?;
    }
    Ok(recipe)
}

/// The losses of the first iterations beside those of the processor.
fn compare(
    path: &Path,
    size: Option<NetworkSize>,
    arguments: &cli::Benchmark,
    device: &Device,
) -> Result<Value> {
    let recipe = recipe(path, size, &arguments.overrides)?;
    let iterations = arguments.losses.unwrap_or_default();
    let (processor, _) = DeviceChoice::Cpu.resolve()?;
    let images = made_up_images(&recipe);
    let losses = |device: &Device| -> Result<Vec<f32>> {
        let mut run = Run::init(&recipe, &images, device)?;
        let loss = |_| run.iterate(&recipe, &images, device)[0].1;
        Ok((0..iterations).map(loss).collect())
    };
    let (found, expected) = (losses(device)?, losses(&processor)?);
    let largest = largest_difference(&found, &expected);
    Ok(json!({
        "recipe": path.file_stem().map(|stem| stem.to_string_lossy()),
        "method": recipe.method.name(),
        "network": recipe.architecture().title(),
        "iterations": iterations,
        "losses": found,
        "on_the_processor": expected,
        "largest_difference": largest,
    }))
}

/// Of two rows of numbers, relative to the second where that is above 1; infinite where one is none.
pub(crate) fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    let off = |(a, b): (&f32, &f32)| match (a - b).abs() / b.abs().max(1.0) {
        off if off.is_nan() => f32::INFINITY,
        off => off,
    };
    found.iter().zip(expected).map(off).fold(0.0, f32::max)
}

fn measure(
    path: &Path,
    size: Option<NetworkSize>,
    arguments: &cli::Benchmark,
    device: &Device,
) -> Result<Value> {
    let recipe = recipe(path, size, &arguments.overrides)?;
    let images = made_up_images(&recipe);
    let begun = Instant::now();
    let mut run = Run::init(&recipe, &images, device)?;

    // Threads, memory and compiled kernels are made on the first iteration.
    let (_, kernels) = kernels_of(|| run.iterate(&recipe, &images, device));
    let first = begun.elapsed().as_secs_f64();
    let mut milliseconds = Vec::new();
    let begun = Instant::now();
    while milliseconds.is_empty() || begun.elapsed().as_secs_f32() < arguments.seconds {
        let start = Instant::now();
        run.iterate(&recipe, &images, device);
        milliseconds.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds[milliseconds.len() / 2];
    Ok(json!({
        "recipe": path.file_stem().map(|stem| stem.to_string_lossy()),
        "method": recipe.method.name(),
        "network": recipe.architecture().title(),
        "batch_size": recipe.batch_size,
        "passes": recipe.method.passes(recipe.batch_size),
        "kernels": kernels,
        "seconds_to_the_end_of_the_first_iteration": first,
        "iterations": milliseconds.len(),
        "milliseconds": median,
        "least_milliseconds": milliseconds[0],
        "images_per_second": recipe.batch_size as f64 * 1000.0 / median,
        "peak_memory_mb": peak_memory_mb(),
    }))
}

/// Images of noise, of the shape and the classes of the recipe's data set.
pub(crate) fn made_up_images(recipe: &Recipe) -> Images {
    let shape = recipe.data_set.shape();
    let classes = recipe.data_set.classes();
    let numbers = Key::new(recipe.seed).uniforms(IMAGES * shape.iter().product::<usize>());
    let pixels = numbers.iter().map(|x| (x * 256.0) as u8).collect();
    let labels = (0..IMAGES).map(|image| (image % classes) as u8).collect();
    Images::new(pixels, labels, shape)
}

/// Does the work, and counts the different kernels that it launched on GPUs; none where no GPU was built in.
pub(crate) fn kernels_of<T>(work: impl FnOnce() -> T) -> (T, Option<usize>) {
    #[cfg(feature = "cubecl")]
    {
        let launched = burn::cubecl::launched::LaunchedKernels::new();
        let done = work();
        (done, Some(launched.finish().len()))
    }
    #[cfg(not(feature = "cubecl"))]
    (work(), None)
}

/// Most memory that this process has had, on the host; none where the system does not tell.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}
