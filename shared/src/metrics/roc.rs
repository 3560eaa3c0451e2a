//! The receiver operating characteristic: how well a number tells two sets apart.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half_and_no_number_counts_nothing() {
        assert_eq!(auc(&[1.0, 2.0], &[2.0, 3.0]), (1.0 + 1.0 + 0.5 + 1.0) / 4.0);
        assert_eq!(auc(&[f32::NAN], &[1.0]), 0.0);
        assert_eq!(auc(&[4.0; 3], &[4.0; 5]), 0.5);
    }
}
