//! `basin evaluate`: what a model can do, measured on the test set.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use basin_shared::{
    Key, ModelFile,
    attacks::{Budget, Pgd},
    metrics::{self, auc, mean, rank_correlation},
    samplers::{SamplerSettings, Start},
    tensors::{Frozen, OnTensors, energy},
};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::json;

use super::denoise::mean_of_pairs;
use crate::{
    atomic_file::write_atomically,
    cli,
    data::{self, Images, Splits},
    evaluation::{
        accuracy::{self, Adversary, BATCH},
        blur::{best_width, blur},
        denoiser::Denoiser,
        generator::{Generator, class_distance, start_name},
        judge::Judge,
    },
    model,
};

/// Standard deviations of the noise that is taken away.
pub(super) const NOISE_STDS: [f32; 4] = [0.1, 0.2, 0.3, 0.5];
/// Test images that are denoised, and validation images on which the width of a blur is chosen.
const DENOISED: usize = 500;
const BLURRED: usize = 200;
/// The largest standard deviation of the noise whose distance and energy are compared.
const LARGEST_NOISE_STD: f32 = 0.7;
/// Training images whose features drawings are compared with.
const REAL: usize = 10_000;
/// Mean and standard deviation of the Gaussian noise whose energy is compared, clamped to [0, 1].
const GAUSSIAN_NOISE: (f32, f32) = (0.5, 0.25);

/// Restarts of PGD-100.
const RESTARTS: u64 = 5;
/// What another attack may take off the accuracy under PGD-20.
const NEGLIGIBLE: f64 = 0.02;

/// Figures by name, in the order of their names.
type Figures = BTreeMap<String, f64>;

pub(crate) fn run(arguments: cli::Evaluate, device: &Device) -> Result<()> {
    let mut file = model::read(&arguments.model)?;
    let (images, validation) = model::data_and_validation(&file, &arguments.data)?;
    let network = file.model(device).frozen();
    let keys = Key::new(arguments.seed).split();
    let [attack_key, noise_key, denoise_key, chain_key, order_key] = keys;
    let mut figures = Figures::new();
    let mut add = |name: &str, value: f64| {
        eprintln!("{name} {value:.4}");
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

    report(&figures, &file, arguments.json.as_deref())?;
    if arguments.card {
        file.card.metrics.extend(figures);
        model::write(&arguments.model, &file)?;
    }
    Ok(())
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

/// The usual radius in L∞ for images like these.
fn default_epsilon(images: &Images) -> f32 {
    let [channels, ..] = images.shape();
    if channels == 3 { 8.0 / 255.0 } else { 0.1 }
}

/// PGD with steps of a quarter of the radius, or of an eighth where there are many.
fn adversary(steps: usize, budget: Budget, key: Key) -> Adversary {
    let share = if steps > 50 { 8.0 } else { 4.0 };
    let step_size = budget.epsilon / share;
    Adversary {
        budget,
        pgd: Pgd { steps, step_size },
        key,
    }
}

/// Accuracy under PGD-20; then, of fewer images, what PGD-100 with five restarts leaves of those that it
/// left, and accuracy under the examples that PGD-20 makes on each of some other models.
///
/// `robust_accuracy` is that under PGD-20, unless one of the others takes more than [`NEGLIGIBLE`] off
/// on the same images: then it is what that one leaves.
fn robustness(
    file: &ModelFile,
    network: &Frozen,
    test: &Images,
    arguments: &cli::Evaluate,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) -> Result<()> {
    let budget = Budget::linf(arguments.epsilon.unwrap_or_else(|| default_epsilon(test)));
    let share = |left: &[usize], of: usize| left.len() as f64 / of as f64;
    let attacked = arguments.attacked.min(test.len());
    let all: Vec<usize> = (0..attacked).collect();
    let [key, again_key, transfer_key] = key.split();
    let plain = adversary(20, budget, key);
    let left = accuracy::survivors(network, network, test, &all, plain, device);
    add("attack_epsilon", f64::from(budget.epsilon));
    add("pgd_20_images", attacked as f64);
    let mut robust = share(&left, attacked);
    add("pgd_20_accuracy", robust);

    let again = arguments.attacked_again.min(attacked);
    if again > 0 {
        let mut left: Vec<usize> = left.iter().copied().filter(|&i| i < again).collect();
        let before = share(&left, again);
        let mut leaves = |accuracy: f64| {
            if before - accuracy > NEGLIGIBLE {
                robust = robust.min(accuracy);
            }
        };
        for restart in 0..RESTARTS {
            let long = adversary(100, budget, again_key.fold_in(restart));
            left = accuracy::survivors(network, network, test, &left, long, device);
        }
        add("pgd_100_restarts_images", again as f64);
        add("pgd_100_restarts_accuracy", share(&left, again));
        leaves(share(&left, again));

        if !arguments.transfer.is_empty() {
            let mut left = all[..again].to_vec();
            for (place, path) in arguments.transfer.iter().enumerate() {
                let other = model::of_same_classes(path, file)?.model(device).frozen();
                let transfer = adversary(20, budget, transfer_key.fold_in(place as u64));
                left = accuracy::survivors(network, &other, test, &left, transfer, device);
            }
            add("transfer_images", again as f64);
            add("transfer_accuracy", share(&left, again));
            leaves(share(&left, again));
        }
    }
    add("robust_accuracy", robust);
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
                energy::marginal(network.logits_of(x))
                    .into_data()
                    .iter::<f32>(),
            );
        }
    }
    let [real, uniform, gaussian] = found;
    add("energy_test", mean(&real));
    add("energy_uniform_noise", mean(&uniform));
    add("energy_gaussian_noise", mean(&gaussian));
    add("energy_test_below_uniform_noise", auc(&real, &uniform));
    add("energy_test_below_gaussian_noise", auc(&real, &gaussian));
}

/// Whether E(x) orders images by their noise, and how it goes with the distance.
fn order(
    network: &Frozen,
    test: &Images,
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) {
    let test = data::head(test, DENOISED);
    let order: Vec<usize> = (0..test.len()).collect();
    let (mut ordered, mut pairs) = (0, 0);
    let [mut distances, mut energies] = [Vec::new(), Vec::new()];
    for (batch, indices) in order.chunks(BATCH).enumerate() {
        let [noise_key, size_key, sized_key] = key.fold_in(batch as u64).split();
        let clean = test.batch(indices, device).0;
        let energy = |x| -> Vec<f32> {
            energy::marginal(network.logits_of(x))
                .into_data()
                .iter()
                .collect()
        };
        let mut before = energy(clean.clone());
        for (level, std) in NOISE_STDS.into_iter().enumerate() {
            let key = noise_key.fold_in(level as u64);
            let after = energy(data::add_noise(clean.clone(), std, key));
            ordered += before.iter().zip(&after).filter(|(a, b)| a < b).count();
            pairs += after.len();
            before = after;
        }
        let size = size_key.uniform([indices.len(), 1, 1, 1], device) * LARGEST_NOISE_STD;
        let noise = sized_key.normal(clean.dims(), device) * size;
        let noisy = (clean.clone() + noise).clamp(0.0, 1.0);
        let square = (noisy.clone() - clean).powf_scalar(2.0);
        let distance = square.flatten::<2>(1, 3).sum_dim(1).sqrt();
        distances.extend(distance.into_data().iter::<f32>());
        energies.extend(energy(noisy));
    }
    add("energy_orders_noise", ordered as f64 / pairs as f64);
    let correlation = rank_correlation(&energies, &distances);
    add("energy_distance_rank_correlation", correlation);
}

/// PSNR and SSIM of noised test images, of what both ways of denoising make of them, and of what the best
/// blur does, whose width is chosen on validation images.
fn denoising(
    file: &ModelFile,
    network: &Frozen,
    [test, validation]: [&Images; 2],
    key: Key,
    device: &Device,
    add: &mut impl FnMut(&str, f64),
) {
    let (test, validation) = (data::head(test, DENOISED), data::head(validation, BLURRED));
    let shape = test.shape();
    let denoiser = Denoiser {
        network,
        card: &file.card,
    };
    let order: Vec<usize> = (0..test.len()).collect();
    for (level, std) in NOISE_STDS.into_iter().enumerate() {
        let [width_key, test_key] = key.fold_in(level as u64).split();
        let width = blur_width(&validation, std, width_key, device);
        let mut sums: Vec<(&str, [f64; 2])> = Vec::new();
        for (batch, indices) in order.chunks(BATCH).enumerate() {
            let [noise_key, chain_key] = test_key.fold_in(batch as u64).split();
            let clean = test.batch(indices, device).0;
            let noisy = data::add_noise(clean.clone(), std, noise_key);
            let pixels: Vec<f32> = noisy.to_data().iter().collect();
            let blurred = TensorData::new(blur(&pixels, shape, width), clean.dims());
            let blurred = Tensor::from_data(blurred, device);
            let best_guess = denoiser.best_guess(&noisy, None);
            let informed = denoiser.best_guess(&noisy, Some(std));
            let sharp = denoiser.run(&file.card.denoising, &noisy, chain_key, |_| {});
            let found = [
                ("noisy", Some(noisy)),
                ("blur", Some(blurred)),
                ("best_guess", best_guess),
                ("best_guess_of_known_noise", informed),
                ("sharp", Some(sharp)),
            ];
            let found = found.into_iter().filter_map(|(name, x)| Some((name, x?)));
            for (place, (name, x)) in found.enumerate() {
                if sums.len() <= place {
                    sums.push((name, [0.0; 2]));
                }
                let share = indices.len() as f64 / test.len() as f64;
                let psnr = mean_of_pairs(&x, &clean, metrics::psnr);
                let ssim = mean_of_pairs(&x, &clean, |a, b| metrics::ssim(a, b, shape));
                sums[place].1[0] += share * psnr;
                sums[place].1[1] += share * ssim;
            }
        }
        add(&format!("denoising_{std}_blur_width"), width.into());
        for (name, [psnr, ssim]) in sums {
            add(&format!("denoising_{std}_psnr_{name}"), psnr);
            add(&format!("denoising_{std}_ssim_{name}"), ssim);
        }
    }
}

/// The width of the best blur of noisy validation images.
fn blur_width(validation: &Images, std: f32, key: Key, device: &Device) -> f32 {
    let order: Vec<usize> = (0..validation.len()).collect();
    let clean = validation.batch(&order, device).0;
    let noisy = data::add_noise(clean.clone(), std, key);
    let host = |x: Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<_>>();
    best_width(&host(noisy), &host(clean), validation.shape())
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
