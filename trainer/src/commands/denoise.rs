//! `basin denoise`: descent of the energy from a noisy picture.

use anyhow::Result;
use basin_shared::Key;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;

use crate::{checkpoint::write_atomically, cli, metrics, model, picture};

pub(crate) fn run(arguments: cli::Denoise, device: &Device) -> Result<()> {
    let file = model::read(&arguments.model)?;
    let settings = model::settings(&file.card.denoising, &arguments.sampler)?;
    let clean = if arguments.images.is_empty() {
        let images = model::data(&file, &arguments.data)?;
        let all: Vec<usize> = (0..arguments.count.min(images.test.len())).collect();
        images.test.batch(&all, device).0
    } else {
        let shape = file.card.architecture.image();
        let mut pixels: Vec<f32> = Vec::new();
        for path in &arguments.images {
            let picture = picture::read_fitted(path, shape)?;
            pixels.extend(picture.into_iter().map(|value| f32::from(value) / 255.0));
        }
        let [channels, height, width] = shape;
        let shape = [arguments.images.len(), channels, height, width];
        Tensor::from_data(TensorData::new(pixels, shape), device)
    };
    let [noise_key, chain_key] = Key::new(arguments.seed).split();
    let noisy = add_noise(clean.clone(), arguments.noise, noise_key);
    let network = file.model(device).frozen();
    let y = model::labels(&model::predictions(&network, noisy.clone()), device);
    let mut energies: Vec<Vec<f32>> = Vec::new();
    let denoised = model::run_chains(&network, &settings, y, noisy.clone(), chain_key, |info| {
        energies.push(info.energy.to_data().iter().collect());
    });
    let [count, ..] = clean.dims();
    let psnr = |images| mean_of_pairs(images, &clean, metrics::psnr);
    let (before, after) = (psnr(&noisy), psnr(&denoised));
    model::write_grid(
        &arguments.output,
        Tensor::cat(vec![clean, noisy, denoised], 0),
        count,
    )?;
    if let Some(path) = &arguments.energies {
        let json = json!({
            "model": file.card.name, "seed": arguments.seed, "noise_std": arguments.noise,
            "settings": settings, "energies": energies,
        });
        write_atomically(path, json.to_string().as_bytes())?;
    }
    print!("{}: {count} images", arguments.output.display());
    if arguments.noise > 0.0 {
        print!(", {before:.2} dB noisy, {after:.2} dB denoised");
    }
    println!();
    Ok(())
}

/// x + std · N(0, I), clamped to [0, 1].
pub(super) fn add_noise(x: Tensor<4>, std: f32, key: Key) -> Tensor<4> {
    (x.clone() + key.normal(x.dims(), &x.device()) * std).clamp(0.0, 1.0)
}

/// The figure of each image and its reference, and the mean of all.
pub(super) fn mean_of_pairs(
    images: &Tensor<4>,
    references: &Tensor<4>,
    figure: impl Fn(&[f32], &[f32]) -> f64,
) -> f64 {
    let [count, channels, height, width] = images.dims();
    let host = |tensor: &Tensor<4>| tensor.to_data().iter::<f32>().collect::<Vec<_>>();
    let (images, references) = (host(images), host(references));
    let size = channels * height * width;
    let pairs = images.chunks_exact(size).zip(references.chunks_exact(size));
    let sum: f64 = pairs
        .map(|(image, reference)| figure(image, reference))
        .sum();
    sum / count as f64
}
