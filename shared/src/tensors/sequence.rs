//! A frozen network on a GPU: logits and the gradient of the images as one sequence of Basin's kernels, without a graph.
//!
//! It is [`crate::engine::plan`] for tensors that are there already, so that nothing of a network that is trained crosses the
//! bus: forward each convolution's input is kept for the derivative of its activation, backward the same convolutions run
//! the other way, and no weight gets a gradient.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Device, FloatDType, Int, Tensor},
};

use super::{
    Network, Precision, activation,
    convolution::{conv2d, data_gradient},
    energy::recorded::{self, Terms},
    head::{self, head},
    layers::cast,
    normalization,
    on_tensors::{from_host, to_host, whole_from_host},
    parameters::Path,
};
use crate::{
    energy::{EnergyKind, Objective},
    models::{
        Activation, Normalization,
        outline::{self, BATCH_NORM_EPSILON, Outline},
    },
};

/// A network in evaluation mode whose weights no longer change, on a device of CubeCL.
#[derive(Debug)]
pub struct Sequence {
    device: Device,
    /// Channels, rows and columns.
    image: [usize; 3],
    normalization: Normalization,
    activation: Activation,
    precision: DType,
    stem: Layer,
    blocks: Vec<Block>,
    last_norm: Option<Norm>,
    last_activation: bool,
    weight: Tensor<2>,
    bias: Tensor<1>,
}

/// y = scale · x + shift, of each channel: `[1, channels, 1, 1]`. It computes in single precision and returns its input's.
#[derive(Debug)]
struct Norm {
    scale: Tensor<4>,
    shift: Tensor<4>,
}

/// A convolution and its BatchNorm.
#[derive(Debug)]
struct Layer {
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
    norm: Option<Norm>,
}

/// See [`outline::Block`].
#[derive(Debug)]
struct Block {
    norm: Option<Norm>,
    convolutions: [Layer; 2],
    shortcut: Shortcut,
}

/// See [`outline::Shortcut`].
#[derive(Debug)]
enum Shortcut {
    Raw,
    Active,
    OfRaw(Layer),
    OfActive(Layer),
}

/// What the gradient is taken of.
#[expect(clippy::large_enum_variant, reason = "an attack or a chain has one")]
pub(super) enum Descended<'a> {
    /// A kernel knows its slope.
    OnDevice(Terms, Option<Tensor<1, Int>>),
    /// Logits are read back for it.
    OnHost(&'a dyn Objective),
}

/// What a block keeps of the forward pass: what its activations were of.
struct Kept {
    before: Tensor<4>,
    between: Tensor<4>,
    /// The size of the block's input.
    shape: [usize; 4],
}

impl Norm {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let precision = x.dtype();
        let y = cast(x, DType::F32) * self.scale.clone() + self.shift.clone();
        cast(y, precision)
    }

    fn of(norm: Option<&Self>, x: Tensor<4>) -> Tensor<4> {
        match norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    fn gradient(norm: Option<&Self>, dy: Tensor<4>) -> Tensor<4> {
        let Some(norm) = norm else { return dy };
        let precision = dy.dtype();
        cast(cast(dy, DType::F32) * norm.scale.clone(), precision)
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let y = conv2d(x, weight, bias, self.stride, self.padding);
        Norm::of(self.norm.as_ref(), y)
    }

    /// ∂/∂x, of this shape, from ∂/∂y.
    fn gradient(&self, dy: Tensor<4>, shape: [usize; 4]) -> Tensor<4> {
        let dy = Norm::gradient(self.norm.as_ref(), dy);
        data_gradient(dy, self.weight.clone(), shape, self.stride, self.padding)
    }
}

/// The parameters of a network, each flat.
struct Parameters {
    path: Path,
    of: BTreeMap<String, Tensor<1>>,
    precision: DType,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let numbers = param.val().flatten(0, D - 1);
        self.of.insert(self.path.name(), numbers);
    }
}

impl Parameters {
    fn get(&self, name: &str, part: &str) -> Tensor<1> {
        let name = format!("{name}.{part}");
        let found = self.of.get(&name);
        found
            .unwrap_or_else(|| panic!("the network has no {name}"))
            .clone()
    }

    fn norm(&self, name: &str) -> Norm {
        let [weight, bias, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.get(name, part));
        let scale = weight / (var + BATCH_NORM_EPSILON).sqrt();
        let shift = bias - mean * scale.clone();
        let of_channels = |x: Tensor<1>| {
            let [channels] = x.dims();
            x.reshape([1, channels, 1, 1])
        };
        Norm {
            scale: of_channels(scale),
            shift: of_channels(shift),
        }
    }

    fn layer(&self, of: &outline::Convolution) -> Layer {
        let [input, output] = of.channels;
        let weight = self.get(&of.name, "weight");
        Layer {
            weight: cast(
                weight.reshape([output, input, of.kernel, of.kernel]),
                self.precision,
            ),
            bias: of
                .bias
                .then(|| cast(self.get(&of.name, "bias"), self.precision)),
            stride: of.stride,
            padding: of.padding,
            norm: of.norm.as_ref().map(|norm| self.norm(norm)),
        }
    }

    fn block(&self, of: &outline::Block) -> Block {
        Block {
            norm: of.norm.as_ref().map(|norm| self.norm(norm)),
            convolutions: of.convolutions.each_ref().map(|it| self.layer(it)),
            shortcut: match &of.shortcut {
                outline::Shortcut::Raw => Shortcut::Raw,
                outline::Shortcut::Active => Shortcut::Active,
                outline::Shortcut::OfRaw(it) => Shortcut::OfRaw(self.layer(it)),
                outline::Shortcut::OfActive(it) => Shortcut::OfActive(self.layer(it)),
            },
        }
    }
}

impl Sequence {
    /// The network with the weights that it has now; off the autodiff device.
    pub(super) fn new(network: &Network, outline: &Outline, precision: Precision) -> Self {
        let mut parameters = Parameters {
            path: Path::default(),
            of: BTreeMap::new(),
            precision: FloatDType::from(precision).into(),
        };
        network.visit(&mut parameters);
        let weight = parameters.get(&outline.head, "weight");
        let device = weight.device();
        let bias = parameters.get(&outline.head, "bias");
        let [classes] = bias.dims();
        let [all] = weight.dims();
        Self {
            image: network.architecture().image(),
            normalization: outline.normalization.clone(),
            activation: outline.activation,
            precision: parameters.precision,
            stem: parameters.layer(&outline.stem),
            blocks: outline
                .blocks
                .iter()
                .map(|it| parameters.block(it))
                .collect(),
            last_norm: outline.last_norm.as_ref().map(|it| parameters.norm(it)),
            last_activation: outline.last_activation,
            weight: weight.reshape([classes, all / classes]),
            bias,
            device,
        }
    }

    /// Images as a tensor.
    pub(super) fn images(&self, x: &[f32], batch: usize) -> Tensor<4> {
        let [channels, height, width] = self.image;
        from_host(x.to_vec(), [batch, channels, height, width], &self.device)
    }

    /// The objective as evaluations take it, to be made once for all of them.
    pub(super) fn descended<'a>(&self, objective: &'a dyn Objective) -> Descended<'a> {
        match objective.in_kernel() {
            Some((EnergyKind::Marginal, _)) => Descended::OnDevice(Terms::MARGINAL, None),
            Some((kind, classes)) => {
                let terms = match kind {
                    EnergyKind::Joint => Terms::JOINT,
                    _ => Terms::CONDITIONAL,
                };
                let y = whole_from_host(classes, &self.device);
                Descended::OnDevice(terms, Some(y))
            }
            None => Descended::OnHost(objective),
        }
    }

    /// `[batch, channels, height, width]` -> `[batch, classes]`
    pub(super) fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward(x).0
    }

    /// f(x), and the gradient of each image's objective with respect to it.
    pub(super) fn evaluate(&self, x: Tensor<4>, descended: &Descended) -> (Tensor<2>, Tensor<4>) {
        let (logits, kept, end) = self.forward(x);
        let slopes = match descended {
            Descended::OnDevice(terms, y) => recorded::slopes(logits.clone(), y.clone(), *terms),
            Descended::OnHost(objective) => slopes(*objective, logits.clone()),
        };
        (logits, self.backward(slopes, kept, end))
    }

    fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Vec<Kept>, Tensor<4>) {
        let x = cast(self.normalization.forward(x), self.precision);
        let mut x = self.stem.forward(x);
        let mut kept = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let before = Norm::of(block.norm.as_ref(), x.clone());
            let active = self.activation.forward(before.clone());
            let shape = x.dims();
            let shortcut = match &block.shortcut {
                Shortcut::Raw => x,
                Shortcut::Active => active.clone(),
                Shortcut::OfRaw(layer) => layer.forward(x),
                Shortcut::OfActive(layer) => layer.forward(active.clone()),
            };
            let [first, second] = &block.convolutions;
            let between = first.forward(active);
            x = second.forward(self.activation.forward(between.clone())) + shortcut;
            kept.push(Kept {
                before,
                between,
                shape,
            });
        }
        let end = Norm::of(self.last_norm.as_ref(), x);
        let active = match self.last_activation {
            true => self.activation.forward(end.clone()),
            false => end.clone(),
        };
        let active = cast(active, DType::F32);
        let logits = head(active, self.weight.clone(), self.bias.clone());
        (logits, kept, end)
    }

    fn backward(&self, slopes: Tensor<2>, kept: Vec<Kept>, end: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = end.dims();
        let dx = head::data_gradient(slopes, self.weight.clone(), [height, width]);
        let mut dx = cast(dx, self.precision);
        if self.last_activation {
            dx = activation::gradient(self.activation, end, dx);
        }
        dx = Norm::gradient(self.last_norm.as_ref(), dx);
        for (block, kept) in self.blocks.iter().zip(kept).rev() {
            let Kept {
                before,
                between,
                shape,
            } = kept;
            let [first, second] = &block.convolutions;
            let d_between = second.gradient(dx.clone(), between.dims());
            let d_between = activation::gradient(self.activation, between, d_between);
            let mut d_active = first.gradient(d_between, shape);
            match &block.shortcut {
                Shortcut::Active => d_active = d_active + dx.clone(),
                Shortcut::OfActive(layer) => {
                    d_active = d_active + layer.gradient(dx.clone(), shape);
                }
                Shortcut::Raw | Shortcut::OfRaw(_) => {}
            }
            let d_before = activation::gradient(self.activation, before, d_active);
            let d_x = Norm::gradient(block.norm.as_ref(), d_before);
            dx = match &block.shortcut {
                Shortcut::Raw => d_x + dx,
                Shortcut::OfRaw(layer) => d_x + layer.gradient(dx, shape),
                Shortcut::Active | Shortcut::OfActive(_) => d_x,
            };
        }
        let [channels, rows, columns] = self.image;
        let dx = self.stem.gradient(dx, [batch, channels, rows, columns]);
        normalization::gradient(&self.normalization, cast(dx, DType::F32))
    }
}

/// The objective's slope at these logits.
fn slopes(objective: &dyn Objective, logits: Tensor<2>) -> Tensor<2> {
    let (shape, device) = (logits.dims(), logits.device());
    let numbers = to_host(logits);
    let mut slopes = vec![0.0; numbers.len()];
    let rows = numbers.chunks_exact(shape[1]);
    for (image, (row, slope)) in rows.zip(slopes.chunks_exact_mut(shape[1])).enumerate() {
        objective.slope(image, row, slope);
    }
    from_host(slopes, shape, &device)
}
