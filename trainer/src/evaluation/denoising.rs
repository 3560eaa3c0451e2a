//! How well a model cleans, beside the best blur.

use basin_shared::{Key, ModelFile, metrics, tensors::Frozen};
use burn::tensor::{Device, Tensor, TensorData};

use super::{
    accuracy::BATCH,
    blur::{best_width, blur},
    denoiser::Denoiser,
    measured::Measured,
};
use crate::{
    data::{self, Images},
    tell::Countdown,
};

/// Standard deviations of the noise that is taken away.
pub(crate) const NOISE_STDS: [f32; 4] = [0.1, 0.2, 0.3, 0.5];
/// Test images that are denoised, and validation images on which the width of a blur is chosen.
pub(crate) const DENOISED: usize = 500;
const BLURRED: usize = 200;

/// PSNR and SSIM of noised test images, of what both ways of denoising make of them, and of what the best
/// blur does, whose width is chosen on validation images.
pub(crate) fn denoising(
    file: &ModelFile,
    network: &Frozen,
    [test, validation]: [&Images; 2],
    key: Key,
    device: &Device,
    measured: &mut Measured,
) {
    let (test, validation) = (data::head(test, DENOISED), data::head(validation, BLURRED));
    let shape = test.shape();
    let denoiser = Denoiser {
        network,
        card: &file.card,
    };
    let order: Vec<usize> = (0..test.len()).collect();
    let mut countdown = Countdown::of("denoising, images", NOISE_STDS.len() * test.len());
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
            countdown.advance(indices.len());
        }
        measured.add(&format!("denoising_{std}_blur_width"), width.into());
        for (name, [psnr, ssim]) in sums {
            measured.add(&format!("denoising_{std}_psnr_{name}"), psnr);
            measured.add(&format!("denoising_{std}_ssim_{name}"), ssim);
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

/// The figure of each image and its reference, and the mean of all.
pub(crate) fn mean_of_pairs(
    images: &Tensor<4>,
    references: &Tensor<4>,
    figure: impl Fn(&[f32], &[f32]) -> f64,
) -> f64 {
    let [count, channels, height, width] = images.dims();
    let host = |tensor: &Tensor<4>| tensor.to_data().iter::<f32>().collect::<Vec<_>>();
    let (images, references) = (host(images), host(references));
    let size = channels * height * width;
    let pairs = images.chunks_exact(size).zip(references.chunks_exact(size));
    let sum: f64 = pairs
        .map(|(image, reference)| figure(image, reference))
        .sum();
    sum / count as f64
}
