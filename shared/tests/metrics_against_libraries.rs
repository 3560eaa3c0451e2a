//! Figures of merit against the numbers of torch-fidelity, scikit-learn and scikit-image (tests/reference/metrics.py).

use basin_shared::metrics::{
    auc, expected_calibration_error, inception_score, kernel_distance, precision_recall,
    reliability, ssim,
};
use serde::Deserialize;

#[path = "../../tests/reference/chirp.rs"]
mod chirp;

use chirp::{SIZE, chirp, features};

const CLASSES: usize = 5;

#[derive(Deserialize)]
struct Reference {
    kernel_distance: f64,
    inception_score: [f64; 2],
    precision: f64,
    recall: f64,
    auroc: f64,
    ece: f64,
    bins: Vec<usize>,
    ssim: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/reference/metrics.json")).unwrap()
}

fn assert_near(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() < tolerance,
        "{found}, expected {expected}"
    );
}

#[test]
fn features_are_compared_as_torch_fidelity_does() {
    let [a, b] = features();
    let expected = reference();
    assert_near(
        kernel_distance(&a, &b, SIZE),
        expected.kernel_distance,
        1e-6,
    );
    let found = precision_recall(&a, &b, SIZE, 3).unwrap();
    assert_near(found.precision, expected.precision, 1e-6);
    assert_near(found.recall, expected.recall, 1e-6);
}

#[test]
fn logits_are_scored_as_torch_fidelity_does() {
    let logits: Vec<f32> = chirp(60 * CLASSES, 2.2).iter().map(|f| 3.0 * f).collect();
    let found = inception_score(&logits, CLASSES, 4);
    for (found, expected) in found.into_iter().zip(reference().inception_score) {
        assert_near(found, expected, 1e-5);
    }
}

#[test]
fn ties_are_counted_as_scikit_learn_does() {
    let rounded = |count, phase, by: f32| -> Vec<f32> {
        let chirp = chirp(count, phase).into_iter();
        chirp
            .map(|v| (4.0 * v).round_ties_even() / 4.0 + by)
            .collect()
    };
    let (inside, outside) = (rounded(40, 0.9, 0.25), rounded(30, 1.9, 0.0));
    assert_near(auc(&outside, &inside), reference().auroc, 1e-12);
}

#[test]
fn calibration_is_measured_as_by_torch() {
    let mut confidence: Vec<f32> = chirp(200, 0.4).iter().map(|v| (1.0 + v) / 2.0).collect();
    for bin in 0..20 {
        confidence[10 * bin] = (bin + 1) as f32 / 20.0;
    }
    let right: Vec<bool> = chirp(200, 2.4).iter().map(|&v| v > 0.0).collect();
    let bins = reliability(&confidence, &right, 20);
    let counts: Vec<usize> = bins.iter().map(|bin| bin.count).collect();
    assert_eq!(counts, reference().bins);
    assert_near(expected_calibration_error(&bins), reference().ece, 1e-6);
}

#[test]
fn similarity_is_that_of_scikit_image() {
    let image = |phase| -> Vec<f32> {
        let chirp = chirp(3 * 14 * 13, phase).into_iter();
        chirp.map(|v| (1.0 + v) / 2.0).collect()
    };
    let found = ssim(&image(0.6), &image(1.6), [3, 14, 13]);
    assert_near(found, reference().ssim, 1e-6);
}
