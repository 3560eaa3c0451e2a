//! Figures of images and energies, on the host.

/// Peak signal-to-noise ratio of an image in [0, 1]: −10 log₁₀ of the mean squared error, in dB.
pub(crate) fn psnr(image: &[f32], reference: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (*a as f64 - *b as f64).powi(2);
    let error = image.iter().zip(reference).map(square).sum::<f64>() / image.len() as f64;
    -10.0 * error.log10()
}

/// Share of all pairs (a, b) with a < b, ties counting half: the area under the ROC curve.
pub(crate) fn share_below(a: &[f32], b: &[f32]) -> f64 {
    let mut b = b.to_vec();
    b.sort_by(f32::total_cmp);
    let above = |value: &f32| {
        let not_below = b.len() - b.partition_point(|other| other < value);
        let above = b.len() - b.partition_point(|other| other <= value);
        (above + not_below) as f64 / 2.0
    };
    a.iter().map(above).sum::<f64>() / (a.len() * b.len()) as f64
}

/// Mean Euclidean distance of all pairs of images, each `size` numbers.
pub(crate) fn mean_pairwise_distance(images: &[f32], size: usize) -> f64 {
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
pub(crate) fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| value as f64).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_hand_computed_cases() {
        assert!((psnr(&[0.5, 0.5], &[0.4, 0.6]) - 20.0).abs() < 1e-5);
        assert_eq!(
            share_below(&[1.0, 2.0], &[2.0, 3.0]),
            (1.0 + 1.0 + 0.5 + 1.0) / 4.0
        );
        let square = [0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        assert_eq!(mean_pairwise_distance(&square, 2), (5.0 + 5.0 + 0.0) / 3.0);
    }
}
