//! Langevin dynamics, of models whose energy tells no distance: drawn at random from a grid, and looked at
//! from every start in several numbers of steps.

use basin_shared::{
    Key,
    energy::EnergyKind,
    samplers::{GradientScaling, Sampler, SamplerSettings, Sgld, Start},
};

use super::{Found, Hunt, KEPT};
use crate::evaluation::generator::{Drawn, Generator, start_name};

const STARTS: [Start; 3] = [Start::Uniform, Start::ClassGaussian, Start::ClassPca];
/// Numbers of steps at which a chain is looked at: for those in a hurry …
const QUICK_STEPS: [usize; 4] = [5, 10, 15, 20];
/// … and for the others.
const BEST_STEPS: [usize; 4] = [50, 75, 100, 150];
/// The grid. The gradient is divided by its length, so a step is a distance, whatever the model's energies.
const STEP_SIZES: [f32; 5] = [0.1, 0.2, 0.4, 0.8, 1.6];
const FRICTIONS: [f32; 3] = [0.0, 0.5, 0.8];
const NOISE_STDS: [f32; 4] = [0.0, 0.005, 0.01, 0.02];

/// Settings to draw a class, and the same in few steps. `own` is the card's sampler.
pub(crate) fn best(hunt: &Hunt, own: Sgld, trials: usize, key: Key) -> [Found; 2] {
    let [trial_key, round_key] = key.split();
    let mut samplers = candidates(own, trials, trial_key);
    let mut trials = Vec::new();
    for (round, count) in hunt.rounds(samplers.len()).into_iter().enumerate() {
        let generator = hunt.generator(count);
        trials = samplers
            .iter()
            .map(|sampler| Trial::run(sampler, &generator, hunt, round_key.fold_in(round as u64)))
            .collect();
        trials.sort_by(|a, b| b.best().score.total_cmp(&a.best().score));
        tell!("round {}: {count} images of each class", round + 1);
        for trial in &trials {
            tell!("  {}", trial.describe());
        }
        // The one that is best in a hurry stays whatever it does later.
        let quickest = position_of_best(&trials, |trial| trial.quick(&STARTS).score);
        let left = trials.len().div_ceil(KEPT);
        let kept = trials.iter().enumerate();
        let kept = kept.filter(|&(place, _)| place < left || place == quickest);
        samplers = kept.map(|(_, trial)| trial.sampler).collect();
    }
    // One class start for both: a link to the page says that a chain starts at a class, not how.
    let starts = [Start::Uniform, trials[0].best().start];
    let quickest = &trials[position_of_best(&trials, |trial| trial.quick(&starts).score)];
    let found = |sampler: &Sgld, outcome: Outcome| Found {
        settings: SamplerSettings {
            energy: EnergyKind::Joint,
            steps: outcome.steps,
            start: outcome.start,
            sampler: Sampler::Sgld(*sampler),
        },
        score: outcome.score,
    };
    [
        found(&trials[0].sampler, trials[0].best()),
        found(&quickest.sampler, quickest.quick(&starts)),
    ]
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
    let others = order.into_iter().map(|place| grid[place]);
    [own].into_iter().chain(others).take(trials).collect()
}

/// The place of the highest score.
fn position_of_best(trials: &[Trial], score: impl Fn(&Trial) -> f64) -> usize {
    let places = 0..trials.len();
    places
        .max_by(|&a, &b| score(&trials[a]).total_cmp(&score(&trials[b])))
        .expect("there is at least one trial")
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
    fn run(sampler: &Sgld, generator: &Generator, hunt: &Hunt, key: Key) -> Self {
        let steps = [QUICK_STEPS, BEST_STEPS].concat();
        let outcomes = STARTS.into_iter().flat_map(|start| {
            let settings = SamplerSettings {
                energy: EnergyKind::Joint,
                steps: steps[steps.len() - 1],
                start,
                sampler: Sampler::Sgld(*sampler),
            };
            let drawn = generator.draw_at(&settings, &steps, key.fold_in(start as u64));
            let outcome = |(drawn, &steps): (Drawn, &usize)| Outcome {
                start,
                steps,
                score: hunt.score(&drawn),
            };
            drawn
                .into_iter()
                .zip(&steps)
                .map(outcome)
                .collect::<Vec<_>>()
        });
        Self {
            sampler: *sampler,
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
