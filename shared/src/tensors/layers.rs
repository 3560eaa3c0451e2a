//! The layers that the architectures share. Parameters have PyTorch's layouts, so that a model file
//! opens there as it is.

use burn::{
    module::{Module, Param, RunningState},
    tensor::{
        DType, Device, FloatDType, Tensor,
        module::{batch_norm, batch_norm_train},
    },
};
use serde::{Deserialize, Serialize};

use crate::models::Activation;
use crate::{
    key::Key,
    models::outline::BATCH_NORM_EPSILON,
    tensors::{
        activation,
        convolution::{conv2d, conv2d_in_bf16, conv2d_of_any_kernel, has_bf16_units},
        head::head,
    },
};

impl Activation {
    /// Element-wise, any shape.
    pub fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeakyRelu => activation::leaky_relu(x, 0.2),
            Self::Silu => activation::silu(x),
            Self::Relu => activation::leaky_relu(x, 0.0),
        }
    }
}

/// Which statistics BatchNorm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The batch's, and the running ones move towards them.
    Train,
    /// The running ones, which stay as they are; examples do not interact. Weights may still be
    /// tracked: that is training with frozen statistics.
    Evaluate,
}

/// What a network computes its layers in. Weights, running statistics, logits and gradients of weights
/// and images are in single precision in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Eight bits of significand: fast where the device has units for it, slow where it has not. On a
    /// processor with such units, factors of convolutions alone are rounded.
    Bf16,
}

impl From<Precision> for FloatDType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::BF16,
        }
    }
}

/// In this precision; the same tensor where it is already.
pub(super) fn cast<const D: usize>(x: Tensor<D>, precision: DType) -> Tensor<D> {
    match x.dtype() == precision {
        true => x,
        false => x.cast(FloatDType::from(precision)),
    }
}

/// A square convolution; see [`conv2d`]. It computes in the precision of its input, or in another that it
/// was told.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[out_channels, in_channels, size, size]`.
    pub weight: Param<Tensor<4>>,
    /// `[out_channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    zeros: Zeros,
    #[module(skip)]
    precision: Option<Precision>,
}

/// The zeros around the images of a convolution.
#[derive(Clone, Copy, Debug)]
enum Zeros {
    /// So many in front of the first row and column; behind, half the kernel: what [`conv2d`] takes.
    InFront(usize),
    /// So many on every side.
    OnEverySide(usize),
}

impl Convolution {
    /// Weights from N(0, (gain² / fan_in)), bias 0.
    pub fn init(
        key: Key,
        [in_channels, out_channels]: [usize; 2],
        size: usize,
        stride: usize,
        gain: f32,
        device: &Device,
    ) -> Self {
        let std = gain / ((in_channels * size * size) as f32).sqrt();
        let weight = key.normal([out_channels, in_channels, size, size], device) * std;
        Self {
            weight: Param::from_tensor(weight),
            bias: Some(Param::from_tensor(Tensor::zeros([out_channels], device))),
            stride,
            zeros: Zeros::InFront(size / 2),
            precision: None,
        }
    }

    /// The same without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// The same with no zeros in front of the image, and one row and column behind it.
    pub fn padded_behind(self) -> Self {
        Self {
            zeros: Zeros::InFront(0),
            ..self
        }
    }

    /// The same with so many zeros on every side, whatever kernel and stride are.
    pub fn padded_by(self, padding: usize) -> Self {
        let [.., kernel] = self.weight.dims();
        let zeros = match (kernel, self.stride, padding) {
            (1, 1 | 2, 0) | (3, 1 | 2, 1) => Zeros::InFront(padding),
            _ => Zeros::OnEverySide(padding),
        };
        Self { zeros, ..self }
    }

    /// Computes in this precision, and so do the layers that take its output.
    pub(super) fn compute_in(&mut self, precision: Precision) {
        self.precision = Some(precision);
    }

    /// What it was told to compute in.
    pub(super) fn precision(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// `[batch, in, height, width]` -> `[batch, out, ⌈height / stride⌉, ⌈width / stride⌉]`, or what PyTorch makes of
    /// other zeros.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if let Some(padding) = self.in_bf16_units(&x) {
            return self.forward_in_bf16(x, None, padding);
        }
        let precision = match self.precision {
            Some(told) => FloatDType::from(told).into(),
            None => x.dtype(),
        };
        let weight = cast(self.weight.val(), precision);
        let bias = self.bias.as_ref().map(|bias| cast(bias.val(), precision));
        let x = cast(x, precision);
        match self.zeros {
            Zeros::InFront(padding) => conv2d(x, weight, bias, self.stride, padding),
            Zeros::OnEverySide(padding) => {
                conv2d_of_any_kernel(x, weight, bias, self.stride, padding)
            }
        }
    }

    /// The same of a(x).
    pub(super) fn forward_activated(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        if let Some(padding) = self.in_bf16_units(&x) {
            return self.forward_in_bf16(x, Some(activation), padding);
        }
        self.forward(activation.forward(x))
    }

    /// The zeros in front of x, if units of the processor that multiply bf16 compute this convolution of it.
    fn in_bf16_units(&self, x: &Tensor<4>) -> Option<usize> {
        match self.zeros {
            Zeros::InFront(padding) if self.precision() == Precision::Bf16 && has_bf16_units(x) => {
                Some(padding)
            }
            _ => None,
        }
    }

    fn forward_in_bf16(
        &self,
        x: Tensor<4>,
        activation: Option<Activation>,
        padding: usize,
    ) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        conv2d_in_bf16(x, activation, weight, bias, self.stride, padding)
    }
}

/// Batch normalisation (Ioffe & Szegedy 2015), each channel by itself:
///
/// ```text
/// y = weight · (x − mean) / √(var + ε) + bias
/// ```
///
/// with mean and variance of the batch or the running ones, as [`Mode`] says; never inferred from
/// the device. ε is PyTorch's, 1e-5. It computes in its weights' precision and returns its input's.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// `[channels]`, unbiased.
    pub running_var: RunningState<Tensor<1>>,
    #[module(skip)]
    momentum: f64,
}

impl BatchNorm {
    /// Weight and variance 1, bias and mean 0. `momentum` is the share of a new batch in the running
    /// statistics.
    pub fn init(channels: usize, momentum: f64, device: &Device) -> Self {
        let zeros = || Tensor::<1>::zeros([channels], device);
        let ones = || Tensor::<1>::ones([channels], device);
        Self {
            weight: Param::from_tensor(ones()),
            bias: Param::from_tensor(zeros()),
            running_mean: RunningState::new(zeros()),
            running_var: RunningState::new(ones()),
            momentum,
        }
    }

    /// Any shape `[batch, channels, height, width]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let precision = x.dtype();
        let x = cast(x, weight.dtype());
        if mode == Mode::Evaluate {
            let (mean, var) = (self.running_mean.value(), self.running_var.value());
            let output = batch_norm(x, weight, bias, mean, var, BATCH_NORM_EPSILON);
            return cast(output, precision);
        }
        let [batch, _, height, width] = x.dims();
        let count = (batch * height * width) as f64;
        let result = batch_norm_train(x, weight, bias, BATCH_NORM_EPSILON);
        // As PyTorch: normalised with the biased variance, remembered as the unbiased one.
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        self.remember(&self.running_mean, result.mean);
        self.remember(&self.running_var, unbiased);
        cast(result.output, precision)
    }

    fn remember(&self, running: &RunningState<Tensor<1>>, of_batch: Tensor<1>) {
        let old = running.value();
        let of_batch = of_batch.detach().to_device(&old.device());
        running.update(old * (1.0 - self.momentum) + of_batch * self.momentum);
        // Otherwise the update would wait for the next one.
        running.value_sync();
    }
}

/// `N` groups of residual blocks, each block with a key of its own. A group is told as channels in and
/// out and the stride of its blocks.
pub(super) fn groups<B, const N: usize>(
    groups: [Vec<([usize; 2], usize)>; N],
    key: Key,
    block: impl Fn(Key, [usize; 2], usize) -> B,
) -> [Vec<B>; N] {
    std::array::from_fn(|group| {
        let key = key.fold_in(group as u64);
        let blocks = (0..).zip(&groups[group]);
        blocks
            .map(|(n, &(channels, stride))| block(key.fold_in(n), channels, stride))
            .collect()
    })
}

/// A residual block that begins with its normalisation and activation (He et al. 2016):
/// x ↦ conv(a(norm(conv(a(norm(x)))))) + shortcut.
pub(super) struct PreActivationBlock<'a> {
    pub(super) norms: [&'a BatchNorm; 2],
    pub(super) convolutions: [&'a Convolution; 2],
    pub(super) activation: Activation,
    /// The identity where there is none.
    pub(super) shortcut: Option<&'a Convolution>,
    /// Whether the shortcut's convolution takes a(norm(x)) rather than x itself.
    pub(super) shortcut_of_active: bool,
}

impl PreActivationBlock<'_> {
    /// `[batch, channels, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let [norm_1, norm_2] = self.norms;
        let [conv_1, conv_2] = self.convolutions;
        let active = self.activation.forward(norm_1.forward(x.clone(), mode));
        let shortcut = match self.shortcut {
            Some(convolution) if self.shortcut_of_active => convolution.forward(active.clone()),
            Some(convolution) => convolution.forward(x),
            None => x,
        };
        let x = norm_2.forward(conv_1.forward(active), mode);
        conv_2.forward(self.activation.forward(x)) + shortcut
    }
}

/// A fully connected layer, x Wᵀ + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Weights from N(0, 1 / in), bias 0.
    pub fn init(key: Key, channels: [usize; 2], device: &Device) -> Self {
        Self::with_gain(key, channels, 1.0, device)
    }

    /// Weights from N(0, gain² / in), bias 0.
    pub fn with_gain(key: Key, [inputs, outputs]: [usize; 2], gain: f32, device: &Device) -> Self {
        let weight = key.normal([outputs, inputs], device) * (gain * (inputs as f32).powf(-0.5));
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        }
    }

    /// The layer of the mean over all pixels: `[batch, in, height, width]` -> `[batch, out]`. It computes in its
    /// weights' precision.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let weight = self.weight.val();
        head(cast(x, weight.dtype()), weight, self.bias.val())
    }
}
