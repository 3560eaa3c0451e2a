//! `basin denoise`: a model cleans noisy pictures, in both ways.

use anyhow::{Result, ensure};
use basin_shared::{Key, metrics, tensors::to_host};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;

use crate::{
    atomic_file::{try_out, write_atomically},
    chains, cli, data,
    evaluation::{denoiser::Denoiser, denoising::mean_of_pairs},
    figures::{
        json::{Figures, JsonReport},
        picture,
    },
    model,
    tell::Countdown,
};

pub(crate) fn run(arguments: cli::Denoise, device: &Device) -> Result<()> {
    picture::try_out(&arguments.output)?;
    if let Some(path) = &arguments.energies {
        try_out(path)?;
    }
    let report = JsonReport::to(arguments.json.clone())?;
    let file = model::read(&arguments.model)?;
    let settings = model::settings(&file.card.denoising, &arguments.sampler)?;
    let known = arguments.known_noise;
    ensure!(
        known.is_none() || file.card.distances.is_some(),
        "--known-noise: {} has no table of distances, by which it would know how far to go; expected a \
         model whose card has one, which `basin tune-sampler --by-distance` measures",
        arguments.model.display()
    );
    let clean = pictures(&file, &arguments, device)?;
    let [noise_key, chain_key] = Key::new(arguments.seed).split();
    let noisy = data::add_noise(clean.clone(), arguments.noise, noise_key);
    let network = file.model(device).frozen();
    let denoiser = Denoiser {
        network: &network,
        card: &file.card,
    };
    let mut energies: Vec<Vec<f32>> = Vec::new();
    let best_guess = denoiser.best_guess(&noisy, known);
    let mut countdown = Countdown::of("steps", settings.steps);
    let sharp = denoiser.run(&settings, &noisy, chain_key, |of_step| {
        energies.push(of_step);
        countdown.advance(1);
    });
    drop(countdown);
    let [count, ..] = clean.dims();
    if let Some(told) = chains::told(&to_host(sharp.clone()), count) {
        tell!("{told}");
    }
    let mut shown = vec![("noisy", noisy)];
    shown.extend(best_guess.map(|x| ("best guess", x)));
    shown.push(("sharp", sharp));
    // Of what the picture shows; without noise there is nothing to be like.
    let psnr = |x: &Tensor<4>| mean_of_pairs(&x.clone().clamp(0.0, 1.0), &clean, metrics::psnr);
    let quality: Vec<(&str, f64)> = match arguments.noise > 0.0 {
        true => shown.iter().map(|(name, x)| (*name, psnr(x))).collect(),
        false => Vec::new(),
    };
    let rows = shown.into_iter().map(|(_, x)| x);
    let rows = [clean].into_iter().chain(rows).collect();
    picture::write_grid(&arguments.output, Tensor::cat(rows, 0), count)?;
    if let Some(path) = &arguments.energies {
        let json = json!({
            "model": file.card.name, "weights_sha256": file.card.weights_sha256, "seed": arguments.seed,
            "noise_std": arguments.noise, "settings": settings, "energies": energies,
        });
        write_atomically(path, json.to_string().as_bytes())?;
    }
    let mut told = format!("{}: {count} images", arguments.output.display());
    for (name, psnr) in &quality {
        told += &format!(", {psnr:.2} dB {name}");
    }
    report.tell(&told);
    let figures = quality.into_iter();
    let figures = figures.map(|(name, psnr)| (format!("psnr_{}", name.replace(' ', "_")), psnr));
    let settings = json!({
        "noise_std": arguments.noise, "known_noise_std": known, "images": count, "denoising": settings,
    });
    report.write_figures(
        &file,
        arguments.seed,
        settings,
        &figures.collect::<Figures>(),
    )
}

/// The pictures given, fitted to the model, or else the first test images.
fn pictures(
    file: &basin_shared::ModelFile,
    arguments: &cli::Denoise,
    device: &Device,
) -> Result<Tensor<4>> {
    if arguments.images.is_empty() {
        let images = model::data(file, &arguments.data)?;
        let all: Vec<usize> = (0..arguments.count.min(images.test.len())).collect();
        return Ok(images.test.batch(&all, device).0);
    }
    let shape = file.card.architecture.image();
    let pixels = picture::read_all(&arguments.images, shape)?;
    let [channels, height, width] = shape;
    let shape = [arguments.images.len(), channels, height, width];
    Ok(Tensor::from_data(TensorData::new(pixels, shape), device))
}
