//! `basin generate`: chains draw each class.

use anyhow::{Context, Result, bail};
use basin_shared::{Key, samplers::Start, tensors::to_host};
use burn::tensor::Device;
use serde_json::json;

use crate::{
    atomic_file::{try_out, write_atomically},
    chains, cli,
    figures::picture,
    model,
    tell::Countdown,
};

pub(crate) fn run(arguments: cli::Generate, device: &Device) -> Result<()> {
    picture::try_out(&arguments.output)?;
    if let Some(path) = &arguments.energies {
        try_out(path)?;
    }
    let file = model::read(&arguments.model)?;
    let best = &file.card.generation;
    let recommended = match (arguments.quick, &file.card.quick) {
        (true, Some(quick)) => quick,
        (true, None) => bail!("--quick: the card of the model recommends no quick settings"),
        (false, _) => best,
    };
    let mut settings = model::settings(recommended, &arguments.sampler)?;
    settings.start = match arguments.start {
        None => settings.start,
        Some(cli::StartArg::Uniform) => Start::Uniform,
        Some(cli::StartArg::ClassGaussian) => Start::ClassGaussian,
        Some(cli::StartArg::ClassPca) => Start::ClassPca,
    };
    let classes = classes(&arguments.classes, &file.card.class_names)?;
    let y: Vec<u8> = classes
        .iter()
        .flat_map(|&c| std::iter::repeat_n(c, arguments.count))
        .collect();
    let mut energies: Vec<Vec<f32>> = Vec::new();
    let mut countdown = Countdown::of("steps", settings.steps);
    let x = chains::draw(
        &file,
        &file.model(device).frozen(),
        &settings,
        &y,
        Key::new(arguments.seed),
        device,
        |of_step| {
            energies.push(of_step);
            countdown.advance(1);
        },
    );
    if let Some(told) = chains::told(&to_host(x.clone()), y.len()) {
        tell!("{told}");
    }
    picture::write_grid(&arguments.output, x, arguments.count)?;
    if let Some(path) = &arguments.energies {
        let names: Vec<_> = classes
            .iter()
            .map(|&c| &file.card.class_names[c as usize])
            .collect();
        let json = json!({
            "model": file.card.name, "weights_sha256": file.card.weights_sha256, "seed": arguments.seed,
            "settings": settings, "classes": names, "images_per_class": arguments.count, "energies": energies,
        });
        write_atomically(path, json.to_string().as_bytes())?;
    }
    say!("{}", arguments.output.display());
    Ok(())
}

/// Names or numbers as class indices; none means all.
fn classes(typed: &[String], names: &[String]) -> Result<Vec<u8>> {
    if typed.is_empty() {
        return Ok((0..names.len()).map(|class| class as u8).collect());
    }
    typed
        .iter()
        .map(|text| class_index(text, names))
        .collect::<Result<_>>()
        .context("--classes")
}

/// A class by its name or number.
pub(super) fn class_index(text: &str, names: &[String]) -> Result<u8> {
    let named = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    let index = named.or_else(|| text.parse().ok());
    match index.filter(|&index| index < names.len()) {
        Some(index) => Ok(index as u8),
        None => bail!(
            "class `{text}` is not known; the model has {}",
            names.join(", ")
        ),
    }
}
