//! Whether a model is as often right as it says, on test images and under FGSM (JEAT G.2).

use anyhow::{Result, ensure};
use basin_shared::{
    attacks::named,
    energy::softmax,
    metrics::{expected_calibration_error, largest_calibration_error, mean, reliability},
};

use super::{candidate::Candidate, logits, measured::Measured};
use crate::tell::Countdown;

/// Intervals of confidence (JEAT G.2).
const BINS: usize = 20;

pub(crate) fn calibration(candidate: &Candidate, measured: &mut Measured) -> Result<()> {
    let test = &candidate.data.test;
    let classes = test.classes(0..test.len());
    add(measured, "", candidate.test_logits()?, &classes);

    let attacked = candidate.arguments.attacked.min(test.len());
    if attacked == 0 {
        measured.leave_out("calibration under FGSM", "--attacked is 0");
        return Ok(());
    }
    let mut countdown = Countdown::of("FGSM", attacked);
    let x_adv = candidate.fgsm(
        &candidate.network,
        &test.values(0..attacked),
        &classes[..attacked],
        |images| countdown.advance(images),
    );
    let logits = logits::of(&candidate.network, &x_adv, attacked);
    ensure!(
        logits.iter().all(|f| f.is_finite()),
        "the model's logits of an image under FGSM are no numbers"
    );
    measured.add("fgsm_images", attacked as f64);
    add(measured, "_fgsm", &logits, &classes[..attacked]);
    Ok(())
}

/// The figures of these logits, under names with this end.
fn add(measured: &mut Measured, end: &str, logits: &[f32], classes: &[usize]) {
    let rows = logits.chunks_exact(logits.len() / classes.len());
    let (confidence, right): (Vec<f32>, Vec<bool>) = rows
        .zip(classes)
        .map(|(f, &class)| {
            let mut p = vec![0.0; f.len()];
            softmax(f, &mut p);
            let predicted = named(f);
            (p[predicted].min(1.0), predicted == class)
        })
        .unzip();
    let bins = reliability(&confidence, &right, BINS);
    if !end.is_empty() {
        let right = right.iter().filter(|&&right| right).count();
        measured.add(
            &format!("accuracy{end}"),
            right as f64 / classes.len() as f64,
        );
    }
    measured.add(&format!("ece{end}"), expected_calibration_error(&bins));
    let largest = largest_calibration_error(&bins);
    measured.add(&format!("largest_calibration_error{end}"), largest);
    measured.add(&format!("mean_confidence{end}"), mean(&confidence));
    measured.detail(&format!("reliability{end}"), bins);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of two classes that is wrong everywhere, and sure of it.
    #[test]
    fn a_model_that_is_always_wrong_has_figures_too() {
        let mut measured = Measured::default();
        add(&mut measured, "_fgsm", &[50.0, 0.0, 0.0, 50.0], &[1, 0]);
        assert_eq!(measured.figure("accuracy_fgsm"), Some(0.0));
        assert_eq!(measured.figure("ece_fgsm"), Some(1.0));
        assert_eq!(measured.details["reliability_fgsm"][19]["count"], 2);
    }
}
