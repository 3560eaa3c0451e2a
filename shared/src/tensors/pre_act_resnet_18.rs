//! PreActResNet-18 (He et al. 2016, *Identity Mappings*) in the layout of Fast AT (Wong et al. 2020),
//! TRADES-like methods and WEAT: BatchNorm and ReLU in front of every convolution but the first, no
//! biases, the stride on a block's first convolution, and a 1x1 shortcut of the raw block input.

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
use crate::models::{Activation, Architecture, Initialization, PreActResNet18Config};

/// PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A pre-activation block: x ↦ conv2(a(bn2(conv1(a(bn1(x)))))) + shortcut, which is x or, where channels
/// or size change, a 1x1 convolution of x.
#[derive(Module, Debug)]
pub struct Block {
    bn1: BatchNorm,
    conv1: Convolution,
    bn2: BatchNorm,
    conv2: Convolution,
    /// One or none: a list in the checkpoints.
    shortcut: Vec<Convolution>,
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
        let shortcut = (stride != 1 || input != output)
            .then(|| convolution(key3, [input, output], 1, stride, 1.0));
        Self {
            bn1: BatchNorm::init(input, MOMENTUM, device),
            conv1: convolution(key1, [input, output], 3, stride, gain),
            bn2: BatchNorm::init(output, MOMENTUM, device),
            conv2: convolution(key2, [output; 2], 3, 1, gain * residual_scale),
            shortcut: shortcut.into_iter().collect(),
        }
    }

    fn convolutions(&mut self) -> impl Iterator<Item = &mut Convolution> {
        [&mut self.conv1, &mut self.conv2]
            .into_iter()
            .chain(&mut self.shortcut)
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let block = PreActivationBlock {
            norms: [&self.bn1, &self.bn2],
            convolutions: [&self.conv1, &self.conv2],
            activation: Activation::Relu,
            shortcut: self.shortcut.first(),
            shortcut_of_active: false,
        };
        block.forward(x, mode)
    }
}

/// PreActResNet-18.
#[derive(Module, Debug)]
pub struct PreActResNet18 {
    conv1: Convolution,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    bn: Option<BatchNorm>,
    linear: Linear,
    #[module(skip)]
    config: PreActResNet18Config,
}

impl PreActResNet18 {
    /// Builds the network with random weights.
    pub fn init(
        config: &PreActResNet18Config,
        initialization: Initialization,
        key: Key,
        device: &Device,
    ) -> Self {
        let [stem_key, head_key, group_key] = key.split();
        let [layer1, layer2, layer3, layer4] =
            groups(config.groups(), group_key, |key, channels, stride| {
                Block::init(key, channels, stride, initialization, device)
            });
        let channels = [config.channels, config.width];
        let features = 8 * config.width;
        Self {
            conv1: Convolution::init(stem_key, channels, 3, 1, initialization.gain, device)
                .without_bias(),
            layer1,
            layer2,
            layer3,
            layer4,
            bn: config
                .final_batch_norm
                .then(|| BatchNorm::init(features, MOMENTUM, device)),
            linear: Linear::init(head_key, [features, config.classes], device),
            config: config.clone(),
        }
    }
}

impl Layered for PreActResNet18 {
    fn architecture(&self) -> Architecture {
        Architecture::PreActResnet18(self.config.clone())
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let blocks = [
            &mut self.layer1,
            &mut self.layer2,
            &mut self.layer3,
            &mut self.layer4,
        ];
        let blocks = blocks.into_iter().flatten().flat_map(Block::convolutions);
        std::iter::once(&mut self.conv1).chain(blocks).collect()
    }

    fn head(&self) -> &Linear {
        &self.linear
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x = self.conv1.forward(self.config.normalization.forward(x)); // [b, w, s, s]
        for layer in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            for block in layer {
                x = block.forward(x, mode); // [b, 8w, s/8, s/8] at the end
            }
        }
        if let Some(bn) = &self.bn {
            x = Activation::Relu.forward(bn.forward(x, mode));
        }
        self.linear.forward(x)
    }
}
