//! The mean, and how far it may be off.

/// The mean of some numbers.
pub fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

/// The standard error of the mean of independent numbers: their standard deviation, by n − 1, over √n. Of one number it
/// is NaN.
pub fn standard_error(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_hand_computed_cases() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        // Deviations −2, −1, 3: 14 / 2 / 3.
        assert!((standard_error(&[1.0, 2.0, 6.0]) - (7.0f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!(standard_error(&[5.0]).is_nan());
    }
}
