//! The convolution of every model: [`conv2d`].
//!
//! On the processor (Burn's Flex backend, single precision) it runs the kernels of [`crate::engine::cpu`],
//! which are several times as fast as the general ones; on a GPU (Burn's CubeCL backend) those of `cube`, which
//! are compiled in seconds where Burn's would be searched for minutes; on every other backend it is Burn's
//! convolution.
//! [`conv2d_in_bf16`] is the same with its factors rounded to bf16, where the processor has units for
//! that. All are differentiable, and a gradient is computed only for what is tracked: a sampler that
//! follows ∇ₓ pays nothing for the weights.

#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod recorded;

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use crate::models::Activation;
#[cfg(feature = "cubecl")]
use crate::tensors::cube::runs_on_cube;

#[cfg(feature = "flex")]
pub(crate) use flex::{dense, numbers, runs_on_flex};
#[cfg(feature = "flex")]
pub use recorded::weight_gradients_computed;

/// The source of the kernels for GPUs, which tells one version of them from another.
#[cfg(feature = "cubecl")]
pub const SOURCE_OF_KERNELS: &str = concat!(
    include_str!("cube.rs"),
    include_str!("../cube.rs"),
    include_str!("../activation/cube.rs"),
    include_str!("../attack/cube.rs"),
    include_str!("../chain/cube.rs"),
    include_str!("../descent/cube.rs"),
    include_str!("../draws/cube.rs"),
    include_str!("../energy/cube.rs"),
    include_str!("../head/cube.rs"),
    include_str!("../normalization/cube.rs")
);

/// Convolution with a square kernel of 3×3 or 1×1.
///
/// ```text
/// y[n][o][i][j] = bias[o] + Σ_c Σ_a Σ_b weight[o][c][a][b] · x[n][c][stride·i + a − p][stride·j + b − p]
/// ```
///
/// with p the padding and zero for every pixel outside of x. The padding is half the kernel, 1 or 0;
/// or 0 for a kernel of 3×3 with stride two on even sizes, so that one row and column behind x are
/// met and none before, as TensorFlow's `SAME` pads them.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - weight: `[channels_out, channels_in, kernel, kernel]`
/// - bias: `[channels_out]`
/// - output: `[batch, channels_out, ⌈height / stride⌉, ⌈width / stride⌉]`
///
/// # Panics
///
/// If the kernel is of another size, the stride is not 1 or 2, the padding is another, or the
/// channels do not agree.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    check(&x, &weight, bias.as_ref(), stride, padding);
    #[cfg(feature = "flex")]
    if has_kernels(&x, &weight, bias.as_ref()) {
        return recorded::conv2d(x, weight, bias, stride, padding, None);
    }
    burn_conv2d(x, weight, bias, stride, padding)
}

/// ∂/∂x of [`conv2d`], x of this shape, from ∂/∂y; on a GPU and off the autodiff device.
#[cfg(feature = "cubecl")]
pub(crate) fn data_gradient(
    dy: Tensor<4>,
    weight: Tensor<4>,
    x: [usize; 4],
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let shapes = recorded::Shapes {
        x,
        weight: weight.dims(),
        stride,
        padding,
    };
    recorded::data_gradient(dy, weight, shapes)
}

/// Convolution by Burn, with a square kernel of any size and as many zeros on every side as `padding` says.
///
/// # Shapes
/// As [`conv2d`], but for the output: `[batch, channels_out, height', width']` where
/// height' = ⌊(height + 2 padding − kernel) / stride⌋ + 1, and likewise the width.
pub(crate) fn conv2d_of_any_kernel(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    burn::tensor::module::conv2d(x, weight, bias, options)
}

/// Whether there are kernels of ours for these tensors.
#[cfg(feature = "flex")]
fn has_kernels(x: &Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>) -> bool {
    let on_flex = runs_on_flex(x) && runs_on_flex(weight) && bias.is_none_or(runs_on_flex);
    #[cfg(feature = "cubecl")]
    let on_cube = cfg!(not(feature = "autotune"))
        && runs_on_cube(weight)
        && x.dtype() == weight.dtype()
        && bias.is_none_or(|bias| bias.dtype() == weight.dtype());
    #[cfg(not(feature = "cubecl"))]
    let on_cube = false;
    x.dims().iter().all(|&size| size > 0) && (on_flex || on_cube)
}

/// Whether the tensor is in single precision on a processor whose units multiply bf16 numbers.
#[cfg(feature = "flex")]
pub(crate) fn has_bf16_units(x: &Tensor<4>) -> bool {
    runs_on_flex(x) && crate::engine::cpu::amx::Amx::get().is_some()
}

/// None of Basin's own units is there without its back end.
#[cfg(not(feature = "flex"))]
pub(crate) fn has_bf16_units(_: &Tensor<4>) -> bool {
    false
}

/// As [`conv2d`] of a(x), or of x where there is no activation a, of tensors in single precision with every
/// factor rounded to bf16, forward and backward; sums, y and gradients are single precision.
///
/// a(x) is computed on the way into the convolution and again backward: to keep it, and to write and read
/// it, would take longer.
///
/// # Panics
///
/// As [`conv2d`]; and if [`has_bf16_units`] is false.
pub(crate) fn conv2d_in_bf16(
    x: Tensor<4>,
    activation: Option<Activation>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    assert!(has_bf16_units(&x), "no units for bf16");
    if x.dims().contains(&0) {
        let x = activation.map_or(x.clone(), |activation| activation.forward(x));
        return conv2d(x, weight, bias, stride, padding);
    }
    check(&x, &weight, bias.as_ref(), stride, padding);
    #[cfg(feature = "flex")]
    {
        let amx = crate::engine::cpu::amx::Amx::get();
        let in_bf16 = amx.map(|amx| cpu::InBf16 { amx, activation });
        recorded::conv2d(x, weight, bias, stride, padding, in_bf16)
    }
    #[cfg(not(feature = "flex"))]
    unreachable!("units for bf16 were found")
}

/// Panics as [`conv2d`] says.
fn check(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: usize,
) {
    let [_, channels_in, height, width] = x.dims();
    let [channels_out, weight_in, kernel, kernel_width] = weight.dims();
    assert!(
        kernel == kernel_width && (kernel == 1 || kernel == 3),
        "a kernel of {kernel}x{kernel_width} where 3x3 or 1x1 was expected"
    );
    assert!(
        stride == 1 || stride == 2,
        "stride {stride} where 1 or 2 was expected"
    );
    let behind = kernel == 3 && stride == 2 && [height, width].iter().all(|n| n.is_multiple_of(2));
    assert!(
        padding == kernel / 2 || padding == 0 && behind,
        "padding {padding} of a kernel of {kernel}x{kernel} with stride {stride} on \
         {height}x{width} pixels, where {} was expected",
        kernel / 2
    );
    assert_eq!(
        channels_in, weight_in,
        "channels of the images and channels of the weight"
    );
    if let Some(bias) = bias {
        assert_eq!(
            bias.dims(),
            [channels_out],
            "shape of the bias and channels of the output"
        );
    }
}

/// The same by Burn's convolution.
fn burn_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let sides = (padding, weight.dims()[2] / 2);
    let options = ConvOptions::new_with_padding([stride; 2], [sides; 2], [1, 1], 1);
    burn::tensor::module::conv2d(x, weight, bias, options)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, Distribution};

    /// Largest difference allowed between two sums of products, relative to the largest of them:
    /// some 1e-7 for every rounding, in sums of up to thousands in two different orders, and a
    /// decimal digit more where Winograd's algorithm computes them.
    const TOLERANCE: f32 = 5e-5;

    #[derive(Clone, Copy, Debug)]
    struct Case {
        batch: usize,
        channels_in: usize,
        channels_out: usize,
        height: usize,
        width: usize,
    }

    const CASES: &[Case] = &[
        Case {
            batch: 1,
            channels_in: 1,
            channels_out: 1,
            height: 1,
            width: 1,
        },
        Case {
            batch: 1,
            channels_in: 1,
            channels_out: 16,
            height: 5,
            width: 7,
        },
        Case {
            batch: 2,
            channels_in: 3,
            channels_out: 8,
            height: 28,
            width: 28,
        },
        Case {
            batch: 5,
            channels_in: 16,
            channels_out: 16,
            height: 7,
            width: 7,
        },
        Case {
            batch: 3,
            channels_in: 130,
            channels_out: 20,
            height: 3,
            width: 5,
        },
        Case {
            batch: 2,
            channels_in: 20,
            channels_out: 130,
            height: 6,
            width: 6,
        },
        Case {
            batch: 4,
            channels_in: 7,
            channels_out: 7,
            height: 33,
            width: 65,
        },
        Case {
            batch: 2,
            channels_in: 33,
            channels_out: 31,
            height: 9,
            width: 1,
        },
        Case {
            batch: 2,
            channels_in: 4,
            channels_out: 3,
            height: 1,
            width: 9,
        },
        // Enough images for every lane of a vector, and some over.
        Case {
            batch: 33,
            channels_in: 5,
            channels_out: 6,
            height: 7,
            width: 7,
        },
        Case {
            batch: 64,
            channels_in: 16,
            channels_out: 20,
            height: 5,
            width: 3,
        },
        Case {
            batch: 2,
            channels_in: 640,
            channels_out: 16,
            height: 6,
            width: 7,
        },
        Case {
            batch: 1,
            channels_in: 16,
            channels_out: 640,
            height: 4,
            width: 4,
        },
        Case {
            batch: 16,
            channels_in: 13,
            channels_out: 9,
            height: 4,
            width: 4,
        },
    ];

    /// With kernel, stride and padding.
    fn for_every_case(check: impl Fn(Case, usize, usize, usize)) {
        for &case in CASES {
            for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0)]
            {
                let even = case.height.is_multiple_of(2) && case.width.is_multiple_of(2);
                if padding == kernel / 2 || even {
                    check(case, kernel, stride, padding);
                }
            }
        }
    }

    fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
    }

    fn assert_close<const D: usize>(got: Tensor<D>, expected: Tensor<D>, what: &str) {
        assert_eq!(got.dims(), expected.dims(), "shape of {what}");
        let scale: f32 = expected.clone().abs().max().into_scalar();
        let difference: f32 = (got - expected).abs().max().into_scalar();
        assert!(
            difference <= TOLERANCE * scale.max(1.0),
            "{what} differs by {difference} where numbers reach {scale}"
        );
    }

    #[test]
    fn agrees_with_burn() {
        let device = Device::flex().autodiff();
        for_every_case(|case, kernel, stride, padding| {
            let Case {
                batch,
                channels_in,
                channels_out,
                height,
                width,
            } = case;
            let x = random([batch, channels_in, height, width], &device).require_grad();
            let weight =
                random([channels_out, channels_in, kernel, kernel], &device).require_grad();
            let bias = random([channels_out], &device).require_grad();
            let [rows, columns] = [height, width].map(|size| size.div_ceil(stride));
            let slopes = random([batch, channels_out, rows, columns], &device);
            let sums = |convolution: fn(
                Tensor<4>,
                Tensor<4>,
                Option<Tensor<1>>,
                usize,
                usize,
            ) -> Tensor<4>| {
                let added = Some(bias.clone());
                let y = convolution(x.clone(), weight.clone(), added, stride, padding);
                let grads = (y.clone() * slopes.clone()).sum().backward();
                let gradients = (
                    x.grad(&grads).unwrap(),
                    weight.grad(&grads).unwrap(),
                    bias.grad(&grads).unwrap(),
                );
                (y.inner(), gradients)
            };
            let (y, (dx, dw, db)) = sums(conv2d);
            let (expected_y, (expected_dx, expected_dw, expected_db)) = sums(burn_conv2d);
            let name = format!("{case:?}, kernel {kernel}, stride {stride}, padding {padding}");
            assert_close(y, expected_y, &format!("value for {name}"));
            assert_close(dx, expected_dx, &format!("data gradient for {name}"));
            assert_close(dw, expected_dw, &format!("weight gradient for {name}"));
            assert_close(db, expected_db, &format!("bias gradient for {name}"));
        });
    }

    /// To the nearest bf16 number, and back.
    fn rounded<const D: usize>(x: Tensor<D>) -> Tensor<D> {
        x.cast(DType::BF16).cast(DType::F32)
    }

    fn in_bf16(
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        stride: usize,
        padding: usize,
    ) -> Tensor<4> {
        conv2d_in_bf16(x, None, weight, bias, stride, padding)
    }

    /// An activation that is a millionth off may be rounded to the next bf16 number, 1 / 256 away. The sums
    /// of squares, and their gradients, are of factors that were rounded so.
    fn assert_near<const D: usize>(got: Tensor<D>, expected: Tensor<D>, what: &str) {
        assert_eq!(got.dims(), expected.dims(), "shape of {what}");
        let scale: f32 = expected.clone().abs().max().into_scalar();
        let difference: f32 = (got - expected).abs().max().into_scalar();
        assert!(
            difference <= 0.01 * scale.max(1.0),
            "{what} differs by {difference} where numbers reach {scale}"
        );
    }

    #[test]
    fn in_bf16_an_activation_on_the_way_is_that_before() {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        if !has_bf16_units(&random([1, 1, 1, 1], &plain)) {
            return;
        }
        for_every_case(|case, kernel, stride, padding| {
            let Case {
                batch,
                channels_in,
                channels_out,
                height,
                width,
            } = case;
            for activation in [Activation::Silu, Activation::Relu, Activation::LeakyRelu] {
                let shape = [channels_out, channels_in, kernel, kernel];
                for weight in [
                    random(shape, &device).require_grad(),
                    random(shape, &device),
                ] {
                    let x = random([batch, channels_in, height, width], &device) * 4.0;
                    let x = x.require_grad();
                    let of = |before: Option<Activation>, on_the_way: Option<Activation>| {
                        let a = before.map_or(x.clone(), |a| a.forward(x.clone()));
                        let w = weight.clone();
                        let y = conv2d_in_bf16(a, on_the_way, w, None, stride, padding);
                        let grads = y.clone().powi_scalar(2).sum().backward();
                        (y.inner(), x.grad(&grads).unwrap(), weight.grad(&grads))
                    };
                    let (y, dx, dw) = of(None, Some(activation));
                    let (expected_y, expected_dx, expected_dw) = of(Some(activation), None);
                    let name = format!("{activation:?}, {case:?}, kernel {kernel}");
                    assert_near(y, expected_y, &format!("value for {name}"));
                    assert_near(dx, expected_dx, &format!("data gradient for {name}"));
                    assert_eq!(dw.is_some(), expected_dw.is_some());
                    if let (Some(dw), Some(expected)) = (dw, expected_dw) {
                        assert_near(dw, expected, &format!("weight gradient for {name}"));
                    }
                }
            }
        });
    }

    #[test]
    fn in_bf16_agrees_with_burn_on_rounded_factors() {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        if !has_bf16_units(&random([1, 1, 1, 1], &plain)) {
            return;
        }
        for_every_case(|case, kernel, stride, padding| {
            let Case {
                batch,
                channels_in,
                channels_out,
                height,
                width,
            } = case;
            let [rows, columns] = [height, width].map(|size| size.div_ceil(stride));
            let x = random([batch, channels_in, height, width], &plain);
            let weight = random([channels_out, channels_in, kernel, kernel], &plain);
            let bias = random([channels_out], &plain);
            let slopes = random([batch, channels_out, rows, columns], &plain);
            let of = |convolution: fn(
                Tensor<4>,
                Tensor<4>,
                Option<Tensor<1>>,
                usize,
                usize,
            ) -> Tensor<4>,
                      [x, weight, slopes]: [Tensor<4>; 3]| {
                let on = |x: Tensor<4>| Tensor::from_data(x.into_data(), &device);
                let [x, weight] = [x, weight].map(|x| on(x).require_grad());
                let bias = Tensor::<1>::from_data(bias.to_data(), &device);
                let y = convolution(x.clone(), weight.clone(), Some(bias), stride, padding);
                let grads = (y.clone() * on(slopes)).sum().backward();
                let gradients = (x.grad(&grads).unwrap(), weight.grad(&grads).unwrap());
                (y.inner(), gradients)
            };
            let factors = [x, weight, slopes];
            let (y, (dx, dw)) = of(in_bf16, factors.clone());
            let (expected_y, (expected_dx, expected_dw)) = of(burn_conv2d, factors.map(rounded));
            let name = format!("{case:?}, kernel {kernel}, stride {stride}, padding {padding}");
            assert_close(y, expected_y, &format!("value for {name}"));
            assert_close(dx, expected_dx, &format!("data gradient for {name}"));
            assert_close(dw, expected_dw, &format!("weight gradient for {name}"));
        });
    }

    #[test]
    fn needs_no_bias_and_no_gradient() {
        let device = Device::flex();
        for_every_case(|case, kernel, stride, padding| {
            let Case {
                batch,
                channels_in,
                channels_out,
                height,
                width,
            } = case;
            let x = random([batch, channels_in, height, width], &device);
            let weight = random([channels_out, channels_in, kernel, kernel], &device);
            let y = conv2d(x.clone(), weight.clone(), None, stride, padding);
            assert_close(y, burn_conv2d(x, weight, None, stride, padding), "value");
        });
    }

    #[test]
    fn takes_tensors_of_any_layout() {
        let device = Device::flex();
        let x = random([6, 5, 4, 3], &device)
            .swap_dims(0, 3)
            .slice([1..3, 0..5, 0..4, 1..6]);
        let weight = random([3, 3, 5, 7], &device).permute([3, 2, 1, 0]);
        let y = conv2d(x.clone(), weight.clone(), None, 1, 1);
        assert_close(y, burn_conv2d(x, weight, None, 1, 1), "value");
    }

    #[test]
    fn other_precisions_are_left_to_burn() {
        let device = Device::flex();
        let x = random([2, 3, 5, 5], &device).cast(DType::F64);
        let weight = random([4, 3, 3, 3], &device).cast(DType::F64);
        let y = conv2d(x.clone(), weight.clone(), None, 2, 1);
        assert_eq!(y.dtype(), DType::F64);
        y.into_data()
            .assert_eq(&burn_conv2d(x, weight, None, 2, 1).into_data(), true);
    }

    #[test]
    fn computes_only_gradients_that_are_asked_for() {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        let before = weight_gradients_computed();

        // Neither weights of a device without gradients nor frozen ones cost a gradient.
        let x = random([2, 3, 5, 5], &device).require_grad();
        for weight in [random([4, 3, 3, 3], &plain), random([4, 3, 3, 3], &device)] {
            let grads = conv2d(x.clone(), weight.clone(), None, 1, 1)
                .sum()
                .backward();
            assert!(x.grad(&grads).is_some());
            let bias = random([4], &device);
            let grads = conv2d(x.clone(), weight, Some(bias), 1, 1).sum().backward();
            assert!(x.grad(&grads).is_some());
        }
        assert_eq!(weight_gradients_computed(), before);

        let x = random([2, 3, 5, 5], &device);
        let weight = random([4, 3, 3, 3], &device).require_grad();
        let grads = conv2d(x.clone(), weight.clone(), None, 1, 1)
            .sum()
            .backward();
        assert!(x.grad(&grads).is_none());
        assert!(weight.grad(&grads).is_some());
        assert_eq!(weight_gradients_computed(), before + 1);

        // A bias alone: neither x nor the weight.
        let weight = random([4, 3, 3, 3], &device);
        let bias = random([4], &device).require_grad();
        let grads = conv2d(x, weight, Some(bias.clone()), 1, 1).sum().backward();
        assert!(bias.grad(&grads).is_some());
        assert_eq!(weight_gradients_computed(), before + 1);
    }

    #[cfg(feature = "rayon")]
    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        the_same_with_any_number_of_threads(conv2d);
        if has_bf16_units(&random([1, 1, 1, 1], &Device::flex())) {
            the_same_with_any_number_of_threads(in_bf16);
        }
    }

    #[cfg(feature = "rayon")]
    fn the_same_with_any_number_of_threads(
        convolution: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>,
    ) {
        let device = Device::flex().autodiff();
        for_every_case(|case, kernel, stride, padding| {
            let Case {
                batch,
                channels_in,
                channels_out,
                height,
                width,
            } = case;
            let x = random([batch, channels_in, height, width], &device).require_grad();
            let weight =
                random([channels_out, channels_in, kernel, kernel], &device).require_grad();
            let bias = random([channels_out], &device).require_grad();
            let with_threads = |threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let added = Some(bias.clone());
                    let y = convolution(x.clone(), weight.clone(), added, stride, padding);
                    let grads = y.clone().powi_scalar(2).sum().backward();
                    [
                        y.inner().into_data(),
                        x.grad(&grads).unwrap().into_data(),
                        weight.grad(&grads).unwrap().into_data(),
                        bias.grad(&grads).unwrap().into_data(),
                    ]
                })
            };
            let one = with_threads(1);
            for threads in [1, 2, 3, 5] {
                for (got, expected) in with_threads(threads).iter().zip(&one) {
                    got.assert_eq(expected, true);
                }
            }
        });
    }
}
