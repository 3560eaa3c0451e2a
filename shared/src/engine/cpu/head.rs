//! From the last features to the logits, to the energy, and back.

use super::image::Layout;
use crate::{energy::Objective, engine::plan::Head};

/// The last features, activated, and the derivatives of their activation.
pub(super) struct Features<'a> {
    /// How both lie in memory, and the gradient.
    pub(super) layout: Layout,
    pub(super) value: &'a [f32],
    pub(super) derivative: &'a [f32],
}

/// Logits of each image, and the gradient of its objective, where there is one, with respect to the features
/// before their activation. The first image has number `first`.
pub(super) fn run(
    head: &Head,
    features: Features,
    first: usize,
    objective: Option<&dyn Objective>,
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
    let mut slopes = vec![0.0; head.bias.len()];
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

        let Some(objective) = objective else { continue };
        objective.slope(first + image, logits, &mut slopes);
        let mut gradient = vec![0.0; channels];
        let rows = head.weight.chunks_exact(channels);
        for (slope, row) in slopes.iter().zip(rows) {
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
