//! The engine on the processor: runs a [`Plan`] with Basin's own kernels, natively and in
//! WebAssembly.
//!
//! Images of a batch do not interact, so a thread takes some of them through the whole list by
//! itself: there is nothing to wait for between operations, and what one leaves behind is still in
//! the thread's caches for the next. Numbers lie channels last with a border of zeros
//! ([`image::Layout`]), so that every kernel works on whole vectors of channels and no pixel is a special
//! case. 3×3 convolutions of stride one, nearly all of the work, are done by Winograd's algorithm
//! ([`winograd`]), the others directly ([`gather`]).

pub(crate) mod activation;
#[cfg(feature = "tensors")]
mod compiled;
mod epilogue;
mod gather;
mod head;
mod image;
mod memory;
mod panel;
mod winograd;

use std::{ops::Range, sync::Mutex};

use crate::{
    model_card::EnergyKind,
    plan::{Buffer, Convolution, Operation, Plan},
    simd::{self, Isa, Kernel, Simd},
};
#[cfg(feature = "tensors")]
pub use compiled::Compiled;
use epilogue::{Epilogue, Store};
use gather::{Gather, ToImage};
use image::Layout;
use memory::Aligned;
use winograd::Winograd;

/// Most images that a thread takes at once.
const GROUP: usize = 4;

/// Packed weights of more numbers than this are used for several images at once.
const HEAVY: usize = 256 * 1024;

/// A compiled network and the memory that it runs in.
#[derive(Debug)]
pub struct Engine {
    plan: Plan,
    isa: Isa,
    layouts: Vec<Layout>,
    /// For each operation of the plan that is a convolution, its packed weights.
    packed: Vec<Option<Convolve>>,
    /// Memory of each thread at work.
    workspaces: Mutex<Vec<Workspace>>,
    segments: Vec<Segment>,
}

/// Operations that a thread does for some of its images before it turns to the next ones.
#[derive(Debug, PartialEq)]
struct Segment {
    operations: Range<usize>,
    /// One, so that what an operation leaves behind is still in the caches for the next; or
    /// [`GROUP`], where the weights are what the caches had better keep.
    images: usize,
}

/// A convolution in the form that suits it.
#[derive(Debug)]
enum Convolve {
    Winograd(Winograd),
    Gather(Gather),
    ToImage(ToImage),
}

/// What an [`Engine`] computes of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// `[batch, classes]`
    pub logits: Vec<f32>,
    /// The gradient of the energy with respect to the images, `[batch, channels, size, size]`.
    pub gradient: Vec<f32>,
}

/// The memory of one thread: every buffer of the plan for a group of images, and scratch.
#[derive(Debug)]
struct Workspace {
    buffers: Vec<Aligned>,
    scratch: Aligned,
}

impl Engine {
    /// Packs the weights for this processor.
    pub fn new(plan: Plan) -> Self {
        Self::with_isa(plan, Isa::best())
    }

    /// Packs the weights for an instruction set that this processor has.
    pub(crate) fn with_isa(plan: Plan, isa: Isa) -> Self {
        let layouts: Vec<Layout> = plan.buffers.iter().map(|&e| Layout::of(e)).collect();
        let packed = plan.operations.iter().map(|&operation| match operation {
            Operation::Normalize { .. } | Operation::Head { .. } => None,
            Operation::Forward { convolution, .. } => {
                Some(Convolve::forward(&plan.convolutions[convolution], isa))
            }
            Operation::Backward { convolution, .. } => {
                Some(Convolve::backward(&plan.convolutions[convolution], isa))
            }
            Operation::BackwardToImage { convolution, .. } => {
                let convolution = &plan.convolutions[convolution];
                let packed = ToImage::new(convolution, &plan.normalization.std);
                Some(Convolve::ToImage(packed))
            }
        });
        let packed: Vec<_> = packed.collect();
        Self {
            segments: segments(&packed),
            plan,
            isa,
            layouts,
            packed,
            workspaces: Mutex::default(),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Logits, and the gradient of each image's energy with respect to it.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, size, size]` in [0, 1]; `classes`: `[batch]`, of no meaning for E(x)
    ///
    /// # Panics
    /// If the sizes do not agree or a class does not exist.
    pub fn evaluate(&self, x: &[f32], classes: &[usize], energy: EnergyKind) -> Evaluation {
        let logit_count = self.plan.classes();
        assert!(
            classes.iter().all(|&class| class < logit_count),
            "classes {classes:?} of {logit_count}"
        );
        self.run(x, classes, energy, self.plan.operations.len())
    }

    /// Logits alone. Shapes as in [`Engine::evaluate`].
    pub fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
        let is_head = |operation: &Operation| matches!(operation, Operation::Head { .. });
        let head = self.plan.operations.iter().position(is_head);
        let head = head.expect("a plan has a head");
        self.run(x, &vec![0; batch], EnergyKind::Marginal, head + 1)
            .logits
    }

    /// Does the first `operations` of the plan.
    fn run(
        &self,
        x: &[f32],
        classes: &[usize],
        energy: EnergyKind,
        operations: usize,
    ) -> Evaluation {
        let batch = classes.len();
        let image = self.plan.image.channels * self.plan.image.size.pow(2);
        assert_eq!(x.len(), batch * image, "numbers of {batch} images");
        let mut evaluation = Evaluation {
            logits: vec![0.0; batch * self.plan.classes()],
            gradient: vec![0.0; x.len()],
        };
        let group = GROUP.min(batch.div_ceil(simd::threads())).max(1);
        let run = Run {
            engine: self,
            x,
            classes,
            energy,
            operations,
            group,
            logits: simd::Output(evaluation.logits.as_mut_ptr()),
            gradient: simd::Output(evaluation.gradient.as_mut_ptr()),
        };
        self.isa.run(&run, batch.div_ceil(group));
        evaluation
    }

    /// Memory for `group` images: that of a thread that has finished, or new.
    fn workspace(&self, group: usize) -> Workspace {
        let mut free = self.workspaces.lock().expect("no thread panics with it");
        let fits = |w: &Workspace| w.buffers[0].len() >= group * self.layouts[0].len();
        if let Some(workspace) = free.pop().filter(fits) {
            return workspace;
        }
        let scratch = self.packed.iter().map(|packed| match packed {
            Some(Convolve::Winograd(convolution)) => convolution.scratch(),
            _ => 0,
        });
        Workspace {
            buffers: self
                .layouts
                .iter()
                .map(|layout| Aligned::zeros(group * layout.len()))
                .collect(),
            scratch: Aligned::zeros(scratch.max().unwrap_or(0)),
        }
    }
}

impl Convolve {
    fn forward(convolution: &Convolution, isa: Isa) -> Self {
        if convolution.kernel == 3 && convolution.stride == 1 && convolution.input.channels >= 16 {
            Self::Winograd(Winograd::forward(convolution, isa))
        } else {
            Self::Gather(Gather::forward(convolution, isa))
        }
    }

    fn backward(convolution: &Convolution, isa: Isa) -> Self {
        if convolution.kernel == 3 && convolution.stride == 1 {
            Self::Winograd(Winograd::backward(convolution, isa))
        } else {
            Self::Gather(Gather::backward(convolution, isa))
        }
    }
}

/// One batch on its way; part `index` is a group of images.
struct Run<'a> {
    engine: &'a Engine,
    x: &'a [f32],
    classes: &'a [usize],
    energy: EnergyKind,
    operations: usize,
    group: usize,
    logits: simd::Output,
    gradient: simd::Output,
}

impl Kernel for Run<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let engine = self.engine;
        let plan = &engine.plan;
        let first = index * self.group;
        let classes = &self.classes[first..self.classes.len().min(first + self.group)];
        let count = classes.len();
        let pixels = plan.image.channels * plan.image.size.pow(2);
        let mut workspace = engine.workspace(self.group);
        // SAFETY: each part has its own images.
        let (logits, gradient) = unsafe {
            let logits = self.logits.at(first * plan.classes());
            let gradient = self.gradient.at(first * pixels);
            (
                std::slice::from_raw_parts_mut(logits, count * plan.classes()),
                std::slice::from_raw_parts_mut(gradient, count * pixels),
            )
        };
        let mut group = Group {
            engine,
            x: &self.x[first * pixels..][..count * pixels],
            classes,
            energy: self.energy,
            logits,
            gradient,
        };
        for segment in &engine.segments {
            for first in (0..count).step_by(segment.images) {
                let images = first..count.min(first + segment.images);
                let operations = segment.operations.clone();
                for operation in operations.take_while(|&o| o < self.operations) {
                    // SAFETY: the caller vouches for the instruction set.
                    unsafe { group.run::<S>(operation, images.clone(), &mut workspace) };
                }
            }
        }
        let mut free = engine.workspaces.lock().expect("no thread panics with it");
        free.push(workspace);
    }
}

/// The images of one part.
struct Group<'a> {
    engine: &'a Engine,
    x: &'a [f32],
    classes: &'a [usize],
    energy: EnergyKind,
    logits: &'a mut [f32],
    gradient: &'a mut [f32],
}

impl Group<'_> {
    /// Does one operation for some of the images.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &mut self,
        operation: usize,
        images: Range<usize>,
        Workspace { buffers, scratch }: &mut Workspace,
    ) {
        let Engine {
            plan,
            layouts,
            packed,
            ..
        } = self.engine;
        let convolution = || packed[operation].as_ref().expect("a convolution is packed");
        let pixels = plan.image.channels * plan.image.size.pow(2);
        let pixels = images.start * pixels..images.end * pixels;
        let place = |buffer: Buffer| {
            let len = layouts[buffer].len();
            images.start * len..images.end * len
        };
        match plan.operations[operation] {
            Operation::Normalize { output } => {
                let to = &mut buffers[output][place(output)];
                image::normalize(&self.x[pixels], &plan.normalization, layouts[output], to);
            }
            Operation::Forward {
                convolution: index,
                source,
                raw,
                active,
            } => {
                let mut start = |buffer: Buffer| buffers[buffer][place(buffer)].as_mut_ptr();
                let epilogue = Epilogue {
                    layout: Layout::of(plan.convolutions[index].output),
                    bias: Some(&plan.convolutions[index].bias),
                    store: Store::Forward {
                        raw: raw.map(|(buffer, add)| (start(buffer), add)),
                        active: active.map(|to| (start(to.value), start(to.derivative))),
                        activation: plan.activation,
                    },
                };
                let source = (&buffers[source][place(source)], layouts[source]);
                // SAFETY: the caller vouches for the instruction set, and a plan never writes the
                // buffer that it reads.
                unsafe { convolution().run::<S>(source, images.len(), &epilogue, scratch) };
            }
            Operation::Head { active, output } => {
                let [value, derivative, gradient] = buffers
                    .get_disjoint_mut([active.value, active.derivative, output])
                    .expect("a plan gives the head three buffers");
                let features = head::Features {
                    layout: layouts[output],
                    value: &value[place(active.value)],
                    derivative: &derivative[place(active.derivative)],
                };
                let classes = &self.classes[images.clone()];
                let count = plan.classes();
                let logits = &mut self.logits[images.start * count..images.end * count];
                let gradient = &mut gradient[place(output)];
                head::run(&plan.head, features, self.energy, classes, logits, gradient);
            }
            Operation::Backward {
                source,
                derivative,
                output,
                add,
                ..
            } => {
                let epilogue = Epilogue {
                    layout: layouts[output],
                    bias: None,
                    store: Store::Backward {
                        derivative: derivative.map(|b| buffers[b][place(b)].as_ptr()),
                        output: buffers[output][place(output)].as_mut_ptr(),
                        add,
                    },
                };
                let source = (&buffers[source][place(source)], layouts[source]);
                // SAFETY: as above.
                unsafe { convolution().run::<S>(source, images.len(), &epilogue, scratch) };
            }
            Operation::BackwardToImage { source, .. } => {
                let Convolve::ToImage(convolution) = convolution() else {
                    unreachable!("the operation is packed so")
                };
                let from = &buffers[source][place(source)];
                // SAFETY: the caller vouches for the instruction set.
                unsafe { convolution.run::<S>(from, layouts[source], &mut self.gradient[pixels]) };
            }
        }
    }
}

/// Runs of operations whose weights are all heavy, or all not.
fn segments(packed: &[Option<Convolve>]) -> Vec<Segment> {
    let images = packed.iter().map(|packed| match packed {
        Some(Convolve::Winograd(convolution)) if convolution.weights() > HEAVY => GROUP,
        _ => 1,
    });
    let mut segments: Vec<Segment> = Vec::new();
    for (operation, images) in images.enumerate() {
        match segments.last_mut() {
            Some(last) if last.images == images => last.operations.end += 1,
            _ => segments.push(Segment {
                operations: operation..operation + 1,
                images,
            }),
        }
    }
    segments
}

impl Convolve {
    /// # Safety
    ///
    /// As for [`Simd`]; and what the epilogue points to must hold `count` images and not overlap
    /// `source`.
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &self,
        (source, layout): (&[f32], Layout),
        count: usize,
        epilogue: &Epilogue,
        scratch: &mut [f32],
    ) {
        // SAFETY: as the caller vouches.
        unsafe {
            match self {
                Self::Winograd(it) => it.run::<S>(source, layout, count, epilogue, scratch),
                Self::Gather(it) => it.run::<S>(source, layout, count, epilogue),
                Self::ToImage(_) => unreachable!("this one has no epilogue"),
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::{
        Classifier, Energy, Key,
        gradient::value_and_gradient,
        models::{Activation, Initialization, Normalization, WideResNetConfig},
        tensors,
    };
    use burn::tensor::{Device, Int, Tensor, TensorData};

    /// Largest difference from Burn's numbers, as a share of the largest of them. Each layer adds
    /// some 1e-6, Winograd's transforms the most of it.
    const TOLERANCE: f32 = 1e-4;

    fn config(depth: usize, width: usize, channels: usize, size: usize) -> WideResNetConfig {
        WideResNetConfig {
            depth,
            width,
            channels,
            size,
            classes: 5,
            activation: Activation::Silu,
            normalization: Normalization {
                mean: vec![0.4, 0.5, 0.6][..channels].to_vec(),
                std: vec![0.2, 0.3, 0.5][..channels].to_vec(),
            },
        }
    }

    fn assert_close(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let scale = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!(
                (a - b).abs() <= TOLERANCE * scale,
                "{what}: number {i} is {a}, expected {b}, where numbers reach {scale}"
            );
        }
    }

    fn check(config: &WideResNetConfig, batch: usize, kind: EnergyKind) {
        let device = Device::flex();
        let initialization = Initialization {
            gain: 1.4,
            residual_scale: 0.7,
        };
        let model = config.init(initialization, Key::new(3), &device);
        let shape = [batch, config.channels, config.size, config.size];
        let x = Key::new(4).uniform(shape, &device);
        let classes = Key::new(5).integers(batch, config.classes);
        let y: Vec<i64> = classes.iter().map(|&y| y as i64).collect();
        let y = Tensor::<1, Int>::from_data(TensorData::new(y, [batch]), &device);
        let energy = match kind {
            EnergyKind::Joint => Energy::Joint(y),
            EnergyKind::Marginal => Energy::Marginal,
            EnergyKind::Conditional => Energy::Conditional(y),
        };
        let (_, gradient) = value_and_gradient(|x| energy.of_logits(model.logits(x)), x.clone());
        let logits: Vec<f32> = model.logits(x.clone()).into_data().iter().collect();
        let gradient: Vec<f32> = gradient.into_data().iter().collect();
        let x: Vec<f32> = x.into_data().iter().collect();

        let plan = Plan::wide_resnet(config, &tensors::collect(&model));
        for isa in Isa::available() {
            let engine = Engine::with_isa(plan.clone(), isa);
            let what = format!("{isa:?} {config:?} batch {batch} {kind:?}");
            // Twice: the second time the memory is no longer new.
            for _ in 0..2 {
                let found = engine.evaluate(&x, &classes, kind);
                assert_close(&found.logits, &logits, &format!("logits, {what}"));
                assert_close(&found.gradient, &gradient, &format!("gradient, {what}"));
            }
        }
    }

    #[test]
    fn agrees_with_burn_at_every_size() {
        for (depth, width, channels, size, batch) in [
            (10, 1, 1, 28, 1),
            (16, 1, 1, 28, 5),
            (10, 2, 3, 32, 17),
            (10, 3, 2, 9, 3),
            (10, 1, 3, 11, 2),
            (22, 1, 1, 8, 2),
            (10, 5, 3, 14, 1),
        ] {
            check(
                &config(depth, width, channels, size),
                batch,
                EnergyKind::Joint,
            );
        }
    }

    #[test]
    fn agrees_with_burn_for_every_energy_and_activation() {
        for kind in [
            EnergyKind::Joint,
            EnergyKind::Marginal,
            EnergyKind::Conditional,
        ] {
            for activation in [Activation::Silu, Activation::LeakyRelu] {
                let config = WideResNetConfig {
                    activation,
                    ..config(10, 1, 1, 12)
                };
                check(&config, 3, kind);
            }
        }
    }

    #[test]
    fn an_image_is_the_same_alone_as_in_company() {
        let config = config(10, 1, 1, 10);
        let initialization = Initialization {
            gain: 1.4,
            residual_scale: 0.7,
        };
        let model = config.init(initialization, Key::new(3), &Device::flex());
        let engine = Engine::new(Plan::wide_resnet(&config, &tensors::collect(&model)));
        let x = Key::new(1).uniforms(20 * 100);
        let classes = Key::new(2).integers(20, 5);
        let all = engine.evaluate(&x, &classes, EnergyKind::Joint);
        let last = engine.evaluate(&x[1900..], &classes[19..], EnergyKind::Joint);
        assert_eq!(all.gradient[1900..], last.gradient);
        assert_eq!(all.logits[95..], last.logits);
    }
}
