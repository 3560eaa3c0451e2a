//! What energies, samplers and attacks ask of a model.

use burn::tensor::Tensor;

/// A map from images in [0, 1] to logits; the model's own normalisation is part of it.
///
/// Whether the model trains is said by whoever passes it: samplers and attacks expect it in
/// evaluation mode and off the autodiff device (`Module::valid()`), so that only x is tracked.
pub trait Classifier {
    /// The logits f(x).
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`
    /// - returns `[batch, classes]`
    fn logits(&self, x: Tensor<4>) -> Tensor<2>;
}
