//! Whether a classifier is as often right as it says (Guo et al. 2017, "On calibration of modern neural networks",
//! section 2; JEAT G.2 and JEM++ 3.2 with 20 bins).

use serde::Serialize;

/// The predictions of about one confidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Confidences are above this …
    pub above: f32,
    /// … and at most this.
    pub up_to: f32,
    /// How many predictions.
    pub count: usize,
    /// Their mean confidence, max p(y | x); 0 where there is none.
    pub confidence: f64,
    /// The share of them that is right; 0 where there is none.
    pub accuracy: f64,
}

/// The numbers of a reliability diagram: `bins` intervals of (0, 1], closed on the right, a confidence of 0 with the
/// first.
///
/// # Shapes
/// - `confidence`, `right`: `[images]`
///
/// # Panics
/// If a confidence is no number from 0 to 1.
pub fn reliability(confidence: &[f32], right: &[bool], bins: usize) -> Vec<Bin> {
    let edge = |bin: usize| bin as f32 / bins as f32;
    let mut found: Vec<Bin> = (0..bins)
        .map(|bin| Bin {
            above: edge(bin),
            up_to: edge(bin + 1),
            count: 0,
            confidence: 0.0,
            accuracy: 0.0,
        })
        .collect();
    for (&confidence, &right) in confidence.iter().zip(right) {
        assert!(
            (0.0..=1.0).contains(&confidence),
            "a confidence of {confidence}"
        );
        let place = found.partition_point(|bin| bin.up_to < confidence);
        let bin = &mut found[place];
        bin.count += 1;
        bin.confidence += f64::from(confidence);
        bin.accuracy += f64::from(u8::from(right));
    }
    for bin in found.iter_mut().filter(|bin| bin.count > 0) {
        bin.confidence /= bin.count as f64;
        bin.accuracy /= bin.count as f64;
    }
    found
}

/// ECE = Σ_b |B_b| / n · |accuracy(B_b) − confidence(B_b)| (Guo et al. 2017, eq. 3). NaN of no prediction.
pub fn expected_calibration_error(bins: &[Bin]) -> f64 {
    let count: usize = bins.iter().map(|bin| bin.count).sum();
    let gap = |bin: &Bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs();
    bins.iter().map(gap).sum::<f64>() / count as f64
}

/// MCE = max_b |accuracy(B_b) − confidence(B_b)| (Guo et al. 2017, eq. 5).
pub fn largest_calibration_error(bins: &[Bin]) -> f64 {
    let gap = |bin: &Bin| (bin.accuracy - bin.confidence).abs();
    bins.iter().map(gap).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hand_computed_case() {
        // (0, 0.25]: 0.25 wrong and 0 wrong; (0.25, 0.5]: none; (0.5, 0.75]: 0.75 right; (0.75, 1]: 1 right, 0.8 wrong.
        let confidence = [0.25, 0.0, 0.75, 1.0, 0.8];
        let right = [false, false, true, true, false];
        let bins = reliability(&confidence, &right, 4);
        assert_eq!(
            bins.iter().map(|bin| bin.count).collect::<Vec<_>>(),
            [2, 0, 1, 2]
        );
        assert_eq!((bins[0].above, bins[0].up_to), (0.0, 0.25));
        // Gaps 0.125, 0.25 and 0.4, of two, one and two of five.
        let expected = (2.0 * 0.125 + 0.25 + 2.0 * 0.4) / 5.0;
        assert!((expected_calibration_error(&bins) - expected).abs() < 1e-7);
        assert!((largest_calibration_error(&bins) - 0.4).abs() < 1e-7);
    }

    #[test]
    fn who_is_certain_and_always_wrong_is_off_by_all() {
        let bins = reliability(&[1.0; 3], &[false; 3], 20);
        assert_eq!(expected_calibration_error(&bins), 1.0);
        assert_eq!(bins[19].count, 3);
    }
}
