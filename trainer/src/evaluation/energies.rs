//! What E(x) says of images and of noise.

use basin_shared::{
    Key,
    metrics::{auc, mean, rank_correlation},
    tensors::{Frozen, OnTensors, energy},
};
use burn::tensor::Device;

use super::{
    accuracy::BATCH,
    denoising::{DENOISED, NOISE_STDS},
    measured::Measured,
};
use crate::{
    data::{self, Images},
    tell::Countdown,
};

/// The largest standard deviation of the noise whose distance and energy are compared.
const LARGEST_NOISE_STD: f32 = 0.7;
/// Mean and standard deviation of the Gaussian noise whose energy is compared, clamped to [0, 1].
const GAUSSIAN_NOISE: (f32, f32) = (0.5, 0.25);

/// E(x) of test images, of uniform and of Gaussian noise.
pub(crate) fn energies(
    network: &Frozen,
    test: &Images,
    key: Key,
    device: &Device,
    measured: &mut Measured,
) {
    let [channels, height, width] = test.shape();
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    let order: Vec<usize> = (0..test.len()).collect();
    let mut countdown = Countdown::of("energies, images", test.len());
    for (batch, indices) in order.chunks(BATCH).enumerate() {
        countdown.advance(if batch > 0 { BATCH } else { 0 });
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
    measured.add("energy_test", mean(&real));
    measured.add("energy_uniform_noise", mean(&uniform));
    measured.add("energy_gaussian_noise", mean(&gaussian));
    measured.add("energy_test_below_uniform_noise", auc(&real, &uniform));
    measured.add("energy_test_below_gaussian_noise", auc(&real, &gaussian));
}

/// Whether E(x) orders images by their noise, and how it goes with the distance.
pub(crate) fn order(
    network: &Frozen,
    test: &Images,
    key: Key,
    device: &Device,
    measured: &mut Measured,
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
    measured.add("energy_orders_noise", ordered as f64 / pairs as f64);
    let correlation = rank_correlation(&energies, &distances);
    measured.add("energy_distance_rank_correlation", correlation);
}
