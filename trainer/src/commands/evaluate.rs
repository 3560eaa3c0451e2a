//! `basin evaluate`: what a model can do, measured on the test set.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use basin_shared::{
    Classifier, Key, ModelFile,
    attacks::{Budget, Pgd},
    energy,
    model_file::Precision,
    models::Frozen,
    samplers::Start,
};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::denoise::{add_noise, mean_psnr};
use crate::{
    checkpoint::write_atomically,
    cli,
    data::Images,
    metrics::{mean, mean_pairwise_distance, share_below},
    model::{self, BATCH},
};

/// Standard deviation of the noise that denoising starts from.
const NOISE_STD: f32 = 0.3;
/// Test images that are denoised.
const DENOISED: usize = 500;
/// Mean and standard deviation of the Gaussian noise whose energy is compared, clamped to [0, 1].
const GAUSSIAN_NOISE: (f32, f32) = (0.5, 0.25);

/// Figures by name, in the order of their names.
type Figures = BTreeMap<String, f64>;

pub(crate) fn run(arguments: cli::Evaluate, device: &Device) -> Result<()> {
    let mut file = model::read(&arguments.model)?;
    let images = model::data(&file, &arguments.data)?;
    let network = file.model(device).frozen();
    let key = Key::new(arguments.seed);
    let mut figures = Figures::new();
    let mut add = |name: &str, value: f64| {
        eprintln!("{name} {value:.4}");
        figures.insert(name.into(), value);
    };

    add(
        "clean_accuracy",
        model::clean_accuracy(&network, &images.test, device),
    );
    let budget = Budget::linf(arguments.epsilon);
    let attack = Pgd {
        steps: 20,
        step_size: arguments.epsilon / 4.0,
    };
    let attacked = arguments.attacked.min(images.test.len());
    let [
        attack_key,
        noise_key,
        denoise_key,
        uniform_key,
        gaussian_key,
    ] = key.split();
    let robust = model::robust_accuracy(
        &network,
        &images.test,
        attacked,
        budget,
        attack,
        attack_key,
        device,
    );
    add(
        &format!("pgd_20_accuracy_linf_{}", arguments.epsilon),
        robust,
    );
    add("pgd_20_images", attacked as f64);
    energies(&network, &images.test, noise_key, device, &mut add);
    denoising(&file, &network, &images.test, denoise_key, device, &mut add);

    let judge = arguments.judge.as_deref().map(model::read).transpose()?;
    if let Some(judge) = &judge {
        ensure!(
            judge.card.class_names == file.card.class_names,
            "the judge knows other classes than the model: {:?}",
            judge.card.class_names
        );
    }
    let judge = judge.map(|judge| judge.model(device).frozen());
    if let Some(judge) = &judge {
        add(
            "judge_clean_accuracy",
            model::clean_accuracy(judge, &images.test, device),
        );
    }
    let real = class_distance(
        &images.test,
        arguments.generated,
        file.card.class_names.len(),
    );
    for (start, name, key) in [
        (Start::Uniform, "uniform", uniform_key),
        (Start::ClassGaussian, "class_gaussian", gaussian_key),
    ] {
        let count = arguments.generated;
        generation(
            &file,
            &network,
            judge.as_ref(),
            start,
            count,
            real,
            key,
            device,
            &mut |n, v| {
                add(&format!("{n}_{name}"), v);
            },
        );
    }

    report(&figures, &file, arguments.json.as_deref())?;
    if arguments.update_card {
        file.card.metrics.extend(figures);
        let half = !file.holds_single_precision();
        let bytes = file.write(if half { Precision::F16 } else { Precision::F32 })?;
        write_atomically(&arguments.model, &bytes)?;
    }
    Ok(())
}

/// E(x) of test images, of uniform and of Gaussian noise.
fn energies(
    network: &Frozen,
    test: &Images,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) {
    let [channels, height, width] = test.shape();
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    let order: Vec<usize> = (0..test.len()).collect();
    for (batch, indices) in order.chunks(BATCH).enumerate() {
        let [uniform_key, gaussian_key] = key.fold_in(batch as u64).split();
        let shape = [indices.len(), channels, height, width];
        let (centre, std) = GAUSSIAN_NOISE;
        let gaussian = (gaussian_key.normal(shape, device) * std + centre).clamp(0.0, 1.0);
        let kinds = [
            test.batch(indices, device).0,
            uniform_key.uniform(shape, device),
            gaussian,
        ];
        for (found, x) in found.iter_mut().zip(kinds) {
            found.extend(
                energy::marginal(network.logits(x))
                    .into_data()
                    .iter::<f32>(),
            );
        }
    }
    let [real, uniform, gaussian] = found;
    add("energy_test", mean(&real));
    add("energy_uniform_noise", mean(&uniform));
    add("energy_gaussian_noise", mean(&gaussian));
    add(
        "energy_test_below_uniform_noise",
        share_below(&real, &uniform),
    );
    add(
        "energy_test_below_gaussian_noise",
        share_below(&real, &gaussian),
    );
}

/// PSNR of noised test images before and after the card's denoising.
fn denoising(
    file: &ModelFile,
    network: &Frozen,
    test: &Images,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) {
    let test = model::head(test, DENOISED);
    let order: Vec<usize> = (0..test.len()).collect();
    let (mut before, mut after) = (0.0, 0.0);
    for (batch, indices) in order.chunks(BATCH).enumerate() {
        let [noise_key, chain_key] = key.fold_in(batch as u64).split();
        let clean = test.batch(indices, device).0;
        let noisy = add_noise(clean.clone(), NOISE_STD, noise_key);
        // The class, where the settings want one, is what the model sees in the noisy image.
        let y = model::labels(&model::predictions(network, noisy.clone()), device);
        let denoised = model::run_chains(
            network,
            &file.card.denoising,
            y,
            noisy.clone(),
            chain_key,
            |_| {},
        );
        let share = indices.len() as f64 / test.len() as f64;
        before += share * mean_psnr(&noisy, &clean);
        after += share * mean_psnr(&denoised, &clean);
    }
    add("denoising_psnr_noisy", before);
    add("denoising_psnr_denoised", after);
    add("denoising_psnr_gain", after - before);
}

/// The judge's verdict on `count` images of each class and on their starts, and their diversity
/// against real images'.
#[expect(
    clippy::too_many_arguments,
    reason = "one caller, all of them plain inputs"
)]
fn generation(
    file: &ModelFile,
    network: &Frozen,
    judge: Option<&Frozen>,
    start: Start,
    count: usize,
    real_distance: f64,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) {
    let classes = file.card.class_names.len();
    let gaussian = Some(file.class_gaussian());
    let shape = file.card.architecture.image();
    let (mut starts_right, mut right, mut distance) = (0, 0, 0.0);
    for class in 0..classes {
        let [start_key, chain_key] = key.fold_in(class as u64).split();
        let labels = vec![class as u8; count];
        let y = model::labels(&labels, device);
        let starts = model::start(start, gaussian, shape, &labels, start_key, device);
        let settings = &file.card.generation;
        let x = model::run_chains(network, settings, y, starts.clone(), chain_key, |_| {});
        if let Some(judge) = judge {
            let named = |x: Tensor<4>| {
                let named = model::predictions(judge, x);
                named
                    .iter()
                    .zip(&labels)
                    .filter(|(named, meant)| named == meant)
                    .count()
            };
            starts_right += named(starts);
            right += named(x.clone());
        }
        let [_, channels, height, width] = x.dims();
        let pixels: Vec<f32> = x.into_data().iter().collect();
        distance += mean_pairwise_distance(&pixels, channels * height * width) / classes as f64;
    }
    if judge.is_some() {
        let total = (count * classes) as f64;
        add("judge_agrees_on_starts", starts_right as f64 / total);
        add("judge_agrees", right as f64 / total);
    }
    add("diversity", distance / real_distance);
}

/// Mean pairwise distance within a class of real images, `count` of each.
fn class_distance(test: &Images, count: usize, classes: usize) -> f64 {
    let size: usize = test.shape().iter().product();
    let distance = |class: usize| {
        let members = (0..test.len())
            .filter(|&i| test.labels()[i] as usize == class)
            .take(count);
        let pixels: Vec<f32> = members
            .flat_map(|i| test.pixels(i))
            .map(|&byte| byte as f32 / 255.0)
            .collect();
        mean_pairwise_distance(&pixels, size)
    };
    (0..classes).map(distance).sum::<f64>() / classes as f64
}

fn report(figures: &Figures, file: &ModelFile, json: Option<&Path>) -> Result<()> {
    let to_stdout = json == Some(Path::new("-"));
    if !to_stdout {
        println!(
            "{} ({}, {})",
            file.card.name, file.card.method, file.card.data_set
        );
        for (name, value) in figures {
            println!("  {name:<36} {value:>10.4}");
        }
    }
    let Some(path) = json else { return Ok(()) };
    let text = json!({"model": file.card.name, "figures": figures}).to_string();
    if to_stdout {
        println!("{text}");
        return Ok(());
    }
    write_atomically(path, text.as_bytes()).context("--json")
}
