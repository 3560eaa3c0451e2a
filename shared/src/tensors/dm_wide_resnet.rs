//! The Wide-ResNet of DeepMind's robust models (Gowal et al. 2020, *Uncovering the Limits*; Wang et al.
//! 2023, *Better Diffusion Models*): as [`super::standard_wide_resnet`], but where a convolution has
//! stride two, its zeros lie behind the image alone, as TensorFlow pads; SiLU or ReLU.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{
    BatchNorm, Convolution, Linear, Mode,
    layers::{PreActivationBlock, groups},
    network::Layered,
};
use crate::key::Key;
use crate::models::{Activation, Architecture, Initialization, WideResNetConfig};

/// That of the training code of Wang et al. 2023.
const MOMENTUM: f64 = 0.01;

/// A pre-activation block: with v = a(batchnorm_0(x)), x ↦ conv_1(a(batchnorm_1(conv_0(v)))) + shortcut,
/// which is x or, where channels or size change, a 1x1 convolution of v.
#[derive(Module, Debug)]
pub struct Block {
    batchnorm_0: BatchNorm,
    conv_0: Convolution,
    batchnorm_1: BatchNorm,
    conv_1: Convolution,
    shortcut: Option<Convolution>,
}

impl Block {
    fn init(
        key: Key,
        [input, output]: [usize; 2],
        stride: usize,
        Initialization {
            gain,
            residual_scale,
        }: Initialization,
        device: &Device,
    ) -> Self {
        let [key1, key2, key3] = key.split();
        let convolution = |key, channels, size, stride, gain| {
            Convolution::init(key, channels, size, stride, gain, device).without_bias()
        };
        let conv_0 = convolution(key1, [input, output], 3, stride, gain);
        Self {
            batchnorm_0: BatchNorm::init(input, MOMENTUM, device),
            conv_0: match stride {
                1 => conv_0,
                _ => conv_0.padded_behind(),
            },
            batchnorm_1: BatchNorm::init(output, MOMENTUM, device),
            conv_1: convolution(key2, [output; 2], 3, 1, gain * residual_scale),
            shortcut: (stride != 1 || input != output)
                .then(|| convolution(key3, [input, output], 1, stride, 1.0)),
        }
    }

    fn convolutions(&mut self) -> impl Iterator<Item = &mut Convolution> {
        [&mut self.conv_0, &mut self.conv_1]
            .into_iter()
            .chain(&mut self.shortcut)
    }

    fn forward(&self, x: Tensor<4>, activation: Activation, mode: Mode) -> Tensor<4> {
        let block = PreActivationBlock {
            norms: [&self.batchnorm_0, &self.batchnorm_1],
            convolutions: [&self.conv_0, &self.conv_1],
            activation,
            shortcut: self.shortcut.as_ref(),
            shortcut_of_active: true,
        };
        block.forward(x, mode)
    }
}

/// Blocks of one width.
#[derive(Module, Debug)]
pub struct Group {
    block: Vec<Block>,
}

/// DeepMind's Wide-ResNet.
#[derive(Module, Debug)]
pub struct DmWideResNet {
    init_conv: Convolution,
    layer: Vec<Group>,
    batchnorm: BatchNorm,
    logits: Linear,
    #[module(skip)]
    config: WideResNetConfig,
}

impl DmWideResNet {
    /// Builds the network with random weights.
    pub fn init(
        config: &WideResNetConfig,
        initialization: Initialization,
        key: Key,
        device: &Device,
    ) -> Self {
        let [stem_key, head_key, group_key] = key.split();
        let groups = groups(config.groups(), group_key, |key, channels, stride| {
            Block::init(key, channels, stride, initialization, device)
        });
        let (channels, features) = ([config.channels, 16], 64 * config.width);
        Self {
            init_conv: Convolution::init(stem_key, channels, 3, 1, initialization.gain, device)
                .without_bias(),
            layer: groups.map(|block| Group { block }).into(),
            batchnorm: BatchNorm::init(features, MOMENTUM, device),
            logits: Linear::init(head_key, [features, config.classes], device),
            config: config.clone(),
        }
    }
}

impl Layered for DmWideResNet {
    fn architecture(&self) -> Architecture {
        Architecture::DmWideResnet(self.config.clone())
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let groups = self.layer.iter_mut();
        let blocks = groups.flat_map(|group| &mut group.block);
        let blocks = blocks.flat_map(Block::convolutions);
        std::iter::once(&mut self.init_conv).chain(blocks).collect()
    }

    fn head(&self) -> &Linear {
        &self.logits
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let activation = self.config.activation;
        let x = self.config.normalization.forward(x);
        let mut x = self.init_conv.forward(x); // [b, 16, s, s]
        for block in self.layer.iter().flat_map(|group| &group.block) {
            x = block.forward(x, activation, mode); // [b, 64w, s/4, s/4] at the end
        }
        let x = activation.forward(self.batchnorm.forward(x, mode));
        self.logits.forward(x)
    }
}
