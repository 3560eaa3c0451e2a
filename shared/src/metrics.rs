//! Figures of images and energies, on the host.

/// Peak signal-to-noise ratio of an image in [0, 1]: −10 log₁₀ of the mean squared error, in dB; 100 of an image that
/// is the same.
pub fn psnr(image: &[f32], reference: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (*a as f64 - *b as f64).powi(2);
    let error = image.iter().zip(reference).map(square).sum::<f64>() / image.len() as f64;
    -10.0 * error.max(1e-10).log10()
}

/// Side and standard deviation of the window of [`ssim`].
const WINDOW: usize = 11;
const WINDOW_STD: f64 = 1.5;

/// Structural similarity of an image in [0, 1] to another (Wang et al. 2004, "Image quality assessment:
/// from error visibility to structural similarity", eq. 13, with their Gaussian window of 11×11 and
/// constants): the mean over channels and over all places where the window fits.
///
/// # Panics
/// If the images are smaller than the window.
pub fn ssim(image: &[f32], reference: &[f32], [_, height, width]: [usize; 3]) -> f64 {
    // An odd number, at most the image's side.
    let window = WINDOW.min((height.min(width) - 1) / 2 * 2 + 1);
    let weight = |i: usize| {
        let distance = i as f64 - (window / 2) as f64;
        (-distance * distance / (2.0 * WINDOW_STD * WINDOW_STD)).exp()
    };
    let total: f64 = (0..window).map(weight).sum();
    let weights: Vec<f64> = (0..window).map(|i| weight(i) / total).collect();
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let (mut sum, mut places) = (0.0, 0);
    let planes = image.chunks_exact(height * width);
    for (x, y) in planes.zip(reference.chunks_exact(height * width)) {
        for row in 0..=height - window {
            for column in 0..=width - window {
                // Weighted sums of x, y, x², y² and xy.
                let mut m = [0.0; 5];
                for i in 0..window {
                    for j in 0..window {
                        let place = (row + i) * width + column + j;
                        let (x, y) = (f64::from(x[place]), f64::from(y[place]));
                        let weight = weights[i] * weights[j];
                        for (m, value) in m.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                            *m += weight * value;
                        }
                    }
                }
                let [mx, my, xx, yy, xy] = m;
                let (vx, vy, vxy) = (xx - mx * mx, yy - my * my, xy - mx * my);
                let luminance = (2.0 * mx * my + c1) / (mx * mx + my * my + c1);
                sum += luminance * (2.0 * vxy + c2) / (vx + vy + c2);
                places += 1;
            }
        }
    }
    sum / f64::from(places)
}

/// Share of all pairs (a, b) with a < b, ties counting half: the area under the ROC curve of a low number as
/// the sign of an a. What is no number is below nothing.
pub fn auc(a: &[f32], b: &[f32]) -> f64 {
    let mut b = b.to_vec();
    b.sort_by(f32::total_cmp);
    let above = |value: &f32| {
        if value.is_nan() {
            return 0.0;
        }
        let not_below = b.len() - b.partition_point(|other| other < value);
        let above = b.len() - b.partition_point(|other| other <= value);
        (above + not_below) as f64 / 2.0
    };
    a.iter().map(above).sum::<f64>() / (a.len() * b.len()) as f64
}

/// Rank correlation (Spearman 1904) of two lists of numbers; equal ones have the mean of their ranks.
pub fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let centre = (a.len() as f64 - 1.0) / 2.0;
    let sum = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - centre) * (b - centre)).sum()
    };
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let rank = |value: &f32| {
        let below = sorted.partition_point(|other| other < value);
        let not_above = sorted.partition_point(|other| other <= value);
        (below + not_above - 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// Mean Euclidean distance of all pairs of images, each `size` numbers.
pub fn mean_pairwise_distance(images: &[f32], size: usize) -> f64 {
    let images: Vec<&[f32]> = images.chunks_exact(size).collect();
    let mut sum = 0.0;
    let mut pairs = 0;
    for (i, a) in images.iter().enumerate() {
        for b in &images[..i] {
            let square: f32 = a.iter().zip(*b).map(|(a, b)| (a - b) * (a - b)).sum();
            sum += (square as f64).sqrt();
            pairs += 1;
        }
    }
    sum / pairs as f64
}

/// The mean of some numbers.
pub fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| value as f64).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tests/reference/ssim.py
    #[test]
    fn similarity_agrees_with_pytorch() {
        let image = |phase: f64| -> Vec<f32> {
            let wave = (0..2 * 13 * 12).map(|i| (1.7 * f64::from(i) + phase).sin());
            wave.map(|v| ((v + 1.0) / 2.0) as f32).collect()
        };
        let (x, y) = (image(0.3), image(1.4));
        let found = ssim(&x, &y, [2, 13, 12]);
        assert!((found - 0.4555552425702964).abs() < 1e-9, "{found}");
        assert!((ssim(&x, &x, [2, 13, 12]) - 1.0).abs() < 1e-12);
        // Images smaller than the window have a smaller one.
        for size in 1..12 {
            let (x, y) = (&x[..size * size], &y[..size * size]);
            assert!((ssim(x, x, [1, size, size]) - 1.0).abs() < 1e-12);
            assert!(ssim(x, y, [1, size, size]) < 1.0, "{size}");
        }
    }

    #[test]
    fn figures_of_hand_computed_cases() {
        assert!((psnr(&[0.5, 0.5], &[0.4, 0.6]) - 20.0).abs() < 1e-5);
        assert_eq!(psnr(&[0.5], &[0.5]), 100.0);
        assert_eq!(auc(&[1.0, 2.0], &[2.0, 3.0]), (1.0 + 1.0 + 0.5 + 1.0) / 4.0);
        assert_eq!(auc(&[f32::NAN], &[1.0]), 0.0);
        // Ranks 0 1 2 3 and 1 0 2.5 2.5: by hand, 1 − 6 Σ d² / (n³ − n) but for the tie.
        let found = rank_correlation(&[1.0, 2.0, 3.0, 4.0], &[5.0, 4.0, 9.0, 9.0]);
        assert!(
            (found - 3.5 / (5.0f64 * 4.5).sqrt()).abs() < 1e-12,
            "{found}"
        );
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[9.0, 5.0, 1.0]), -1.0);
        let square = [0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        assert_eq!(mean_pairwise_distance(&square, 2), (5.0 + 5.0 + 0.0) / 3.0);
    }
}
