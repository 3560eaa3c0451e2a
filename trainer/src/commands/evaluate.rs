//! `basin evaluate`: what a model can do, measured on the test set.

use std::path::Path;

use anyhow::Result;
use basin_shared::{
    Key, ModelFile,
    attacks::Budget,
    metrics::mean,
    samplers::{SamplerSettings, Start},
    tensors::{Frozen, OnTensors, energy},
};
use burn::tensor::Device;
use serde_json::json;

use crate::{
    atomic_file::try_out,
    cli,
    data::Splits,
    evaluation::{
        accuracy,
        denoising::denoising,
        energies::{energies, order},
        generator::{Generator, class_distance, start_name},
        judge::Judge,
        robustness::{adversary, default_epsilon, robustness},
    },
    figures::json::{Figures, JsonReport},
    model,
};

/// Training images whose features drawings are compared with.
const REAL: usize = 10_000;

pub(crate) fn run(arguments: cli::Evaluate, device: &Device) -> Result<()> {
    let report = JsonReport::to(arguments.json.clone())?;
    if arguments.card {
        try_out(&arguments.model)?;
    }
    let mut file = model::read(&arguments.model)?;
    let (images, validation) = model::data_and_validation(&file, &arguments.data)?;
    let network = file.model(device).frozen();
    let keys = Key::new(arguments.seed).split();
    let [attack_key, noise_key, denoise_key, chain_key, order_key] = keys;
    let mut figures = Figures::new();
    let card = &file.card;
    report.tell(&format!(
        "{} ({}, {})",
        card.name, card.method, card.data_set
    ));
    // Each figure is told when it is known.
    let mut add = |name: &str, value: f64| {
        // Of one image a class, for one, there is no distance between two.
        if !value.is_finite() {
            return tell!("{name} has no value here and is left out");
        }
        report.tell(&format!("  {name:<36} {:>10}", shown(value)));
        figures.insert(name.into(), value);
    };

    let clean = accuracy::clean_accuracy(&network, &images.test, device);
    add("clean_accuracy", clean);
    if arguments.attacked > 0 {
        let (test, key) = (&images.test, attack_key);
        robustness(&file, &network, test, &arguments, key, device, &mut add)?;
    }
    energies(&network, &images.test, noise_key, device, &mut add);
    order(&network, &images.test, order_key, device, &mut add);
    denoising(
        &file,
        &network,
        [&images.test, &validation],
        denoise_key,
        device,
        &mut add,
    );
    if arguments.generated > 0 {
        generation(
            &file, &network, &images, &arguments, chain_key, device, &mut add,
        )?;
    }
    if let Some(directory) = &arguments.check_dir {
        for (name, value) in check(&file, directory, device)? {
            add(&name, value);
        }
    }

    // One that cannot be written takes no other with it.
    let settings = json!({
        "epsilon": arguments.epsilon, "attacked": arguments.attacked,
        "attacked_again": arguments.attacked_again, "generated": arguments.generated,
        "generation": file.card.generation, "denoising": file.card.denoising,
    });
    let reported = report.write_figures(&file, arguments.seed, settings, &figures);
    if arguments.card {
        file.card.metrics.extend(figures);
        model::write(&arguments.model, &file)?;
    }
    reported
}

/// Images from every start by the card's settings for generation, and by those for people in a hurry.
fn generation(
    file: &ModelFile,
    network: &Frozen,
    images: &Splits,
    arguments: &cli::Evaluate,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) -> Result<()> {
    let (count, classes) = (arguments.generated, file.card.class_names.len());
    let judge = arguments.judge.as_deref();
    let judge = judge.map(|path| Judge::read(path, file)).transpose()?;
    let judge = judge.map(|judge| {
        let real = judge.real(&images.train, REAL, count);
        (judge, real)
    });
    if let Some((judge, real)) = &judge {
        add("judge_clean_accuracy", judge.accuracy(&images.test));
        let others = [REAL.min(images.train.len()), count * classes];
        if others[0] + others[1] <= images.train.len() {
            let frechet = judge.frechet_of_real(&images.train, others, real);
            add("frechet_of_other_real_images", frechet);
        }
    }
    let generator = Generator {
        network,
        gaussian: file.class_gaussian(),
        distances: file.card.distances.as_ref(),
        shape: file.card.architecture.image(),
        count,
        real_distance: class_distance(&images.test, count, classes),
        judge: judge.as_ref().map(|(judge, real)| (judge, real)),
        device,
    };
    let best = &file.card.generation;
    let from = |start| (start_name(start), SamplerSettings { start, ..*best });
    let mut runs = vec![from(Start::Uniform), from(Start::ClassGaussian)];
    // It is the class Gaussian but for its spread, so only where the card prefers it.
    if best.start == Start::ClassPca {
        runs.push(from(Start::ClassPca));
    }
    runs.extend(file.card.quick.map(|quick| ("quick", quick)));
    for (place, (name, settings)) in runs.iter().enumerate() {
        let drawn = generator.draw(settings, key.fold_in(place as u64));
        drawn.figures(|figure, value| add(&format!("{figure}_{name}"), value));
    }
    Ok(())
}

/// What the card says of the few images of a directory, measured anew: accuracy, and mean energy.
fn check(file: &ModelFile, directory: &Path, device: &Device) -> Result<Figures> {
    let arguments = cli::DataArgs {
        data_dir: Some(directory.to_path_buf()),
    };
    let test = model::data(file, &arguments)?.test;
    let network = file.model(device).frozen();
    let all: Vec<usize> = (0..test.len()).collect();
    let energy = energy::marginal(network.logits_of(test.batch(&all, device).0));
    let energy: Vec<f32> = energy.into_data().iter().collect();
    let budget = Budget::linf(default_epsilon(&test));
    let adversary = adversary(20, budget, Key::new(0));
    let robust = accuracy::survivors(&network, &network, &test, &all, adversary, device);
    Ok(Figures::from([
        (
            "check_clean_accuracy".into(),
            accuracy::clean_accuracy(&network, &test, device),
        ),
        (
            "check_pgd_20_accuracy".into(),
            robust.len() as f64 / all.len() as f64,
        ),
        ("check_energy".into(), mean(&energy)),
    ]))
}

/// A count as a count, anything else with four digits.
fn shown(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() > 1.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cards of the bundled models say of the few images in the repository, measured anew.
    #[test]
    fn bundled_cards_agree_with_their_models() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for entry in std::fs::read_dir(root.join("static/models")).unwrap() {
            let path = entry.unwrap().path();
            let file = model::read(&path).unwrap();
            let directory = root.join("tests/data").join(&file.card.data_set);
            let found = check(&file, &directory, &Device::flex()).unwrap();
            for (name, found) in found {
                let said = file.card.metrics.get(&name);
                let said = said.unwrap_or_else(|| panic!("{}: no {name}", path.display()));
                assert!(
                    (said - found).abs() <= 1e-3 * said.abs().max(1.0),
                    "{}: {name} is {found}, the card says {said}",
                    path.display()
                );
            }
        }
    }
}
