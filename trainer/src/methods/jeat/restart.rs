//! Where chains restart: from uniform noise, or from a training image under noise.

use basin_shared::Key;
use serde::{Deserialize, Serialize};

/// The replay buffer's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BufferSettings {
    /// Chains kept.
    pub capacity: usize,
    /// Chance that a chain restarts rather than goes on.
    pub reinit_probability: f32,
    /// Share of the restarts that start from uniform noise; the others start from a training image
    /// plus Gaussian noise.
    pub uniform: f32,
    /// The standard deviation of that noise is drawn from U(0, this) for each image.
    pub largest_noise_std: f32,
}

impl BufferSettings {
    /// Turns training images into starts of chains, each with its class.
    pub(super) fn restart(&self, key: Key, pixels: &mut [f32], labels: &mut [u8], classes: usize) {
        let count = labels.len();
        let size = pixels.len() / count.max(1);
        let kind_key = key.stream("kind");
        let noise_key = key.stream("noise");
        let std_key = key.stream("std");
        let uniform_key = key.stream("uniform");
        let class_key = key.stream("class");
        let kinds = kind_key.uniforms(count);
        let stds = std_key.uniforms(count);
        let noise = noise_key.normals(pixels.len());
        let uniforms = uniform_key.uniforms(pixels.len());
        let random_labels = class_key.integers(count, classes);
        for (i, image) in pixels.chunks_mut(size.max(1)).enumerate() {
            let place = i * size..(i + 1) * size;
            if kinds[i] < self.uniform {
                image.copy_from_slice(&uniforms[place]);
                labels[i] = random_labels[i] as u8;
            } else {
                let std = stds[i] * self.largest_noise_std;
                for (pixel, noise) in image.iter_mut().zip(&noise[place]) {
                    *pixel = (*pixel + std * noise).clamp(0.0, 1.0);
                }
            }
        }
    }
}
