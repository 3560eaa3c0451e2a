//! What an adversary may do: change an image by at most ε in a norm and stay in [0, 1].

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// The ball of radius ε around an image, cut to the pixel range [0, 1].
///
/// # Shapes
/// Images, changes and gradients are `[batch, …]`, one image behind the other; how many there are is said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How a change is measured.
    pub norm: Norm,
    /// Radius, in [0, 1] pixel units.
    pub epsilon: f32,
}

/// A norm of a change to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// The largest change of a pixel.
    Linf,
    /// The root of the sum of squares.
    L2,
}

impl Norm {
    /// As people write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Linf => "L-infinity",
            Self::L2 => "L2",
        }
    }

    /// The norm of a change.
    pub fn of(self, delta: &[f32]) -> f32 {
        match self {
            Self::Linf => delta.iter().fold(0.0, |most, d| d.abs().max(most)),
            Self::L2 => delta.iter().map(|d| d * d).sum::<f32>().sqrt(),
        }
    }

    /// The dual norm of a gradient: how much a function rises by a change of length one.
    pub fn dual_of(self, gradient: &[f32]) -> f32 {
        match self {
            Self::Linf => gradient.iter().map(|g| g.abs()).sum(),
            Self::L2 => self.of(gradient),
        }
    }

    /// The norm of the change from an image to another.
    pub fn between(self, x: &[f32], x_adv: &[f32]) -> f32 {
        let delta: Vec<f32> = x_adv.iter().zip(x).map(|(a, b)| a - b).collect();
        self.of(&delta)
    }
}

/// What no length is below where it divides.
const LEAST: f32 = 1e-12;

impl Budget {
    /// The L∞ ball of radius ε.
    pub fn linf(epsilon: f32) -> Self {
        Self {
            norm: Norm::Linf,
            epsilon,
        }
    }

    /// x + δ with δ uniform in the ball, projected.
    pub fn random_start(&self, key: Key, x: &[f32], batch: usize) -> Vec<f32> {
        let mut start = match self.norm {
            Norm::Linf => {
                let delta = key.uniforms(x.len()).into_iter();
                delta.map(|u| (u * 2.0 - 1.0) * self.epsilon).collect()
            }
            Norm::L2 => {
                // A direction, and a length with the density of the ball's shells.
                let [direction_key, length_key] = key.split();
                let mut delta = direction_key.normals(x.len());
                let lengths = length_key.uniforms(batch);
                for (delta, u) in images_mut(&mut delta, batch).zip(lengths) {
                    let length = u.powf(1.0 / delta.len() as f32) * self.epsilon;
                    let factor = length / l2(delta);
                    delta.iter_mut().for_each(|d| *d *= factor);
                }
                delta
            }
        };
        for (start, x) in start.iter_mut().zip(x) {
            *start += x;
        }
        self.project(&mut start, x, batch);
        start
    }

    /// x + δ with δ on the ball's surface, cut to [0, 1]: a uniform draw divided by its largest change, or a Gaussian
    /// one by its length.
    pub fn start_on_surface(&self, key: Key, x: &[f32], batch: usize) -> Vec<f32> {
        let mut delta = match self.norm {
            Norm::Linf => key
                .uniforms(x.len())
                .iter()
                .map(|u| u * 2.0 - 1.0)
                .collect(),
            Norm::L2 => key.normals(x.len()),
        };
        for delta in images_mut(&mut delta, batch) {
            let factor = self.epsilon / self.norm.of(delta).max(LEAST);
            delta.iter_mut().for_each(|d| *d *= factor);
        }
        for (delta, x) in delta.iter_mut().zip(x) {
            *delta = (*delta + x).clamp(0.0, 1.0);
        }
        delta
    }

    /// Replaces each image's gradient by the direction of steepest ascent under the norm, of length one: its
    /// sign, or the gradient divided by its length.
    pub fn steepest(&self, gradient: &mut [f32], batch: usize) {
        match self.norm {
            Norm::Linf => gradient.iter_mut().for_each(|g| {
                *g = if *g == 0.0 { 0.0 } else { g.signum() };
            }),
            Norm::L2 => {
                for gradient in images_mut(gradient, batch) {
                    let length = l2(gradient);
                    gradient.iter_mut().for_each(|g| *g /= length);
                }
            }
        }
    }

    /// Cuts each change to the ball.
    pub fn limit(&self, delta: &mut [f32], batch: usize) {
        match self.norm {
            Norm::Linf => {
                let epsilon = self.epsilon;
                delta
                    .iter_mut()
                    .for_each(|d| *d = d.clamp(-epsilon, epsilon));
            }
            Norm::L2 => {
                for delta in images_mut(delta, batch) {
                    let factor = (l2(delta) / self.epsilon.max(LEAST)).max(1.0);
                    delta.iter_mut().for_each(|d| *d /= factor);
                }
            }
        }
    }

    /// Moves each image to the nearest within ε of `x`, cut to [0, 1].
    pub fn project(&self, x_adv: &mut [f32], x: &[f32], batch: usize) {
        for (x_adv, x) in x_adv.iter_mut().zip(x) {
            *x_adv -= x;
        }
        self.limit(x_adv, batch);
        for (x_adv, x) in x_adv.iter_mut().zip(x) {
            *x_adv = (*x_adv + x).clamp(0.0, 1.0);
        }
    }

    /// x_adv ← Π(x_adv + step · steepest(gradient)), in [0, 1] pixel units; down where `step` is negative.
    pub fn step(&self, x_adv: &mut [f32], x: &[f32], gradient: &[f32], step: f32, batch: usize) {
        let mut direction = gradient.to_vec();
        self.steepest(&mut direction, batch);
        for (x_adv, direction) in x_adv.iter_mut().zip(direction) {
            *x_adv += direction * step;
        }
        self.project(x_adv, x, batch);
    }

    /// How much of the budget each image spends, 1 being all. `[batch]`
    pub fn spent(&self, x_adv: &[f32], x: &[f32], batch: usize) -> Vec<f32> {
        let image = x.len() / batch;
        let pairs = x_adv.chunks_exact(image).zip(x.chunks_exact(image));
        let spent = |(x_adv, x)| self.norm.between(x, x_adv) / self.epsilon.max(LEAST);
        pairs.map(spent).collect()
    }
}

fn images_mut(x: &mut [f32], batch: usize) -> std::slice::ChunksExactMut<'_, f32> {
    let image = x.len() / batch.max(1);
    x.chunks_exact_mut(image.max(1))
}

/// The length of an image, at least 1e-12.
fn l2(x: &[f32]) -> f32 {
    Norm::L2.of(x).max(LEAST)
}
