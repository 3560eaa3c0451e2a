//! The architectures as data, for whoever builds no tensors: names and shapes of what a file holds,
//! and the plan of an engine.

use super::{Activation, Normalization, PreActResNet18Config, ResNet18Config, WideResNetConfig};
/// Added to the variance by BatchNorm: PyTorch's.
pub(crate) const BATCH_NORM_EPSILON: f64 = 1e-5;

/// The size of an image, or of what a layer makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Numbers at each pixel.
    pub channels: usize,
    /// Rows and columns.
    pub size: usize,
}

/// A residual network (He et al. 2016): a convolution, the blocks, and a linear layer of the mean over all
/// pixels. It is told as if blocks began with their activation; where a network has it after the residual
/// sum, that is the next block's.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) image: Extent,
    pub(crate) normalization: Normalization,
    pub(crate) activation: Activation,
    pub(crate) stem: Convolution,
    pub(crate) blocks: Vec<Block>,
    /// BatchNorm after the last block.
    pub(crate) last_norm: Option<String>,
    /// Whether the activation follows the last block.
    pub(crate) last_activation: bool,
    pub(crate) head: String,
    pub(crate) classes: usize,
}

/// A convolution, 3×3 or 1×1.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) name: String,
    /// In and out.
    pub(crate) channels: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Zeros in front of the first row and column.
    pub(crate) padding: usize,
    pub(crate) bias: bool,
    /// BatchNorm of its output, before anything is added to that.
    pub(crate) norm: Option<String>,
}

/// x ↦ conv2(a(conv1(v))) + shortcut, with v = a(norm(x))
#[derive(Debug)]
pub(crate) struct Block {
    /// BatchNorm in front of the first activation.
    pub(crate) norm: Option<String>,
    pub(crate) convolutions: [Convolution; 2],
    pub(crate) shortcut: Shortcut,
}

/// What a block adds to its convolutions' result.
#[derive(Debug)]
pub(crate) enum Shortcut {
    /// x
    Raw,
    /// v
    Active,
    /// A convolution of x.
    OfRaw(Convolution),
    /// A convolution of v.
    OfActive(Convolution),
}

impl Convolution {
    fn new(name: String, channels: [usize; 2], kernel: usize, stride: usize) -> Self {
        Self {
            name,
            channels,
            kernel,
            stride,
            padding: kernel / 2,
            bias: false,
            norm: None,
        }
    }

    fn with_norm(self, name: String) -> Self {
        Self {
            norm: Some(name),
            ..self
        }
    }

    fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

impl Outline {
    /// [`crate::models::Architecture::WideResnet`]
    pub(crate) fn wide_resnet(config: &WideResNetConfig) -> Self {
        let block = |group: usize, block: usize, channels: [usize; 2], stride: usize| {
            let name = format!("layer{}.{block}", group + 1);
            let [_, output] = channels;
            let conv1 = Convolution::new(format!("{name}.conv1"), channels, 3, 1);
            let conv2 = Convolution::new(format!("{name}.conv2"), [output; 2], 3, stride);
            Block {
                norm: None,
                convolutions: [conv1, conv2].map(Convolution::with_bias),
                shortcut: match changes(channels, stride) {
                    false => Shortcut::Raw,
                    true => {
                        let name = format!("{name}.shortcut");
                        let shortcut = Convolution::new(name, channels, 1, stride);
                        Shortcut::OfRaw(shortcut.with_bias())
                    }
                },
            }
        };
        let stem = Convolution::new("conv1".into(), [config.channels, 16], 3, 1);
        Self {
            stem: stem.with_bias(),
            blocks: numbered(&config.groups(), block),
            last_norm: None,
            head: "class_output".into(),
            ..Self::of_wide_resnet(config)
        }
    }

    /// [`crate::models::Architecture::StandardWideResnet`]
    pub(crate) fn standard_wide_resnet(config: &WideResNetConfig) -> Self {
        let block = |group: usize, block: usize, channels: [usize; 2], stride: usize| {
            let name = format!("block{}.layer.{block}", group + 1);
            let [_, output] = channels;
            Block {
                norm: Some(format!("{name}.bn1")),
                convolutions: [
                    Convolution::new(format!("{name}.conv1"), channels, 3, stride)
                        .with_norm(format!("{name}.bn2")),
                    Convolution::new(format!("{name}.conv2"), [output; 2], 3, 1),
                ],
                shortcut: match changes(channels, stride) {
                    false => Shortcut::Raw,
                    true => {
                        let name = format!("{name}.convShortcut");
                        Shortcut::OfActive(Convolution::new(name, channels, 1, stride))
                    }
                },
            }
        };
        Self {
            blocks: numbered(&config.groups(), block),
            ..Self::of_wide_resnet(config)
        }
    }

    /// [`crate::models::Architecture::DmWideResnet`]
    pub(crate) fn dm_wide_resnet(config: &WideResNetConfig) -> Self {
        let block = |group: usize, block: usize, channels: [usize; 2], stride: usize| {
            let name = format!("layer.{group}.block.{block}");
            let [_, output] = channels;
            let conv_0 = Convolution {
                // One zero on either side, or one behind.
                padding: 2 - stride,
                ..Convolution::new(format!("{name}.conv_0"), channels, 3, stride)
            };
            Block {
                norm: Some(format!("{name}.batchnorm_0")),
                convolutions: [
                    conv_0.with_norm(format!("{name}.batchnorm_1")),
                    Convolution::new(format!("{name}.conv_1"), [output; 2], 3, 1),
                ],
                shortcut: match changes(channels, stride) {
                    false => Shortcut::Raw,
                    true => {
                        let name = format!("{name}.shortcut");
                        Shortcut::OfActive(Convolution::new(name, channels, 1, stride))
                    }
                },
            }
        };
        Self {
            stem: Convolution::new("init_conv".into(), [config.channels, 16], 3, 1),
            blocks: numbered(&config.groups(), block),
            last_norm: Some("batchnorm".into()),
            head: "logits".into(),
            ..Self::of_wide_resnet(config)
        }
    }

    /// [`crate::models::Architecture::PreActResnet18`]
    pub(crate) fn pre_act_resnet_18(config: &PreActResNet18Config) -> Self {
        let block = |group: usize, block: usize, channels: [usize; 2], stride: usize| {
            let name = format!("layer{}.{block}", group + 1);
            let [_, output] = channels;
            Block {
                norm: Some(format!("{name}.bn1")),
                convolutions: [
                    Convolution::new(format!("{name}.conv1"), channels, 3, stride)
                        .with_norm(format!("{name}.bn2")),
                    Convolution::new(format!("{name}.conv2"), [output; 2], 3, 1),
                ],
                shortcut: match changes(channels, stride) {
                    false => Shortcut::Raw,
                    true => {
                        let name = format!("{name}.shortcut.0");
                        Shortcut::OfRaw(Convolution::new(name, channels, 1, stride))
                    }
                },
            }
        };
        Self {
            image: Extent {
                channels: config.channels,
                size: config.size,
            },
            normalization: config.normalization.clone(),
            activation: Activation::Relu,
            stem: Convolution::new("conv1".into(), [config.channels, config.width], 3, 1),
            blocks: numbered(&config.groups(), block),
            last_norm: config.final_batch_norm.then(|| "bn".into()),
            last_activation: config.final_batch_norm,
            head: "linear".into(),
            classes: config.classes,
        }
    }

    /// [`crate::models::Architecture::Resnet18`]
    pub(crate) fn resnet_18(config: &ResNet18Config) -> Self {
        let block = |group: usize, block: usize, channels: [usize; 2], stride: usize| {
            let name = format!("layer{}.{block}", group + 1);
            let [_, output] = channels;
            let convolution = |n: usize, channels, stride| {
                Convolution::new(format!("{name}.conv{n}"), channels, 3, stride)
                    .with_norm(format!("{name}.bn{n}"))
            };
            Block {
                norm: None,
                convolutions: [
                    convolution(1, channels, stride),
                    convolution(2, [output; 2], 1),
                ],
                shortcut: match changes(channels, stride) {
                    false => Shortcut::Active,
                    true => Shortcut::OfActive(
                        Convolution::new(format!("{name}.shortcut.0"), channels, 1, stride)
                            .with_norm(format!("{name}.shortcut.1")),
                    ),
                },
            }
        };
        let stem = Convolution::new("conv1".into(), [config.channels, config.width], 3, 1);
        Self {
            image: Extent {
                channels: config.channels,
                size: config.size,
            },
            normalization: config.normalization.clone(),
            activation: Activation::Relu,
            stem: stem.with_norm("bn1".into()),
            blocks: numbered(&config.groups(), block),
            last_norm: None,
            last_activation: true,
            head: "linear".into(),
            classes: config.classes,
        }
    }

    /// What Wide-ResNets share, with the standard one's names and no blocks yet.
    fn of_wide_resnet(config: &WideResNetConfig) -> Self {
        Self {
            image: Extent {
                channels: config.channels,
                size: config.size,
            },
            normalization: config.normalization.clone(),
            activation: config.activation,
            stem: Convolution::new("conv1".into(), [config.channels, 16], 3, 1),
            blocks: Vec::new(),
            last_norm: Some("bn1".into()),
            last_activation: true,
            head: "fc".into(),
            classes: config.classes,
        }
    }

    /// Channels of the last block's output.
    pub(crate) fn features(&self) -> usize {
        self.blocks
            .last()
            .unwrap_or_else(|| unreachable!("a network has blocks"))
            .convolutions[1]
            .channels[1]
    }

    /// Name and shape of every tensor of a file, running statistics included.
    pub(crate) fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        let norm = |shapes: &mut Vec<_>, name: &str, channels: usize| {
            for of in ["weight", "bias", "running_mean", "running_var"] {
                shapes.push((format!("{name}.{of}"), vec![channels]));
            }
        };
        let convolution = |shapes: &mut Vec<_>, convolution: &Convolution| {
            let Convolution {
                name,
                channels: [input, output],
                kernel,
                ..
            } = convolution;
            let weight = vec![*output, *input, *kernel, *kernel];
            shapes.push((format!("{name}.weight"), weight));
            if convolution.bias {
                shapes.push((format!("{name}.bias"), vec![*output]));
            }
            if let Some(name) = &convolution.norm {
                norm(shapes, name, *output);
            }
        };
        convolution(&mut shapes, &self.stem);
        for block in &self.blocks {
            if let Some(name) = &block.norm {
                norm(&mut shapes, name, block.convolutions[0].channels[0]);
            }
            for each in &block.convolutions {
                convolution(&mut shapes, each);
            }
            if let Shortcut::OfRaw(shortcut) | Shortcut::OfActive(shortcut) = &block.shortcut {
                convolution(&mut shapes, shortcut);
            }
        }
        let (head, features) = (&self.head, self.features());
        if let Some(last) = &self.last_norm {
            norm(&mut shapes, last, features);
        }
        shapes.push((format!("{head}.weight"), vec![self.classes, features]));
        shapes.push((format!("{head}.bias"), vec![self.classes]));
        shapes
    }
}

/// Whether a block's shortcut cannot be the identity.
fn changes([input, output]: [usize; 2], stride: usize) -> bool {
    input != output || stride != 1
}

/// `block` of the group's number, the block's in it, channels in and out, and stride.
fn numbered(
    groups: &[Vec<([usize; 2], usize)>],
    block: impl Fn(usize, usize, [usize; 2], usize) -> Block,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (group, of_group) in groups.iter().enumerate() {
        for (n, &(channels, stride)) in of_group.iter().enumerate() {
            blocks.push(block(group, n, channels, stride));
        }
    }
    blocks
}
