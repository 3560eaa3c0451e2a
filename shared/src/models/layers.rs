//! The layers that the architectures share. Parameters have PyTorch's layouts, so that a model file
//! opens there as it is.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{Activation, Normalization};
use crate::{activation, convolution::conv2d, key::Key};

impl Activation {
    /// Element-wise, any shape.
    pub fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeakyRelu => activation::leaky_relu(x, 0.2),
            Self::Silu => activation::silu(x),
        }
    }
}

impl Normalization {
    /// `x`: `[batch, channels, height, width]` in [0, 1].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let row = |values: &[f32]| {
            let device = x.device().inner();
            Tensor::<1>::from_floats(values, &device).reshape([1, values.len(), 1, 1])
        };
        let (mean, std) = (row(&self.mean), row(&self.std));
        (x - mean) / std
    }
}

/// A square convolution, 3x3 with zero padding 1 or 1x1, with bias.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[out_channels, in_channels, size, size]`.
    pub weight: Param<Tensor<4>>,
    /// `[out_channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
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
            bias: Param::from_tensor(Tensor::zeros([out_channels], device)),
            stride,
        }
    }

    /// `[batch, in, height, width]` -> `[batch, out, ⌈height / stride⌉, ⌈width / stride⌉]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), Some(self.bias.val()), self.stride)
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
    pub fn init(key: Key, [inputs, outputs]: [usize; 2], device: &Device) -> Self {
        let weight = key.normal([outputs, inputs], device) * (inputs as f32).powf(-0.5);
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        }
    }

    /// `[batch, in]` -> `[batch, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
