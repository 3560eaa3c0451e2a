//! Value and gradient of a per-example scalar with respect to the images.

use burn::tensor::Tensor;

/// f(x) and ∇_x Σ f(x): as examples do not interact, row i of the gradient is ∇ of value i.
///
/// Only x is tracked. With a model off the autodiff device no weight gradient is computed, which
/// halves the backward pass.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, `f` returns `[batch]`
/// - returns `[batch]` and `[batch, channels, height, width]`, neither on autodiff
pub fn value_and_gradient(
    f: impl FnOnce(Tensor<4>) -> Tensor<1>,
    x: Tensor<4>,
) -> (Tensor<1>, Tensor<4>) {
    let x = x.inner().autodiff().require_grad();
    let value = f(x.clone());
    let mut gradients = value.clone().sum().backward();
    let gradient = x
        .grad_remove(&mut gradients)
        .unwrap_or_else(|| x.clone().inner().zeros_like());
    (value.inner(), gradient)
}
