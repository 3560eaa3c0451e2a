//! The Wide-ResNet of Zagoruyko & Komodakis (2016) in the layout of TRADES (Zhang et al. 2019) and
//! RobustBench: BatchNorm in front of every activation, no biases, the stride on a block's first
//! convolution, and a 1x1 shortcut of the activated block input.
#![allow(non_snake_case, reason = "fields have the names of the checkpoints")]

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

/// PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A pre-activation block: with v = a(bn1(x)), x ↦ conv2(a(bn2(conv1(v)))) + shortcut, which is x or,
/// where channels or size change, convShortcut(v).
#[derive(Module, Debug)]
pub struct Block {
    bn1: BatchNorm,
    conv1: Convolution,
    bn2: BatchNorm,
    conv2: Convolution,
    convShortcut: Option<Convolution>,
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
        Self {
            bn1: BatchNorm::init(input, MOMENTUM, device),
            conv1: convolution(key1, [input, output], 3, stride, gain),
            bn2: BatchNorm::init(output, MOMENTUM, device),
            conv2: convolution(key2, [output; 2], 3, 1, gain * residual_scale),
            convShortcut: (stride != 1 || input != output)
                .then(|| convolution(key3, [input, output], 1, stride, 1.0)),
        }
    }

    fn convolutions(&mut self) -> impl Iterator<Item = &mut Convolution> {
        [&mut self.conv1, &mut self.conv2]
            .into_iter()
            .chain(&mut self.convShortcut)
    }

    fn forward(&self, x: Tensor<4>, activation: Activation, mode: Mode) -> Tensor<4> {
        let block = PreActivationBlock {
            norms: [&self.bn1, &self.bn2],
            convolutions: [&self.conv1, &self.conv2],
            activation,
            shortcut: self.convShortcut.as_ref(),
            shortcut_of_active: true,
        };
        block.forward(x, mode)
    }
}

/// Blocks of one width.
#[derive(Module, Debug)]
pub struct Group {
    layer: Vec<Block>,
}

/// The Wide-ResNet of TRADES and RobustBench.
#[derive(Module, Debug)]
pub struct StandardWideResNet {
    conv1: Convolution,
    block1: Group,
    block2: Group,
    block3: Group,
    bn1: BatchNorm,
    fc: Linear,
    #[module(skip)]
    config: WideResNetConfig,
}

impl StandardWideResNet {
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
        let [block1, block2, block3] = groups.map(|layer| Group { layer });
        let (channels, features) = ([config.channels, 16], 64 * config.width);
        Self {
            conv1: Convolution::init(stem_key, channels, 3, 1, initialization.gain, device)
                .without_bias(),
            block1,
            block2,
            block3,
            bn1: BatchNorm::init(features, MOMENTUM, device),
            fc: Linear::init(head_key, [features, config.classes], device),
            config: config.clone(),
        }
    }
}

impl Layered for StandardWideResNet {
    fn architecture(&self) -> Architecture {
        Architecture::StandardWideResnet(self.config.clone())
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let blocks = [&mut self.block1, &mut self.block2, &mut self.block3];
        let blocks = blocks
            .into_iter()
            .flat_map(|group| &mut group.layer)
            .flat_map(Block::convolutions);
        std::iter::once(&mut self.conv1).chain(blocks).collect()
    }

    fn head(&self) -> &Linear {
        &self.fc
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let activation = self.config.activation;
        let mut x = self.conv1.forward(self.config.normalization.forward(x)); // [b, 16, s, s]
        for group in [&self.block1, &self.block2, &self.block3] {
            for block in &group.layer {
                x = block.forward(x, activation, mode); // [b, 64w, s/4, s/4] at the end
            }
        }
        let x = activation.forward(self.bn1.forward(x, mode));
        self.fc.forward(x)
    }
}
