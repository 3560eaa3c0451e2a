//! A network of fixed shape as a list of operations: what one Langevin step computes, once and for
//! all. An engine ([`crate::engine::cpu`]) allocates the buffers, packs the weights in its own way, and then
//! only runs down the list.
//!
//! Forward, a convolution reads activated numbers and leaves behind, of its own output y, only what
//! is read later: the activated a(y), the derivative a′(y) that the backward pass multiplies by, and
//! y itself where a shortcut carries it on. Backward, the gradient with respect to the images is a
//! chain of the same convolutions with flipped, transposed weights; the weights themselves get none.
//!
//! BatchNorm in evaluation mode is a scale and a shift of each channel. Where a convolution's output is
//! read through it alone, it is part of the convolution's weights; where a shortcut reads the output
//! as well, it is an [`Affine`] on the way to the activation.

pub use crate::models::Extent;
use crate::{
    arrays::Weights,
    models::{
        Activation, Architecture, NoEngine, Normalization, WideResNetConfig,
        outline::{self, BATCH_NORM_EPSILON, Outline, Shortcut},
    },
};

/// A buffer of the plan, by number.
pub type Buffer = usize;

/// A convolution with its weights, 3×3 or 1×1 (see [`crate::tensors::convolution::conv2d`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// The size of its input.
    pub input: Extent,
    /// The size of its output.
    pub output: Extent,
    /// 3 or 1.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Zeros in front of the first row and column.
    pub padding: usize,
    /// `[out, in, kernel, kernel]`
    pub weight: Vec<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// Between its output y and the activation: a(scale · y + shift).
    pub affine: Option<Affine>,
    /// No activation follows: a(y) = y.
    pub linear: bool,
}

/// z = scale · y + shift, a number of each for every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// `[channels]`
    pub scale: Vec<f32>,
    /// `[channels]`
    pub shift: Vec<f32>,
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
    /// a(y), or a(scale · y + shift) after an [`Affine`]
    pub value: Buffer,
    /// Its derivative with respect to y.
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
    /// The size of the images.
    pub image: Extent,
    /// What is done to the images in front of the first convolution.
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

impl Architecture {
    /// The network with these weights, for Basin's own engines.
    ///
    /// # Errors
    /// If they do not run such a network.
    ///
    /// # Panics
    /// If a weight is missing or of another shape: whoever reads a file checks that before.
    pub fn plan(&self, weights: &Weights) -> Result<Plan, NoEngine> {
        Ok(Plan::new(&self.outline()?, weights))
    }
}

impl Plan {
    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.head.bias.len()
    }

    /// The same network without its last layer: what were its inputs, one for each channel, are the logits.
    pub fn without_head(mut self) -> Self {
        let features = self.head.weight.len() / self.head.bias.len();
        let mut identity = vec![0.0; features * features];
        for place in identity.iter_mut().step_by(features + 1) {
            *place = 1.0;
        }
        self.head = Head {
            weight: identity,
            bias: vec![0.0; features],
        };
        self
    }

    /// Checks the images of a batch.
    ///
    /// # Panics
    /// If their size is another.
    pub fn check(&self, x: &[f32], batch: usize) {
        let image = self.image.channels * self.image.size.pow(2);
        assert_eq!(x.len(), batch * image, "numbers of {batch} images");
    }

    /// Checks the intended classes of a batch.
    ///
    /// # Panics
    /// If one does not exist.
    pub fn check_classes(&self, classes: &[usize]) {
        let count = self.classes();
        assert!(
            classes.iter().all(|&class| class < count),
            "classes {classes:?} of {count}"
        );
    }

    /// The plan of JEM's Wide-ResNet.
    ///
    /// # Panics
    /// If a weight is missing or of another shape: whoever reads a file checks that before.
    pub fn wide_resnet(config: &WideResNetConfig, weights: &Weights) -> Self {
        Self::new(&Outline::wide_resnet(config), weights)
    }

    /// The plan of a network.
    ///
    /// # Panics
    /// As [`Plan::wide_resnet`].
    pub(crate) fn new(outline: &Outline, weights: &Weights) -> Self {
        let image = outline.image;
        let head = |part| numbers(weights, &outline.head, part).to_vec();
        let mut plan = Self {
            image,
            normalization: outline.normalization.clone(),
            activation: outline.activation,
            buffers: Vec::new(),
            convolutions: Vec::new(),
            head: Head {
                weight: head("weight"),
                bias: head("bias"),
            },
            operations: Vec::new(),
        };
        let mut backward = Vec::new();
        // What follows the end of block `n − 1`, or the stem: BatchNorm, and whether a shortcut
        // reads the end itself.
        let follows = |n: usize| match outline.blocks.get(n) {
            None => (outline.last_norm.as_deref(), false),
            Some(block) => {
                let is_read = matches!(block.shortcut, Shortcut::Raw | Shortcut::OfRaw(_));
                (block.norm.as_deref(), is_read)
            }
        };

        let normalized = plan.buffer(image);
        plan.operations
            .push(Operation::Normalize { output: normalized });
        let (norm, is_read) = follows(0);
        let stem = plan.convolution(&outline.stem, image, weights);
        plan.normalize(stem, norm, !is_read, weights);
        let mut extent = plan.convolutions[stem].output;
        // What shortcuts carry forward, and the gradient with respect to it that they carry back.
        let mut raw = plan.buffer(extent);
        let mut active = plan.active(extent, normalized);
        plan.operations.push(Operation::Forward {
            convolution: stem,
            source: normalized,
            raw: is_read.then_some((raw, false)),
            active: Some(active),
        });
        backward.push(Operation::BackwardToImage {
            convolution: stem,
            source: raw,
        });
        for (n, block) in outline.blocks.iter().enumerate() {
            let [first, second] = &block.convolutions;
            let first = plan.convolution(first, extent, weights);
            let middle = plan.convolutions[first].output;
            let second = plan.convolution(second, middle, weights);
            plan.normalize(second, follows(n + 1).0, false, weights);
            plan.convolutions[second].linear =
                n + 1 == outline.blocks.len() && !outline.last_activation;
            let end = plan.convolutions[second].output;
            let shortcut = match &block.shortcut {
                Shortcut::Raw => None,
                Shortcut::Active => Some(plan.identity(extent)),
                Shortcut::OfRaw(shortcut) | Shortcut::OfActive(shortcut) => {
                    Some(plan.convolution(shortcut, extent, weights))
                }
            };

            let between = plan.active(middle, active.value);
            // By then what the next convolution has read is of no more use.
            let inner_gradient = between.value;
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
                let (source, derivative) = match &block.shortcut {
                    Shortcut::Raw | Shortcut::OfRaw(_) => (old, None),
                    Shortcut::Active | Shortcut::OfActive(_) => {
                        (active.value, Some(active.derivative))
                    }
                };
                plan.operations.push(Operation::Forward {
                    convolution: shortcut,
                    source,
                    raw: Some((raw, false)),
                    active: None,
                });
                backward.push(Operation::Backward {
                    convolution: shortcut,
                    source: raw,
                    derivative,
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
        plan.operations.push(Operation::Head {
            active,
            output: raw,
        });
        plan.operations.extend(backward.into_iter().rev());
        plan
    }

    /// Adds a convolution of images of this extent, with its BatchNorm.
    fn convolution(
        &mut self,
        of: &outline::Convolution,
        input: Extent,
        weights: &Weights,
    ) -> usize {
        let [_, channels] = of.channels;
        let bias = match of.bias {
            true => numbers(weights, &of.name, "bias").to_vec(),
            false => vec![0.0; channels],
        };
        self.convolutions.push(Convolution {
            input,
            output: Extent {
                channels,
                size: input.size.div_ceil(of.stride),
            },
            kernel: of.kernel,
            stride: of.stride,
            padding: of.padding,
            weight: numbers(weights, &of.name, "weight").to_vec(),
            bias,
            affine: None,
            linear: false,
        });
        let index = self.convolutions.len() - 1;
        self.normalize(index, of.norm.as_deref(), true, weights);
        index
    }

    /// Adds the 1×1 convolution that changes nothing. With it a shortcut carries an activated a(y) on,
    /// and no operation or kernel is needed that a(y)'s gradient alone would ask for.
    fn identity(&mut self, extent: Extent) -> usize {
        let channels = extent.channels;
        let mut weight = vec![0.0; channels * channels];
        weight
            .iter_mut()
            .step_by(channels + 1)
            .for_each(|w| *w = 1.0);
        self.convolutions.push(Convolution {
            input: extent,
            output: extent,
            kernel: 1,
            stride: 1,
            padding: 0,
            weight,
            bias: vec![0.0; channels],
            affine: None,
            linear: false,
        });
        self.convolutions.len() - 1
    }

    /// Puts BatchNorm, if any, behind a convolution: into its weights where nobody reads the output
    /// without it.
    fn normalize(&mut self, index: usize, norm: Option<&str>, fold: bool, weights: &Weights) {
        let Some(norm) = norm else { return };
        let affine = Affine::of_batch_norm(norm, weights);
        let convolution = &mut self.convolutions[index];
        if !fold {
            convolution.affine = Some(affine);
            return;
        }
        // scale · (W x + b) + shift
        let inputs = convolution.weight.len() / convolution.bias.len();
        let rows = convolution.weight.chunks_exact_mut(inputs);
        let scales = affine.scale.iter().zip(&affine.shift);
        for ((row, bias), (scale, shift)) in rows.zip(&mut convolution.bias).zip(scales) {
            row.iter_mut().for_each(|weight| *weight *= scale);
            *bias = *bias * scale + shift;
        }
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

impl Affine {
    /// weight · (y − mean) / √(var + ε) + bias
    fn of_batch_norm(name: &str, weights: &Weights) -> Self {
        let part = |part| numbers(weights, name, part).iter().map(|&v| f64::from(v));
        let scale: Vec<f64> = part("weight")
            .zip(part("running_var"))
            .map(|(weight, var)| weight / (var + BATCH_NORM_EPSILON).sqrt())
            .collect();
        let shift = part("bias").zip(part("running_mean")).zip(&scale);
        Self {
            shift: shift
                .map(|((bias, mean), scale)| (bias - mean * scale) as f32)
                .collect(),
            scale: scale.iter().map(|&scale| scale as f32).collect(),
        }
    }
}

fn numbers<'a>(weights: &'a Weights, of: &str, part: &str) -> &'a [f32] {
    let name = format!("{of}.{part}");
    let array = weights.get(&name);
    &array.unwrap_or_else(|| panic!("no tensor `{name}`")).values
}
