//! From the last features to the logits, to the energy, and back.

use super::image::Layout;
use crate::{model_card::EnergyKind, plan::Head};

/// The last features, activated, and the derivatives of their activation.
pub(super) struct Features<'a> {
    /// Of both, and of the gradient.
    pub(super) layout: Layout,
    pub(super) value: &'a [f32],
    pub(super) derivative: &'a [f32],
}

/// Logits of each image, and the gradient of its energy with respect to the features before their
/// activation.
pub(super) fn run(
    head: &Head,
    features: Features,
    energy: EnergyKind,
    classes: &[usize],
    logits: &mut [f32],
    output: &mut [f32],
) {
    let Features {
        layout,
        value,
        derivative,
    } = features;
    let Layout { channels, size, .. } = layout;
    let each_pixel =
        |image| (0..size * size).map(move |pixel| layout.at(image, pixel / size, pixel % size));
    let share = 1.0 / (size * size) as f32;
    let logits = logits.chunks_exact_mut(head.bias.len());
    for (image, (logits, &class)) in logits.zip(classes).enumerate() {
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
        for (slope, row) in slopes(energy, logits, class).into_iter().zip(rows) {
            for (gradient, weight) in gradient.iter_mut().zip(row) {
                *gradient += slope * share * weight;
            }
        }
        for place in each_pixel(image) {
            let slopes = gradient.iter().zip(&derivative[place..]);
            for (output, (gradient, derivative)) in output[place..].iter_mut().zip(slopes) {
                *output = gradient * derivative;
            }
        }
    }
}

/// The gradient of an energy with respect to the logits f:
/// −e_y for E(x, y), −softmax(f) for E(x), and the difference for E(x, y) − E(x).
fn slopes(energy: EnergyKind, logits: &[f32], class: usize) -> Vec<f32> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut slopes: Vec<f32> = logits.iter().map(|f| (f - largest).exp()).collect();
    let sum: f32 = slopes.iter().sum();
    let marginal = match energy {
        EnergyKind::Joint => 0.0,
        EnergyKind::Marginal => -1.0,
        EnergyKind::Conditional => 1.0,
    };
    for slope in &mut slopes {
        *slope *= marginal / sum;
    }
    if energy != EnergyKind::Marginal {
        slopes[class] -= 1.0;
    }
    slopes
}
