//! `basin tune-sampler`: looks for settings with which a model draws and cleans well.
//!
//! Samplers are drawn at random from a grid and meet in rounds: each draws a few images of every class
//! from every start, the best third goes on and draws more (successive halving, Jamieson & Talwalkar
//! 2016). Test images have no part in it: what is real comes from the validation images.

use anyhow::{Context, Result};
use basin_shared::{
    Classifier, Key, energy,
    model_card::{EnergyKind, SamplerSettings},
    models::Frozen,
    samplers::{Chain, GradientScaling, Sgld, Start},
};
use burn::tensor::Device;

use super::{
    denoise::{add_noise, mean_of_pairs},
    evaluate::NOISE_STD,
};
use crate::{
    cli,
    data::Images,
    generator::{Drawn, Generator, class_distance, start_name},
    metrics::{self, mean},
    model::{self, BATCH},
};

const STARTS: [Start; 3] = [Start::Uniform, Start::ClassGaussian, Start::ClassPca];
/// Numbers of steps at which a chain is looked at: for those in a hurry …
const QUICK_STEPS: [usize; 4] = [5, 10, 15, 20];
/// … and for the others.
const BEST_STEPS: [usize; 4] = [50, 75, 100, 150];
/// The grid. The gradient is divided by its length, so a step is a distance, whatever the model's energies.
const STEP_SIZES: [f32; 5] = [0.1, 0.2, 0.4, 0.8, 1.6];
const FRICTIONS: [f32; 3] = [0.0, 0.5, 0.8];
const NOISE_STDS: [f32; 4] = [0.0, 0.005, 0.01, 0.02];
/// Images of each class in the first rounds; the last one's number is the user's.
const FIRST_ROUNDS: [usize; 2] = [2, 6];
/// Of the samplers that go on to the next round.
const KEPT: usize = 3;
/// Diversity, of real images', that loses nothing.
const ENOUGH_DIVERSITY: f64 = 0.6;
/// What energies far above the real images' cost at most.
const ENERGY_WEIGHT: f64 = 0.1;
/// Step sizes and the most steps tried to clean images.
const DENOISING_STEP_SIZES: [f32; 4] = [0.2, 0.4, 0.8, 1.6];
const DENOISING_STEPS: usize = 100;

pub(crate) fn run(arguments: cli::TuneSampler, device: &Device) -> Result<()> {
    let mut file = model::read(&arguments.model)?;
    let judge = model::of_same_classes(&arguments.judge, &file)?;
    let (_, validation) = model::data_and_validation(&file, &arguments.data)?;
    let network = file.model(device).frozen();
    let judge = judge.model(device).frozen();
    let [trial_key, round_key, denoise_key] = Key::new(arguments.seed).split();

    let classes = file.card.class_names.len();
    let real = Real::measure(&network, &validation, device);
    let own = file.card.generation.sampler.clone();
    let mut samplers = candidates(own, arguments.trials as usize, trial_key);
    let mut trials = Vec::new();
    // A sampler that is alone need not prove itself.
    let first_rounds: &[usize] = if samplers.len() > 1 {
        &FIRST_ROUNDS
    } else {
        &[]
    };
    let rounds = [first_rounds, &[arguments.images as usize]].concat();
    for (round, count) in rounds.into_iter().enumerate() {
        let generator = Generator {
            network: &network,
            gaussian: file.class_gaussian(),
            shape: file.card.architecture.image(),
            count,
            real_distance: class_distance(&validation, count.max(BATCH / classes), classes),
            judge: Some(&judge),
            device,
        };
        trials = samplers
            .iter()
            .map(|sampler| Trial::run(sampler, &generator, &real, round_key.fold_in(round as u64)))
            .collect();
        trials.sort_by(|a, b| b.best().score.total_cmp(&a.best().score));
        eprintln!("round {}: {count} images of each class", round + 1);
        for trial in &trials {
            eprintln!("  {}", trial.describe());
        }
        // The one that is best in a hurry stays whatever it does later.
        let quickest = position_of_best(&trials, |trial| trial.quick(&STARTS).score);
        let left = trials.len().div_ceil(KEPT);
        let kept = trials.iter().enumerate();
        let kept = kept.filter(|&(place, _)| place < left || place == quickest);
        samplers = kept.map(|(_, trial)| trial.sampler.clone()).collect();
    }
    // One class start for both: a link to the page says that a chain starts at a class, not how.
    let starts = [Start::Uniform, trials[0].best().start];
    let quickest = &trials[position_of_best(&trials, |trial| trial.quick(&starts).score)];
    let settings = |sampler: &Sgld, outcome: Outcome| SamplerSettings {
        energy: EnergyKind::Joint,
        steps: outcome.steps,
        start: outcome.start,
        sampler: sampler.clone(),
    };
    file.card.generation = settings(&trials[0].sampler, trials[0].best());
    file.card.quick = Some(settings(&quickest.sampler, quickest.quick(&starts)));
    file.card.denoising = denoising(
        &network,
        &file.card.denoising,
        &validation,
        denoise_key,
        device,
    );
    model::write(&arguments.model, &file)?;
    let card = &file.card;
    for (name, settings) in [
        ("generation", &card.generation),
        ("quick", card.quick.as_ref().expect("just found")),
        ("denoising", &card.denoising),
    ] {
        println!(
            "{name}: {}",
            serde_json::to_string(settings).context("settings")?
        );
    }
    Ok(())
}

/// The sampler of the card and others, drawn without repetition.
fn candidates(own: Sgld, trials: usize, key: Key) -> Vec<Sgld> {
    let grid: Vec<Sgld> = STEP_SIZES
        .iter()
        .flat_map(|&step_size| FRICTIONS.map(|friction| (step_size, friction)))
        .flat_map(|(step_size, friction)| NOISE_STDS.map(|noise| (step_size, friction, noise)))
        .map(|(step_size, friction, noise_std)| Sgld {
            step_size,
            noise_std,
            friction,
            gradient: GradientScaling::Normalize,
            clamp: true,
        })
        .filter(|sampler| *sampler != own)
        .collect();
    let order = key.permutation(grid.len());
    let others = order.into_iter().map(|place| grid[place].clone());
    [own].into_iter().chain(others).take(trials).collect()
}

/// The place of the highest score.
fn position_of_best(trials: &[Trial], score: impl Fn(&Trial) -> f64) -> usize {
    let places = 0..trials.len();
    places
        .max_by(|&a, &b| score(&trials[a]).total_cmp(&score(&trials[b])))
        .expect("there is at least one trial")
}

/// E(x) of real images.
struct Real {
    mean: f64,
    std: f64,
}

impl Real {
    fn measure(network: &Frozen, images: &Images, device: &Device) -> Self {
        let order: Vec<usize> = (0..images.len()).collect();
        let energies: Vec<f32> = order
            .chunks(BATCH)
            .flat_map(|indices| {
                let f = network.logits(images.batch(indices, device).0);
                energy::marginal(f)
                    .into_data()
                    .iter::<f32>()
                    .collect::<Vec<_>>()
            })
            .collect();
        let centre = mean(&energies);
        let square = |e: &f32| (f64::from(*e) - centre).powi(2);
        let variance = energies.iter().map(square).sum::<f64>() / energies.len() as f64;
        Self {
            mean: centre,
            std: variance.sqrt(),
        }
    }
}

/// A way to use a sampler, and what it is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outcome {
    start: Start,
    steps: usize,
    score: f64,
}

/// A sampler and its outcomes from every start in every number of steps, each a list of what the others
/// are in the same order.
struct Trial {
    sampler: Sgld,
    outcomes: Vec<Outcome>,
}

impl Trial {
    fn run(sampler: &Sgld, generator: &Generator, real: &Real, key: Key) -> Self {
        let steps = [QUICK_STEPS, BEST_STEPS].concat();
        let outcomes = STARTS.into_iter().flat_map(|start| {
            let settings = SamplerSettings {
                energy: EnergyKind::Joint,
                steps: steps[steps.len() - 1],
                start,
                sampler: sampler.clone(),
            };
            let drawn = generator.draw_at(&settings, &steps, key.fold_in(start as u64));
            let outcome = |(drawn, &steps): (Drawn, &usize)| Outcome {
                start,
                steps,
                score: score(&drawn, real),
            };
            drawn
                .into_iter()
                .zip(&steps)
                .map(outcome)
                .collect::<Vec<_>>()
        });
        Self {
            sampler: sampler.clone(),
            outcomes: outcomes.collect(),
        }
    }

    /// The best of few steps from one of these starts.
    fn quick(&self, starts: &[Start]) -> Outcome {
        let quick = self.outcomes.iter().filter(|o| {
            let quick = QUICK_STEPS.contains(&o.steps);
            quick && starts.contains(&o.start)
        });
        *quick
            .max_by(|a, b| a.score.total_cmp(&b.score))
            .expect("some steps are few")
    }

    /// The number of steps that serves best those who start from noise and those who start from a class,
    /// with the better start of a class; the score is the mean of both.
    fn best(&self) -> Outcome {
        let at = |steps: usize, noise: bool| {
            let there = self.outcomes.iter().filter(move |o| o.steps == steps);
            let there = there.filter(move |o| (o.start == Start::Uniform) == noise);
            *there
                .max_by(|a, b| a.score.total_cmp(&b.score))
                .expect("every start is tried")
        };
        let both = BEST_STEPS.map(|steps| Outcome {
            score: (at(steps, true).score + at(steps, false).score) / 2.0,
            ..at(steps, false)
        });
        both.into_iter()
            .max_by(|a, b| a.score.total_cmp(&b.score))
            .expect("some steps are many")
    }

    fn describe(&self) -> String {
        let Sgld {
            step_size,
            friction,
            noise_std,
            ..
        } = self.sampler;
        let (best, quick) = (self.best(), self.quick(&STARTS));
        format!(
            "step {step_size}, friction {friction}, noise {noise_std}: {:.3} in {} steps, {:.3} in {} \
             from {}",
            best.score,
            best.steps,
            quick.score,
            quick.steps,
            start_name(quick.start)
        )
    }
}

/// The judge's agreement, less where images resemble each other more than real ones or where the model
/// itself finds them unlikely.
fn score(drawn: &Drawn, real: &Real) -> f64 {
    let agreement = drawn.agreement.expect("there is a judge");
    let diversity = (drawn.diversity / ENOUGH_DIVERSITY).min(1.0);
    let above = ((drawn.energy - real.mean) / real.std.max(1e-6)).clamp(0.0, 1.0);
    agreement * diversity - ENERGY_WEIGHT * above
}

/// The step size and the number of steps that gain most PSNR on the first validation images.
fn denoising(
    network: &Frozen,
    card: &SamplerSettings,
    validation: &Images,
    key: Key,
    device: &Device,
) -> SamplerSettings {
    let [noise_key, chain_key] = key.split();
    let indices: Vec<usize> = (0..BATCH.min(validation.len())).collect();
    let clean = validation.batch(&indices, device).0;
    let noisy = add_noise(clean.clone(), NOISE_STD, noise_key);
    let y = model::labels(&model::predictions(network, noisy.clone()), device);
    let energy = card.energy.of(y);
    let mut best = (mean_of_pairs(&noisy, &clean, metrics::psnr), card.clone());
    for step_size in DENOISING_STEP_SIZES {
        let sampler = Sgld {
            step_size,
            noise_std: 0.0,
            friction: 0.0,
            gradient: GradientScaling::Normalize,
            clamp: true,
        };
        let mut chain = Chain::init(noisy.clone());
        for steps in 1..=DENOISING_STEPS {
            chain = sampler.step(chain_key, network, &energy, chain).0;
            let psnr = mean_of_pairs(&chain.x, &clean, metrics::psnr);
            if psnr > best.0 {
                let settings = SamplerSettings {
                    steps,
                    sampler: sampler.clone(),
                    ..card.clone()
                };
                best = (psnr, settings);
            }
        }
    }
    eprintln!(
        "denoising: {:.2} dB on {} validation images",
        best.0,
        indices.len()
    );
    best.1
}
