//! The last layer of every network: logits of the mean over all pixels.
//!
//! On a GPU (Burn's CubeCL backend) it is two kernels forward and one for each gradient; Burn's operations would be some
//! twelve, which differ by the sizes.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "cubecl")]
mod recorded;

use burn::tensor::Tensor;

#[cfg(feature = "cubecl")]
use super::cube::is_single_on_cube;

#[cfg(feature = "cubecl")]
pub(super) use recorded::data_gradient;

/// f = W x̄ + b, with x̄ the mean of x over its pixels.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, weight: `[classes, channels]`, bias: `[classes]`
/// - output: `[batch, classes]`
pub fn head(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&x) && is_single_on_cube(&weight) {
        return recorded::head(x, weight, bias);
    }
    let mean = x.mean_dims(&[2, 3]).flatten::<2>(1, 3);
    mean.matmul(weight.transpose()) + bias.unsqueeze()
}
