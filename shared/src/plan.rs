//! A network of fixed shape as a list of operations: what one Langevin step computes, once and for
//! all. An engine ([`crate::cpu`]) allocates the buffers, packs the weights in its own way, and then
//! only runs down the list.
//!
//! Forward, a convolution reads activated numbers and leaves behind, of its own output y, only what
//! is read later: the activated a(y), the derivative a′(y) that the backward pass multiplies by, and
//! y itself where a shortcut carries it on. Backward, the gradient with respect to the images is a
//! chain of the same convolutions with flipped, transposed weights; the weights themselves get none.

use crate::{
    models::{Activation, Normalization, WideResNetConfig},
    weights::Weights,
};

/// A buffer of the plan, by number.
pub type Buffer = usize;

/// The size of one image in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Numbers at each pixel.
    pub channels: usize,
    /// Rows and columns.
    pub size: usize,
}

/// A convolution with its weights, 3×3 with zero padding 1 or 1×1 (see
/// [`crate::convolution::conv2d`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Of its input.
    pub input: Extent,
    /// Of its output.
    pub output: Extent,
    /// 3 or 1.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// `[out, in, kernel, kernel]`
    pub weight: Vec<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
}

/// The linear layer after the mean over all pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[classes, channels]`
    pub weight: Vec<f32>,
    /// `[classes]`
    pub bias: Vec<f32>,
}

/// Where a convolution's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// a(y)
    pub value: Buffer,
    /// a′(y)
    pub derivative: Buffer,
}

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The images, normalised, to `output`.
    Normalize {
        /// Where to.
        output: Buffer,
    },
    /// y = convolution(source), plus the content of `raw` where `add`; then `raw` ← y and
    /// `active` ← a(y), a′(y).
    Forward {
        /// Which convolution.
        convolution: usize,
        /// Its input.
        source: Buffer,
        /// Where y itself goes, and whether what is there is added to it first.
        raw: Option<(Buffer, bool)>,
        /// Where the activated output goes.
        active: Option<Active>,
    },
    /// Logits of the mean of `source` over its pixels; then the gradient of the energy with respect
    /// to the head's input, times `derivative`, to `output`.
    Head {
        /// The last activated output, a(y) and a′(y).
        active: Active,
        /// The gradient with respect to y.
        output: Buffer,
    },
    /// The gradient of a convolution's input: convolutionᵀ(source), times `derivative`, plus the
    /// content of `output` where `add`; to `output`.
    Backward {
        /// Which convolution.
        convolution: usize,
        /// The gradient of its output.
        source: Buffer,
        /// What it is multiplied by.
        derivative: Option<Buffer>,
        /// Where it goes.
        output: Buffer,
        /// Whether what is there is added.
        add: bool,
    },
    /// The gradient with respect to the images: convolutionᵀ(source) through the normalisation.
    BackwardToImage {
        /// The first convolution.
        convolution: usize,
        /// The gradient of its output.
        source: Buffer,
    },
}

/// The list, and what it works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Of the images.
    pub image: Extent,
    /// Of the images, in front of the first convolution.
    pub normalization: Normalization,
    /// The function a.
    pub activation: Activation,
    /// Numbered by [`Buffer`]. Where an operation adds nothing it overwrites every number.
    pub buffers: Vec<Extent>,
    /// Numbered as the operations name them.
    pub convolutions: Vec<Convolution>,
    /// The last layer.
    pub head: Head,
    /// In order: forward, head, backward.
    pub operations: Vec<Operation>,
}

impl Plan {
    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.head.bias.len()
    }

    /// The plan of a Wide-ResNet.
    ///
    /// # Panics
    /// If a weight is missing or of another shape: whoever reads a file checks that before.
    pub fn wide_resnet(config: &WideResNetConfig, weights: &Weights) -> Self {
        let array = |name: &str| {
            &weights
                .get(name)
                .unwrap_or_else(|| panic!("no tensor `{name}`"))
                .values
        };
        let image = Extent {
            channels: config.channels,
            size: config.size,
        };
        let mut plan = Self {
            image,
            normalization: config.normalization.clone(),
            activation: config.activation,
            buffers: Vec::new(),
            convolutions: Vec::new(),
            head: Head {
                weight: array("class_output.weight").clone(),
                bias: array("class_output.bias").clone(),
            },
            operations: Vec::new(),
        };
        let convolution = |plan: &mut Self, name: &str, input: Extent, stride: usize| {
            let bias = array(&format!("{name}.bias")).clone();
            let weight = array(&format!("{name}.weight")).clone();
            let taps = weight.len() / (bias.len() * input.channels);
            plan.convolutions.push(Convolution {
                input,
                output: Extent {
                    channels: bias.len(),
                    size: input.size.div_ceil(stride),
                },
                kernel: if taps == 9 { 3 } else { 1 },
                stride,
                weight,
                bias,
            });
            plan.convolutions.len() - 1
        };
        let mut backward = Vec::new();

        let normalized = plan.buffer(image);
        plan.operations
            .push(Operation::Normalize { output: normalized });
        let stem = convolution(&mut plan, "conv1", image, 1);
        let mut extent = plan.convolutions[stem].output;
        // What shortcuts carry forward, and the gradient with respect to it that they carry back.
        let mut raw = plan.buffer(extent);
        let mut active = plan.active(extent, normalized);
        plan.operations.push(Operation::Forward {
            convolution: stem,
            source: normalized,
            raw: Some((raw, false)),
            active: Some(active),
        });
        backward.push(Operation::BackwardToImage {
            convolution: stem,
            source: raw,
        });
        for group in 1..=3 {
            // The gradient between a block's convolutions.
            let mut inner: Option<Buffer> = None;
            for block in 0..(config.depth - 4) / 6 {
                let name = format!("layer{group}.{block}");
                let stride = if group > 1 && block == 0 { 2 } else { 1 };
                let first = convolution(&mut plan, &format!("{name}.conv1"), extent, 1);
                let middle = plan.convolutions[first].output;
                let second = convolution(&mut plan, &format!("{name}.conv2"), middle, stride);
                let end = plan.convolutions[second].output;
                let shortcut = weights
                    .contains_key(&format!("{name}.shortcut.weight"))
                    .then(|| convolution(&mut plan, &format!("{name}.shortcut"), extent, stride));

                let between = plan.active(middle, active.value);
                let inner_gradient = *inner
                    .filter(|&buffer| plan.buffers[buffer] == middle)
                    .get_or_insert_with(|| plan.buffer(middle));
                inner = Some(inner_gradient);
                plan.operations.push(Operation::Forward {
                    convolution: first,
                    source: active.value,
                    raw: None,
                    active: Some(between),
                });
                // Backward operations are pushed last first.
                backward.push(Operation::Backward {
                    convolution: first,
                    source: inner_gradient,
                    derivative: Some(active.derivative),
                    output: raw,
                    add: true,
                });
                if let Some(shortcut) = shortcut {
                    let old = raw;
                    raw = plan.buffer(end);
                    plan.operations.push(Operation::Forward {
                        convolution: shortcut,
                        source: old,
                        raw: Some((raw, false)),
                        active: None,
                    });
                    backward.push(Operation::Backward {
                        convolution: shortcut,
                        source: raw,
                        derivative: None,
                        output: old,
                        add: false,
                    });
                }
                active = plan.active(end, between.value);
                plan.operations.push(Operation::Forward {
                    convolution: second,
                    source: between.value,
                    raw: Some((raw, true)),
                    active: Some(active),
                });
                backward.push(Operation::Backward {
                    convolution: second,
                    source: raw,
                    derivative: Some(between.derivative),
                    output: inner_gradient,
                    add: false,
                });
                extent = end;
            }
        }
        plan.operations.push(Operation::Head {
            active,
            output: raw,
        });
        plan.operations.extend(backward.into_iter().rev());
        plan
    }

    fn buffer(&mut self, extent: Extent) -> Buffer {
        self.buffers.push(extent);
        self.buffers.len() - 1
    }

    /// Where the activated output of a convolution of `source` goes. Values are read by the next
    /// convolution only, so two buffers of a size take turns; derivatives are kept.
    fn active(&mut self, extent: Extent, source: Buffer) -> Active {
        let values = self
            .operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Forward { active, .. } => active.map(|active| active.value),
                _ => None,
            });
        let mut free = values.filter(|&value| value != source && self.buffers[value] == extent);
        let free = free.next();
        Active {
            value: free.unwrap_or_else(|| self.buffer(extent)),
            derivative: self.buffer(extent),
        }
    }
}
