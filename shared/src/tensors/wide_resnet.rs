//! The Wide-ResNet of JEM (Zagoruyko & Komodakis 2016, as in Grathwohl et al. 2020): no
//! normalisation layers, biases everywhere, the stride on a block's second convolution, and a
//! 1x1 shortcut of the raw block input.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::{Convolution, Linear, Mode, network::Layered};
use crate::key::Key;
use crate::models::{Activation, Architecture, Initialization, WideResNetConfig};

impl WideResNetConfig {
    /// Builds the network with random weights.
    pub fn init(&self, initialization: Initialization, key: Key, device: &Device) -> WideResNet {
        debug_assert_eq!(self.check(), Ok(()));
        let blocks = (self.depth - 4) / 6;
        let [stem_key, head_key, group_key] = key.split();
        let [c1, c2, c3] = [16, 32, 64].map(|channels| channels * self.width);
        let group = |index: u64, input, output, stride| {
            (0..blocks)
                .map(|block| {
                    let (input, stride) = if block == 0 {
                        (input, stride)
                    } else {
                        (output, 1)
                    };
                    let key = group_key.fold_in(index).fold_in(block as u64);
                    Block::init(key, [input, output], stride, initialization, device)
                })
                .collect()
        };
        let conv1 = Convolution::init(
            stem_key,
            [self.channels, 16],
            3,
            1,
            initialization.gain,
            device,
        );
        WideResNet {
            conv1,
            layer1: group(1, 16, c1, 1),
            layer2: group(2, c1, c2, 2),
            layer3: group(3, c2, c3, 2),
            class_output: Linear::init(head_key, [c3, self.classes], device),
            config: self.clone(),
        }
    }
}

/// A pre-activation block: x ↦ conv2(a(conv1(a(x)))) + shortcut(x).
#[derive(Module, Debug)]
pub struct Block {
    conv1: Convolution,
    conv2: Convolution,
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
        let conv2_gain = gain * residual_scale;
        Self {
            conv1: Convolution::init(key1, [input, output], 3, 1, gain, device),
            conv2: Convolution::init(key2, [output, output], 3, stride, conv2_gain, device),
            shortcut: (stride != 1 || input != output)
                .then(|| Convolution::init(key3, [input, output], 1, stride, 1.0, device)),
        }
    }

    fn convolutions(&mut self) -> impl Iterator<Item = &mut Convolution> {
        [&mut self.conv1, &mut self.conv2]
            .into_iter()
            .chain(&mut self.shortcut)
    }

    fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some(convolution) => convolution.forward(x.clone()),
            None => x.clone(),
        };
        let x = self.conv1.forward_activated(x, activation);
        self.conv2.forward_activated(x, activation) + shortcut
    }
}

/// The Wide-ResNet of JEM.
#[derive(Module, Debug)]
pub struct WideResNet {
    conv1: Convolution,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    class_output: Linear,
    #[module(skip)]
    config: WideResNetConfig,
}

impl Layered for WideResNet {
    fn architecture(&self) -> Architecture {
        Architecture::WideResnet(self.config.clone())
    }

    fn convolutions(&mut self) -> Vec<&mut Convolution> {
        let blocks = [&mut self.layer1, &mut self.layer2, &mut self.layer3];
        let blocks = blocks.into_iter().flatten().flat_map(Block::convolutions);
        std::iter::once(&mut self.conv1).chain(blocks).collect()
    }

    fn head(&self) -> &Linear {
        &self.class_output
    }

    fn forward(&self, x: Tensor<4>, _: Mode) -> Tensor<2> {
        let mut x = self.conv1.forward(self.config.normalization.forward(x)); // [b, 16, s, s]
        for block in self.layer1.iter().chain(&self.layer2).chain(&self.layer3) {
            x = block.forward(x, self.config.activation); // [b, 64w, s/4, s/4] at the end
        }
        self.class_output.forward(self.config.activation.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{models::ConfigError, tensors::parameters};

    fn config(depth: usize, width: usize) -> WideResNetConfig {
        WideResNetConfig::new([depth, width], [3, 32], 10)
    }

    const INITIALIZATION: Initialization = Initialization {
        gain: 1.4,
        residual_scale: 0.2,
    };

    /// Counts of the same layout in the authors' PyTorch code, without its two unused heads.
    #[test]
    fn parameter_counts_are_jems() {
        for (depth, width, expected) in [(16, 1, 174_698), (16, 2, 690_986), (28, 10, 36_471_338)] {
            let device = Device::flex();
            let model = config(depth, width).init(INITIALIZATION, Key::new(0), &device);
            assert_eq!(model.num_params(), expected, "{depth}-{width}");
        }
    }

    #[test]
    fn parameter_shapes_are_those_of_the_module() {
        for (depth, width) in [(10, 1), (16, 1), (10, 2), (22, 3)] {
            let config = config(depth, width);
            let model = config.init(INITIALIZATION, Key::new(0), &Device::flex());
            let built: Vec<_> = parameters::collect(&model)
                .into_iter()
                .map(|(name, w)| (name, w.shape))
                .collect();
            let mut listed = config.parameter_shapes();
            listed.sort();
            assert_eq!(listed, built, "{depth}-{width}");
        }
    }

    #[test]
    fn odd_sizes_and_other_depths_give_logits() {
        let device = Device::flex();
        for (depth, size) in [(10, 28), (22, 9)] {
            let config = WideResNetConfig {
                size,
                ..config(depth, 1)
            };
            let model = config.init(INITIALIZATION, Key::new(0), &device);
            let x = Key::new(1).uniform([2, 3, size, size], &device);
            assert_eq!(model.forward(x, Mode::Evaluate).dims(), [2, 10]);
        }
    }

    #[test]
    fn absurd_configs_are_named() {
        let depth = WideResNetConfig {
            depth: 17,
            ..config(16, 1)
        };
        assert_eq!(depth.check(), Err(ConfigError::Depth(17)));
        let width = WideResNetConfig {
            width: usize::MAX,
            ..config(16, 1)
        };
        assert!(
            width
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("width is 18446744073709551615")
        );
    }
}
