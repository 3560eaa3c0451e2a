//! From the last features to the logits, to the energy, and back.

use super::image::Layout;
use crate::engine::plan::Head;

/// The gradient of an image's energy with respect to its logits, of the image's number and logits.
pub(super) type Slopes<'a> = &'a (dyn Fn(usize, &[f32]) -> Vec<f32> + Sync);

/// The last features, activated, and the derivatives of their activation.
pub(super) struct Features<'a> {
    /// Of both, and of the gradient.
    pub(super) layout: Layout,
    pub(super) value: &'a [f32],
    pub(super) derivative: &'a [f32],
}

/// Logits of each image, and the gradient of its energy with respect to the features before their
/// activation. The first image has number `first`.
pub(super) fn run(
    head: &Head,
    features: Features,
    first: usize,
    slopes: Slopes,
    logits: &mut [f32],
    output: &mut [f32],
) {
    let Features {
        layout,
        value,
        derivative,
    } = features;
    let Layout {
        channels,
        rows,
        columns,
    } = layout;
    let pixels = rows * columns;
    let each_pixel =
        |image| (0..pixels).map(move |pixel| layout.at(image, pixel / columns, pixel % columns));
    let share = 1.0 / pixels as f32;
    let logits = logits.chunks_exact_mut(head.bias.len());
    for (image, logits) in logits.enumerate() {
        let mut mean = vec![0.0; channels];
        for place in each_pixel(image) {
            for (mean, value) in mean.iter_mut().zip(&value[place..]) {
                *mean += value * share;
            }
        }
        let rows = head.weight.chunks_exact(channels);
        for ((logit, row), bias) in logits.iter_mut().zip(rows).zip(&head.bias) {
            *logit = bias + row.iter().zip(&mean).map(|(w, m)| w * m).sum::<f32>();
        }

        let mut gradient = vec![0.0; channels];
        let rows = head.weight.chunks_exact(channels);
        for (slope, row) in slopes(first + image, logits).into_iter().zip(rows) {
            for (gradient, weight) in gradient.iter_mut().zip(row) {
                *gradient += slope * share * weight;
            }
        }
        for place in each_pixel(image) {
            let pairs = gradient.iter().zip(&derivative[place..]);
            for (output, (gradient, derivative)) in output[place..].iter_mut().zip(pairs) {
                *output = gradient * derivative;
            }
        }
    }
}

/// softmax(f)
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut shares: Vec<f32> = logits.iter().map(|f| (f - largest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}
