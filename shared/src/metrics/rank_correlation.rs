//! Spearman's rank correlation.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_hand_computed_cases() {
        // Ranks 0 1 2 3 and 1 0 2.5 2.5: by hand, 1 − 6 Σ d² / (n³ − n) but for the tie.
        let found = rank_correlation(&[1.0, 2.0, 3.0, 4.0], &[5.0, 4.0, 9.0, 9.0]);
        assert!(
            (found - 3.5 / (5.0f64 * 4.5).sqrt()).abs() < 1e-12,
            "{found}"
        );
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[9.0, 5.0, 1.0]), -1.0);
    }
}
