//! Gradients with respect to the images.

use burn::tensor::Tensor;

use super::on_tensors::{from_host, to_host};
use crate::energy::Objective;

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
    let gradient = gradient(value.clone(), &x);
    (value.inner(), gradient)
}

/// f(x) and the gradient of each image's objective with respect to it: the logits are read back, and their
/// slope goes backward. Native only, as it waits for the device.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`, `logits` returns `[batch, classes]`
/// - returns `[batch, classes]`, row by row, and `[batch, channels, height, width]`, not on autodiff
pub fn logits_and_gradient(
    logits: impl FnOnce(Tensor<4>) -> Tensor<2>,
    x: Tensor<4>,
    objective: &dyn Objective,
) -> (Vec<f32>, Tensor<4>) {
    let x = x.inner().autodiff().require_grad();
    let f = logits(x.clone());
    let [batch, classes] = f.dims();
    let numbers = to_host(f.clone().inner());
    let mut slopes = vec![0.0; numbers.len()];
    let rows = numbers.chunks_exact(classes);
    for (image, (row, slope)) in rows.zip(slopes.chunks_exact_mut(classes)).enumerate() {
        objective.slope(image, row, slope);
    }
    let slopes = from_host(slopes, [batch, classes], &f.device().inner());
    let gradient = gradient((f * slopes.autodiff()).sum_dim(1).squeeze_dim::<1>(1), &x);
    (numbers, gradient)
}

fn gradient(value: Tensor<1>, x: &Tensor<4>) -> Tensor<4> {
    let mut gradients = value.sum().backward();
    x.grad_remove(&mut gradients)
        .unwrap_or_else(|| x.clone().inner().zeros_like())
}
