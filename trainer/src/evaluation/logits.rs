//! The logits of images, which must be numbers.

use anyhow::{Result, ensure};
use basin_shared::Classifier;

use super::accuracy::BATCH;
use crate::tell::Countdown;

/// f(x) of the first test images, as every figure begins with them.
///
/// # Shapes
/// - `x`: `[images, channels, height, width]`, returns `[images, classes]`
///
/// # Errors
/// If a logit is no number.
pub(crate) fn of_test_images(
    model: &impl Classifier,
    x: &[f32],
    images: usize,
) -> Result<Vec<f32>> {
    let logits = of(model, x, images);
    let classes = logits.len() / images.max(1);
    let no_number = logits.iter().position(|f| !f.is_finite());
    ensure!(
        no_number.is_none(),
        "the model's logits of test image {} are no numbers; nothing can be said of its accuracy",
        no_number.unwrap_or_default() / classes.max(1)
    );
    Ok(logits)
}

/// f(x) of many images, a batch after the other.
///
/// # Shapes
/// As [`of_test_images`].
pub(crate) fn of(model: &impl Classifier, x: &[f32], images: usize) -> Vec<f32> {
    let pixels = x.len() / images.max(1);
    let mut countdown = Countdown::of("images", images);
    let batches = x.chunks((BATCH * pixels).max(1));
    batches
        .flat_map(|x| {
            let logits = model.logits(x, x.len() / pixels);
            countdown.advance(x.len() / pixels);
            logits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use basin_shared::{classifier::Evaluation, energy::Objective};

    use super::*;

    /// Its logits are its pixels.
    struct Mirror;

    impl Classifier for Mirror {
        fn logits(&self, x: &[f32], _: usize) -> Vec<f32> {
            x.to_vec()
        }

        fn evaluate(&self, x: &[f32], batch: usize, _: &dyn Objective) -> Evaluation {
            Evaluation {
                logits: self.logits(x, batch),
                gradient: vec![0.0; x.len()],
            }
        }
    }

    #[test]
    fn the_first_image_without_numbers_is_named() {
        let mut x = vec![0.5; 2 * 230];
        assert_eq!(of_test_images(&Mirror, &x, 230).unwrap(), x);
        x[2 * 213 + 1] = f32::NAN;
        let error = of_test_images(&Mirror, &x, 230).unwrap_err().to_string();
        assert!(error.contains("test image 213 are no numbers"), "{error}");
    }
}
