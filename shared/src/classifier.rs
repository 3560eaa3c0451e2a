//! What samplers and attacks ask of a model.

use crate::energy::Objective;

/// A map from images in [0, 1] to logits; the model's own normalisation is part of it.
///
/// A classifier is in evaluation mode: what it gives an image depends on no other of the batch, and nothing
/// in it moves. Images and what is computed of them are on the host: samplers and attacks cost so little there that
/// they are written once, for the trainer, the page's workers and every device.
pub trait Classifier {
    /// The logits f(x).
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`
    /// - returns `[batch, classes]`
    fn logits(&self, x: &[f32], batch: usize) -> Vec<f32>;

    /// f(x), and the gradient of each image's objective with respect to it.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`
    ///
    /// # Panics
    /// If the sizes do not agree.
    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation;
}

/// What a network has computed of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// `[batch, classes]`
    pub logits: Vec<f32>,
    /// The gradient of the objective with respect to the images, `[batch, channels, height, width]`.
    pub gradient: Vec<f32>,
}
