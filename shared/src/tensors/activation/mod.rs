//! Activation functions: [`silu`] and [`leaky_relu`].
//!
//! On the processor (Burn's Flex backend, single precision) and on GPUs (its CubeCL backend) each is one pass over the
//! numbers forward and one backward. As chains of Burn's operations they would take several times as long as the
//! convolutions between them.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod recorded;

use burn::tensor::Tensor;

/// Sigmoid-weighted linear unit, x · σ(x) with σ(x) = 1 / (1 + exp(−x)).
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if has_kernels(&x) {
        return recorded::activate(recorded::Function::Silu, x);
    }
    burn::tensor::activation::silu(x)
}

/// Leaky rectifier: x where x > 0, else `slope` · x.
pub fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if has_kernels(&x) {
        let slope = slope as f32;
        return recorded::activate(recorded::Function::LeakyRelu { slope }, x);
    }
    burn::tensor::activation::leaky_relu(x, slope)
}

/// dy · a′(x), on a GPU and off the autodiff device.
#[cfg(feature = "cubecl")]
pub(super) fn gradient(
    activation: crate::models::Activation,
    x: Tensor<4>,
    dy: Tensor<4>,
) -> Tensor<4> {
    use crate::models::Activation;
    let function = match activation {
        Activation::Silu => recorded::Function::Silu,
        Activation::LeakyRelu => recorded::Function::LeakyRelu { slope: 0.2 },
        Activation::Relu => recorded::Function::LeakyRelu { slope: 0.0 },
    };
    recorded::gradient(function, x, dy)
}

/// Whether there are kernels of ours for this tensor.
#[cfg(feature = "flex")]
fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    #[cfg(feature = "cubecl")]
    if crate::tensors::cube::runs_on_cube(x) {
        return true;
    }
    crate::tensors::convolution::runs_on_flex(x)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::Key;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn silu_is_accurate_to_single_precision() {
        let device = Device::flex();
        let x: Vec<f32> = (-9000..9000).map(|i| i as f32 * 0.01 + 0.001).collect();
        let y = silu(Tensor::<1>::from_floats(x.as_slice(), &device)).into_data();
        for (&x, y) in x.iter().zip(y.iter::<f32>()) {
            let x = f64::from(x);
            let expected = x / (1.0 + (-x).exp());
            let error = (f64::from(y) - expected).abs();
            // Below −87 the exponential leaves single precision.
            assert!(
                error <= 3e-7 * expected.abs() + 1e-36,
                "silu({x}) = {y}, not {expected}"
            );
        }
    }

    #[test]
    fn values_and_gradients_agree_with_burn() {
        let device = Device::flex().autodiff();
        // Several parts of the work and a rest; one number; none of a vector's size.
        for shape in [[3, 5, 97, 83], [1, 1, 1, 1], [2, 3, 1, 7]] {
            let [x_key, slope_key] = Key::new(1).split();
            let x = x_key.uniform(shape, &device) * 18.0 - 9.0;
            let x = x.require_grad();
            let slopes = slope_key.uniform(shape, &device);
            let both = |activation: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let y = activation(x.clone());
                let grads = (y.clone() * slopes.clone()).sum().backward();
                (y.inner().into_data(), x.grad(&grads).unwrap().into_data())
            };
            let close = |(y, dx): (TensorData, TensorData), expected: (TensorData, TensorData)| {
                let tolerance = burn::tensor::Tolerance::<f32>::rel_abs(2e-6, 2e-6);
                y.assert_approx_eq(&expected.0, tolerance);
                dx.assert_approx_eq(&expected.1, tolerance);
            };
            close(both(&silu), both(&burn::tensor::activation::silu));
            close(
                both(&|x| leaky_relu(x, 0.1)),
                both(&|x| burn::tensor::activation::leaky_relu(x, 0.1)),
            );
        }
    }

    #[test]
    fn a_number_that_is_none_stays_none() {
        let x = Tensor::<1>::from_floats([f32::NAN, 1.0, f32::INFINITY], &Device::flex());
        let y = silu(x.clone()).into_data().try_to_vec::<f32>().unwrap();
        assert!(y[0].is_nan() && y[2] == f32::INFINITY);
        let y = leaky_relu(x, 0.1).into_data().try_to_vec::<f32>().unwrap();
        assert!(y[0].is_nan() && y[1] == 1.0);
    }
}
