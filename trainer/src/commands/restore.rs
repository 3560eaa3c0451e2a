//! `basin restore`: fills holes, enlarges and colours, by chains that keep to what is known.

use std::path::Path;

use anyhow::{Context, Result, bail};
use basin_shared::{
    Key, ModelFile,
    energy::EnergyKind,
    samplers::{ByDistance, Known, Observation, Sampler, SamplerSettings, Step},
};
use burn::tensor::{Device, Tensor, TensorData};

use super::generate::class_index;
use crate::{chains, cli, figures::picture, model};

/// What a hole looks like in the picture of what is known.
const HOLE: f32 = 0.5;

pub(crate) fn run(arguments: cli::Restore, device: &Device) -> Result<()> {
    picture::try_out(&arguments.output)?;
    let file = model::read(&arguments.model)?;
    if !matches!(file.card.denoising.sampler, Sampler::ByDistance(_)) {
        bail!(
            "{}: its chains do not go by distance; expected a model of method dsm, whose card has a table of \
             distances",
            arguments.model.display()
        );
    }
    let class = match &arguments.class {
        None => None,
        Some(class) => Some(class_index(class, &file.card.class_names).context("--class")?),
    };
    let restoring = SamplerSettings {
        energy: match class {
            Some(_) => EnergyKind::Joint,
            None => EnergyKind::Marginal,
        },
        steps: ByDistance::RESTORING_STEPS,
        sampler: Sampler::ByDistance(ByDistance::RESTORING),
        ..file.card.denoising
    };
    let settings = model::settings(&restoring, &arguments.sampler)?;
    let start_noise = arguments.start_noise;
    let shape = file.card.architecture.image();
    let [channels, size, _] = shape;
    let mask = arguments.mask.as_deref();
    let mask = mask.map(|path| mask_of(path, size)).transpose()?;
    let (known, option) = known(mask, &arguments)?;
    let observed = known.observed([channels, size]).context(option)?;
    let mut seen = pictures(&file, &arguments)?;
    let numbers: usize = shape.iter().product();
    let count = seen.len() / numbers;
    let values = observed.of(&seen);
    let observation = Observation::new(observed, values, count)?;
    for image in seen.chunks_exact_mut(numbers) {
        known.plainest(image, size);
    }
    let mut rows = seen.clone();
    if let Known::Around { hole } = &known {
        for plane in rows.chunks_exact_mut(hole.len()) {
            let inside = plane.iter_mut().zip(hole).filter(|(_, inside)| **inside);
            inside.for_each(|(x, _)| *x = HOLE);
        }
    }
    let network = file.model(device).frozen();
    let y = vec![class.unwrap_or(0); count];
    for seed in 0..arguments.seeds {
        let [start_key, chain_key] = Key::new(arguments.seed + seed).split();
        let mut walk = chains::walk(&settings, file.card.distances.as_ref());
        if let Step::ByDistance(annealing) = &mut walk {
            annealing.observation = Some(observation.clone());
        }
        // The known part begins with noise as well: off it the chain reads how much is left.
        let noise = start_key.normals(seen.len());
        let noisy = seen
            .iter()
            .zip(noise)
            .map(|(x, noise)| x + start_noise * noise);
        let noisy = noisy.map(|x| x.clamp(0.0, 1.0)).collect();
        let start = TensorData::new(noisy, [count, channels, size, size]);
        let start = Tensor::from_data(start, device);
        let mut chains = chains::chains(walk, settings.energy, &y, &start, chain_key);
        chains::advance(&network, &mut chains, shape, settings.steps, device, |_| {});
        if let Some(told) = chains::told(&chains.x, count) {
            tell!("{told}");
        }
        observation.project(&mut chains.x);
        rows.extend(chains.x.iter().map(|x| x.clamp(0.0, 1.0)));
    }
    let grid = TensorData::new(
        rows,
        [(1 + arguments.seeds as usize) * count, channels, size, size],
    );
    picture::write_grid(&arguments.output, Tensor::from_data(grid, device), count)?;
    say!("{}: {count} images", arguments.output.display());
    Ok(())
}

/// What the arguments say is known, and by which of them.
fn known(mask: Option<Vec<bool>>, arguments: &cli::Restore) -> Result<(Known, &'static str)> {
    Ok(match (arguments.enlarge, arguments.colour, mask) {
        (Some(factor), ..) => (Known::BlockMeans { factor }, "--enlarge"),
        (None, true, colourless) => (Known::Grey { colourless }, "--colour"),
        (None, false, Some(hole)) => (Known::Around { hole }, "--mask"),
        (None, false, None) => bail!("nothing to restore; expected --mask, --enlarge or --colour"),
    })
}

/// Which pixels of a mask are white.
fn mask_of(path: &Path, size: usize) -> Result<Vec<bool>> {
    let picture = picture::read(path)?.into_luma8();
    let (width, height) = picture.dimensions();
    if (width as usize, height as usize) != (size, size) {
        bail!(
            "--mask: {} is a picture of {width}×{height}, expected {size}×{size}, as the model's images are",
            path.display()
        );
    }
    Ok(picture.pixels().map(|pixel| pixel.0[0] >= 128).collect())
}

/// The pictures given, fitted to the model, or else the first test images.
fn pictures(file: &ModelFile, arguments: &cli::Restore) -> Result<Vec<f32>> {
    let shape = file.card.architecture.image();
    if !arguments.images.is_empty() {
        return Ok(picture::read_all(&arguments.images, shape)?);
    }
    let test = model::data(file, &arguments.data)?.test;
    let images = 0..arguments.count.min(test.len());
    let pixels = images.flat_map(|i| test.pixels(i).to_vec());
    Ok(pixels.map(|byte| f32::from(byte) / 255.0).collect())
}
