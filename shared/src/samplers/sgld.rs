//! Stochastic gradient Langevin dynamics (Welling & Teh 2011), as energy-based classifiers use it.

use serde::{Deserialize, Serialize};

use super::Noise;
use crate::ranges::first_fault;

/// Stochastic gradient Langevin dynamics.
///
/// v ← friction · v − step_size · g(∇E(x)),  x ← x + v + noise_std · ξ,  ξ ~ N(0, I)
///
/// Langevin dynamics proper at temperature T has noise_std² = 2 · step_size · T (JEAT eq. 10 writes
/// step_size = α/2, noise_std = √α, T = 1). The papers choose the two apart, so both are given.
/// Friction is ζ of the momentum sampler of Mirza et al. 2024 (WEAT), section A.3; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sgld {
    /// Factor of the gradient, in [0, 1] pixel units.
    pub step_size: f32,
    /// Standard deviation of the noise added at each step, in [0, 1] pixel units.
    pub noise_std: f32,
    /// Share of the velocity that a step keeps, in [0, 1).
    pub friction: f32,
    /// What is done to the gradient before it is used.
    pub gradient: GradientScaling,
    /// Whether x is clamped to [0, 1] after each step.
    pub clamp: bool,
}

/// What is done to the gradient of the energy before a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientScaling {
    /// Used as it is: JEM and JEAT.
    Raw,
    /// Each component clamped to ±limit: JEM++ and SADA-JEM.
    Clamp(f32),
    /// Divided by the L2 norm of each example's gradient: DAT. The step size is then a distance.
    Normalize,
}

impl Sgld {
    /// What is out of range, if anything, as `name is found, expected range`.
    pub fn fault(&self) -> Option<String> {
        let limit = match self.gradient {
            GradientScaling::Clamp(limit) => Some(("gradient.clamp", limit)),
            GradientScaling::Raw | GradientScaling::Normalize => None,
        };
        let settings = [
            ("step_size", self.step_size),
            ("noise_std", self.noise_std),
            ("friction", self.friction),
        ];
        let settings = settings.into_iter().chain(limit);
        let fault = first_fault(settings.map(|(name, found)| (name, f64::from(found))));
        fault.map(|fault| fault.to_string())
    }

    /// One step: moves the `batch` images `x` and their velocities, with the `noise` of this `step`: the same
    /// noise resumes the same chain.
    ///
    /// # Shapes
    /// - `x`, `velocity`, `gradient`: `[batch, channels, height, width]`
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(
        &self,
        noise: impl Into<Noise>,
        step: u64,
        batch: usize,
        x: &mut [f32],
        velocity: &mut [f32],
        gradient: &[f32],
    ) {
        assert!(x.len() == gradient.len() && x.len() == velocity.len());
        let image = x.len() / batch;
        for (v, g) in velocity
            .chunks_exact_mut(image)
            .zip(gradient.chunks_exact(image))
        {
            let norm = || g.iter().map(|g| g * g).sum::<f32>().sqrt().max(1e-12);
            let (limit, scale) = match self.gradient {
                GradientScaling::Raw => (f32::INFINITY, 1.0),
                GradientScaling::Clamp(limit) => (limit, 1.0),
                GradientScaling::Normalize => (f32::INFINITY, 1.0 / norm()),
            };
            for (v, g) in v.iter_mut().zip(g) {
                *v = self.friction * *v - self.step_size * scale * g.clamp(-limit, limit);
            }
        }
        for (x, v) in x.iter_mut().zip(velocity.iter()) {
            *x += v;
        }
        if self.noise_std > 0.0 {
            for (x, noise) in x
                .iter_mut()
                .zip(noise.into().fold_in(step).normals(gradient.len()))
            {
                *x += noise * self.noise_std;
            }
        }
        if self.clamp {
            x.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        }
    }
}
