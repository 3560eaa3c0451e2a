//! Steps as long as the data are away (Kadkhodaie and Simoncelli 2021, "Stochastic solutions for linear
//! inverse problems using the prior implicit in a denoiser", Algorithms 1 and 2), with an energy in place
//! of their denoiser.
//!
//! ```text
//! f = −c(E) ∇E                                     from x to the best guess of the clean image
//! x ← clamp(x + h f + γ ξ),   ξ ~ N(0, I)
//! γ² = ((1 − β h)² − (1 − h)²) d̂(E)² / D           D numbers in an image
//! ```
//!
//! There is no schedule: c and d̂ come from the energy by the model's [`DistanceTable`], so the chain anneals
//! itself and stops at the data. β = 1 adds no noise; the less it is, the more slowly the noise goes, by
//! 1 − β h at a step.
//!
//! Of an image that is known in part, [`Observation`], a step goes f = (I − P) f + (obs − P x)
//! (Algorithm 2). The chain begins at the smoothest image that fits what is known, with noise everywhere,
//! and the distance is read where it is known exactly: the deviation of the noise off the known part,
//! σ = ‖obs − P x‖ / √rank P, which stands for that of the whole, d̂ = σ √D, c being that of the table at this
//! distance. Were it read off the energy, a hole full of noise in an image that is clean around it would
//! never be filled: of the whole, the energy says "near".

use serde::{Deserialize, Serialize};

use super::{DistanceTable, Noise, Observation};
use crate::{energy::EnergyKind, ranges::first_fault};

/// The settings of the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByDistance {
    /// The share of the way to the best guess that a step goes, in (0, 1].
    pub h: f32,
    /// How much of the noise a step takes away, in [0, 1]: 1 − β h of its deviation is left.
    pub beta: f32,
    /// Steps at the end without noise, of a chain's steps.
    pub last_steps: usize,
    /// The share of the way that each of these goes, in (0, 1].
    pub last_h: f32,
}

/// A chain's way to the data: the settings, and what the model and the task add to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Annealing {
    /// The settings.
    pub sampler: ByDistance,
    /// Steps of the chain before those without noise; later ones have none.
    pub noisy_steps: u64,
    /// The table of the energy that is descended.
    pub table: DistanceTable,
    /// What is known of the images, if anything.
    pub observation: Option<Observation>,
}

impl ByDistance {
    /// The best guess of the clean image in one step.
    pub const BEST_GUESS: Self = Self {
        h: 1.0,
        beta: 1.0,
        last_steps: 0,
        last_h: 1.0,
    };

    /// What restores images that are known in part, in [`Self::RESTORING_STEPS`]. Found on holes, block
    /// means and grey values of validation images: more noise (β 0.8 and less) saturates colours, none
    /// (β = 1) blurs.
    pub const RESTORING: Self = Self {
        h: 0.3,
        beta: 0.9,
        last_steps: 4,
        last_h: 0.3,
    };

    /// Steps of [`Self::RESTORING`].
    pub const RESTORING_STEPS: usize = 30;

    /// Standard deviation of the noise that a chain of [`Self::RESTORING`] begins with.
    pub const RESTORING_NOISE: f32 = 0.3;

    /// What is out of range, if anything, as `name is found, expected range`.
    pub fn fault(&self, energy: EnergyKind) -> Option<String> {
        let told = energy != EnergyKind::Conditional;
        let untold = "energy is conditional, expected joint or marginal: they tell the distance";
        let fault = first_fault([
            ("h", self.h.into()),
            ("by_distance.beta", self.beta.into()),
            ("last_steps", self.last_steps as f64),
            ("last_h", self.last_h.into()),
        ]);
        let fault = fault.map(|fault| fault.to_string());
        fault.or_else(|| (!told).then(|| untold.to_owned()))
    }
}

impl Annealing {
    /// The share of the way that a step goes, and √((1 − βh)² − (1 − h)²), the deviation of its noise as a
    /// share of the images'.
    pub fn shares(&self, step: u64) -> [f32; 2] {
        let ByDistance {
            h, beta, last_h, ..
        } = self.sampler;
        if step >= self.noisy_steps {
            return [last_h, 0.0];
        }
        let square = (1.0 - beta * h).powi(2) - (1.0 - h).powi(2);
        [h, square.max(0.0).sqrt()]
    }

    /// How many sums of an image's numbers are known.
    pub fn rank(&self) -> usize {
        let observation = self.observation.as_ref();
        observation.map_or(0, |observation| observation.observed().rank())
    }

    /// One step: moves the images `x` down the `gradient` of their `energies`.
    ///
    /// # Shapes
    /// - `x` and `gradient`: `[batch, channels, height, width]`; `energies`: `[batch]`
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn step(
        &self,
        noise: impl Into<Noise>,
        step: u64,
        x: &mut [f32],
        energies: &[f32],
        gradient: &[f32],
    ) {
        assert_eq!(x.len(), gradient.len(), "numbers of images and gradient");
        let size = x.len() / energies.len();
        let [h, spread] = self.shares(step);
        let noise = (spread > 0.0).then(|| noise.into().fold_in(step).normals(x.len()));
        let images = x.chunks_exact_mut(size).zip(gradient.chunks_exact(size));
        for (image, ((x, g), &energy)) in images.zip(energies).enumerate() {
            let (to_guess, std) = match &self.observation {
                None => {
                    let factor = self.table.factor(energy);
                    let std = self.table.distance(energy) / (size as f32).sqrt();
                    (g.iter().map(|g| -factor * g).collect(), std)
                }
                Some(observation) => {
                    let factor = |std: f32| self.table.factor_at(std * (size as f32).sqrt());
                    observation.step(image, x, g, factor)
                }
            };
            let to_guess: Vec<f32> = to_guess;
            for (x, f) in x.iter_mut().zip(to_guess) {
                *x += h * f;
            }
            if let Some(noise) = &noise {
                for (x, noise) in x.iter_mut().zip(&noise[image * size..]) {
                    *x += spread * std * noise;
                }
            }
            x.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::Key, samplers::observation::Observed};

    const SLOPE: f32 = 0.6;
    const SIZE: usize = 3 * 64 * 64;

    /// An energy that is SLOPE times the distance from `clean`, of each of two images.
    fn cone(x: &[f32], clean: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let images = x.chunks_exact(SIZE).zip(clean.chunks_exact(SIZE));
        let each = images.map(|(x, clean)| {
            let away: Vec<f32> = x.iter().zip(clean).map(|(x, c)| x - c).collect();
            let distance = away.iter().map(|a| a * a).sum::<f32>().sqrt();
            let gradient = away.iter().map(|a| SLOPE * a / distance.max(1e-12));
            (SLOPE * distance, gradient.collect::<Vec<_>>())
        });
        let (energies, gradients): (Vec<_>, Vec<_>) = each.unzip();
        (energies, gradients.concat())
    }

    fn annealing(sampler: ByDistance, noisy_steps: u64) -> Annealing {
        Annealing {
            sampler,
            noisy_steps,
            table: DistanceTable {
                energies: vec![0.0, 100.0],
                distances: vec![0.0, 100.0 / SLOPE],
                factors: vec![0.0, 100.0 / SLOPE / SLOPE],
            },
            observation: None,
        }
    }

    fn std(x: &[f32], clean: &[f32]) -> f32 {
        let square: f32 = x.iter().zip(clean).map(|(x, c)| (x - c) * (x - c)).sum();
        (square / x.len() as f32).sqrt()
    }

    /// Around a point that is far from where pixels are clamped.
    fn start(noise: f32) -> (Vec<f32>, Vec<f32>) {
        let clean: Vec<f32> = Key::new(1).uniforms(2 * SIZE);
        let clean: Vec<f32> = clean.iter().map(|c| 0.45 + 0.1 * c).collect();
        let noise = Key::new(2).normals(2 * SIZE).into_iter().map(|n| noise * n);
        let x = clean.iter().zip(noise).map(|(c, n)| c + n).collect();
        (x, clean)
    }

    /// A step leaves 1 − βh of the noise's deviation, whatever is added; the last ones 1 − h.
    #[test]
    fn noise_goes_as_fast_as_the_settings_say() {
        let (mut x, clean) = start(0.08);
        let sampler = ByDistance {
            h: 0.3,
            beta: 0.4,
            last_steps: 2,
            last_h: 0.5,
        };
        let annealing = annealing(sampler, 5);
        let mut before = std(&x, &clean);
        for step in 0..7 {
            let (energies, gradient) = cone(&x, &clean);
            annealing.step(Key::new(3), step, &mut x, &energies, &gradient);
            let after = std(&x, &clean);
            let left = if step < 5 { 1.0 - 0.3 * 0.4 } else { 0.5 };
            assert!(
                (after / before / left - 1.0).abs() < 0.02,
                "step {step}: {before} to {after}"
            );
            before = after;
        }
    }

    #[test]
    fn the_best_guess_is_one_step() {
        let (mut x, clean) = start(0.08);
        let (energies, gradient) = cone(&x, &clean);
        let annealing = annealing(ByDistance::BEST_GUESS, 1);
        annealing.step(Key::new(0), 0, &mut x, &energies, &gradient);
        assert!(std(&x, &clean) < 1e-4);
    }

    /// A hole in an image that is otherwise clean is filled although the energy of the whole says "near".
    #[test]
    fn a_hole_is_filled() {
        let (noisy, clean) = start(0.08);
        let hole: Vec<bool> = (0..64 * 64)
            .map(|pixel| pixel / 64 < 8 && pixel % 64 < 8)
            .collect();
        let observed = Observed::around([3, 64], &hole).unwrap();
        let values = observed.of(&clean);
        let sampler = ByDistance {
            h: 0.2,
            beta: 0.8,
            last_steps: 4,
            last_h: 0.5,
        };
        let annealing = Annealing {
            observation: Some(Observation::new(observed, values, 2).unwrap()),
            ..annealing(sampler, 40)
        };
        let mut x = noisy;
        for step in 0..44 {
            let (energies, gradient) = cone(&x, &clean);
            annealing.step(Key::new(3), step, &mut x, &energies, &gradient);
        }
        let worst = x.iter().zip(&clean).map(|(x, c)| (x - c).abs());
        assert!(worst.fold(0.0, f32::max) < 0.01);
    }

    #[test]
    fn settings_out_of_range_are_said() {
        let sampler = ByDistance {
            h: 0.3,
            beta: 0.8,
            last_steps: 6,
            last_h: 0.3,
        };
        let fault = |sampler: ByDistance, energy| sampler.fault(energy).unwrap_or_default();
        assert_eq!(fault(sampler, EnergyKind::Joint), "");
        let h = ByDistance { h: 1.5, ..sampler };
        assert_eq!(
            fault(h, EnergyKind::Joint),
            "h is 1.5, expected above 0 to 1"
        );
        let beta = ByDistance {
            beta: f32::NAN,
            ..sampler
        };
        assert_eq!(
            fault(beta, EnergyKind::Joint),
            "by_distance.beta is NaN, expected 0 to 1"
        );
        assert!(fault(sampler, EnergyKind::Conditional).starts_with("energy is conditional"));
    }
}
