//! What energies, samplers and attacks ask of a model.

use burn::tensor::Tensor;

use crate::tensors::{energy::Energy, gradient::value_and_gradient};

/// A map from images in [0, 1] to logits; the model's own normalisation is part of it.
///
/// A classifier is in evaluation mode: what it gives an image depends on no other of the batch, and
/// nothing in it moves. Samplers and attacks expect it off the autodiff device as well
/// (`Network::frozen()`), so that only x is tracked.
pub trait Classifier {
    /// The logits f(x).
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`
    /// - returns `[batch, classes]`
    fn logits(&self, x: Tensor<4>) -> Tensor<2>;

    /// f(x), and the gradient of each image's energy with respect to it, neither on autodiff. By
    /// Burn's automatic differentiation, unless the model knows a shorter way.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`
    /// - returns `[batch, classes]` and the shape of `x`
    fn logits_and_gradient(&self, x: Tensor<4>, energy: &Energy) -> (Tensor<2>, Tensor<4>) {
        let mut logits = None;
        let energy_of = |x| {
            let f = self.logits(x);
            logits = Some(f.clone().inner());
            energy.of_logits(f)
        };
        let (_, gradient) = value_and_gradient(energy_of, x);
        (logits.expect("the energy was evaluated"), gradient)
    }
}
