//! ResNet-18 (He et al. 2016, *Deep Residual Learning*) as the code of TRADES, MAIL and WEAT has it for
//! images of 32 pixels: a 3x3 stem without pooling, BatchNorm behind every convolution, no biases, ReLU
//! after the residual sum, and a 1x1 shortcut with BatchNorm where a block changes channels or size.
//! Their pooling over 4x4 pixels is the mean over all of them.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{BatchNorm, Convolution, Linear, Mode, layers::groups, network::Layered};
use crate::key::Key;
use crate::models::{Activation, Architecture, Initialization, ResNet18Config};

/// PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A basic block: x ↦ a(bn2(conv2(a(bn1(conv1(x))))) + shortcut), which is x or, where channels or size
/// change, BatchNorm of a 1x1 convolution of x.
#[derive(Module, Debug)]
pub struct Block {
    conv1: Convolution,
    bn1: BatchNorm,
    conv2: Convolution,
    bn2: BatchNorm,
    shortcut: Option<(Convolution, BatchNorm)>,
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
        let norm = || BatchNorm::init(output, MOMENTUM, device);
        let shortcut = (stride != 1 || input != output)
            .then(|| (convolution(key3, [input, output], 1, stride, 1.0), norm()));
        Self {
            conv1: convolution(key1, [input, output], 3, stride, gain),
            bn1: norm(),
            conv2: convolution(key2, [output; 2], 3, 1, gain * residual_scale),
            bn2: norm(),
            shortcut,
        }
    }

    fn convolutions(&mut self) -> impl Iterator<Item = &mut Convolution> {
        [&mut self.conv1, &mut self.conv2]
            .into_iter()
            .chain(self.shortcut.as_mut().map(|(convolution, _)| convolution))
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some((convolution, norm)) => norm.forward(convolution.forward(x.clone()), mode),
            None => x.clone(),
        };
        let x = self.bn1.forward(self.conv1.forward(x), mode);
        let x = self.conv2.forward(Activation::Relu.forward(x));
        Activation::Relu.forward(self.bn2.forward(x, mode) + shortcut)
    }
}

/// ResNet-18.
#[derive(Module, Debug)]
pub struct ResNet18 {
    conv1: Convolution,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    linear: Linear,
    #[module(skip)]
    config: ResNet18Config,
}

impl ResNet18 {
    /// Builds the network with random weights.
    pub fn init(
        config: &ResNet18Config,
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
        Self {
            conv1: Convolution::init(stem_key, channels, 3, 1, initialization.gain, device)
                .without_bias(),
            bn1: BatchNorm::init(config.width, MOMENTUM, device),
            layer1,
            layer2,
            layer3,
            layer4,
            linear: Linear::init(head_key, [8 * config.width, config.classes], device),
            config: config.clone(),
        }
    }
}

impl Layered for ResNet18 {
    fn architecture(&self) -> Architecture {
        Architecture::Resnet18(self.config.clone())
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
        let x = self.conv1.forward(self.config.normalization.forward(x));
        let mut x = Activation::Relu.forward(self.bn1.forward(x, mode)); // [b, w, s, s]
        for layer in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            for block in layer {
                x = block.forward(x, mode); // [b, 8w, s/8, s/8] at the end
            }
        }
        self.linear.forward(x)
    }
}
