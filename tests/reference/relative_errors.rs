//! How far numbers are from those of a reference.

/// The largest difference, relative to the largest expected number, and the mean one.
pub(crate) fn relative_errors<N: Copy + Into<f64>>(
    found: impl IntoIterator<Item = f32>,
    expected: &[N],
) -> (f64, f64) {
    let found: Vec<f64> = found.into_iter().map(f64::from).collect();
    let expected: Vec<f64> = expected.iter().map(|&number| number.into()).collect();
    assert_eq!(found.len(), expected.len());
    let scale = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let largest = differences.clone().fold(0.0, f64::max);
    let mean = differences.sum::<f64>() / expected.len() as f64;
    (largest / scale, mean / scale)
}
