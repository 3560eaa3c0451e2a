//! Peak signal-to-noise ratio.

/// Peak signal-to-noise ratio of an image in [0, 1]: −10 log₁₀ of the mean squared error, in dB; 100 of an image that
/// is the same.
pub fn psnr(image: &[f32], reference: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (*a as f64 - *b as f64).powi(2);
    let error = image.iter().zip(reference).map(square).sum::<f64>() / image.len() as f64;
    -10.0 * error.max(1e-10).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_hand_computed_cases() {
        assert!((psnr(&[0.5, 0.5], &[0.4, 0.6]) - 20.0).abs() < 1e-5);
        assert_eq!(psnr(&[0.5], &[0.5]), 100.0);
    }
}
