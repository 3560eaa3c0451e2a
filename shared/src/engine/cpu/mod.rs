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
pub(crate) mod amx;
pub(crate) mod convolve;
pub(crate) mod epilogue;
pub(crate) mod filter;
mod gather;
mod head;
pub(crate) mod image;
pub(crate) mod memory;
mod panel;
pub(crate) mod tiles;
pub(crate) mod tiles_weight_gradient;
pub(crate) mod weight_gradient;
pub(crate) mod winograd;

use std::{ops::Range, sync::Mutex};

use crate::{
    classifier::{Classifier, Evaluation},
    energy::Objective,
    engine::{
        plan::{Buffer, Operation, Plan},
        simd::{self, Isa, Kernel, Simd},
    },
};
use amx::Amx;
use convolve::Convolve;
use epilogue::{Epilogue, Store};
use gather::ToImage;
use image::Layout;
use memory::Aligned;

/// Most images that a thread takes at once.
const GROUP: usize = 4;

/// Packed weights of more numbers than this are used for several images at once.
const HEAVY: usize = 256 * 1024;

/// A compiled network and the memory that it runs in.
#[derive(Debug)]
pub struct CompiledNetwork {
    plan: Plan,
    isa: Isa,
    layouts: Vec<Layout>,
    /// For each operation of the plan that is a convolution, its packed weights.
    packed: Vec<Option<Weights>>,
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

/// An operation's packed weights.
#[derive(Debug)]
enum Weights {
    Convolve(Convolve),
    ToImage(ToImage),
}

/// The memory of one thread: every buffer of the plan for a group of images, and scratch.
#[derive(Debug)]
struct Workspace {
    buffers: Vec<Aligned>,
    scratch: Aligned,
}

impl CompiledNetwork {
    /// Packs the weights for this processor.
    pub fn new(plan: Plan) -> Self {
        Self::with_isa(plan, Isa::best())
    }

    /// Packs the weights for an instruction set that this processor has.
    pub(crate) fn with_isa(plan: Plan, isa: Isa) -> Self {
        Self::pack(plan, isa, None)
    }

    /// The same with the factors of convolutions rounded to bf16.
    pub(crate) fn in_bf16(plan: Plan, amx: Amx) -> Self {
        Self::pack(plan, Isa::best(), Some(amx))
    }

    fn pack(plan: Plan, isa: Isa, amx: Option<Amx>) -> Self {
        let layouts: Vec<Layout> = plan.buffers.iter().map(|&e| Layout::of(e)).collect();
        let packed = plan.operations.iter().map(|&operation| match operation {
            Operation::Normalize { .. } | Operation::Head { .. } => None,
            Operation::Forward {
                convolution,
                source,
                ..
            } => {
                let filter = (&plan.convolutions[convolution]).into();
                Some(Weights::Convolve(match amx {
                    Some(amx) => Convolve::forward_in_bf16(&filter, layouts[source].channels, amx),
                    None => Convolve::forward(&filter, isa),
                }))
            }
            Operation::Backward {
                convolution,
                source,
                ..
            } => {
                let filter = (&plan.convolutions[convolution]).into();
                Some(Weights::Convolve(match amx {
                    Some(amx) => Convolve::backward_in_bf16(&filter, layouts[source].channels, amx),
                    None => Convolve::backward(&filter, isa),
                }))
            }
            Operation::BackwardToImage { convolution, .. } => {
                let filter = (&plan.convolutions[convolution]).into();
                let packed = ToImage::new(&filter, &plan.normalization.std);
                Some(Weights::ToImage(packed))
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

    /// Does the first `operations` of the plan.
    fn run(
        &self,
        x: &[f32],
        batch: usize,
        objective: Option<&dyn Objective>,
        operations: usize,
    ) -> Evaluation {
        self.plan.check(x, batch);
        let mut evaluation = Evaluation {
            logits: vec![0.0; batch * self.plan.classes()],
            gradient: vec![0.0; x.len()],
        };
        let group = GROUP.min(batch.div_ceil(simd::threads())).max(1);
        let run = Run {
            engine: self,
            x,
            batch,
            objective,
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
            Some(Weights::Convolve(convolve)) => convolve.scratch(),
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

impl Classifier for CompiledNetwork {
    fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
        let is_head = |operation: &Operation| matches!(operation, Operation::Head { .. });
        let head = self.plan.operations.iter().position(is_head);
        let head = head.expect("a plan has a head");
        self.run(x, batch, None, head + 1).logits
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        self.run(x, batch, Some(objective), self.plan.operations.len())
    }
}

/// One batch on its way; part `index` is a group of images.
struct Run<'a> {
    engine: &'a CompiledNetwork,
    x: &'a [f32],
    batch: usize,
    objective: Option<&'a dyn Objective>,
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
        let count = self.group.min(self.batch - first);
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
            first,
            objective: self.objective,
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
    engine: &'a CompiledNetwork,
    x: &'a [f32],
    /// The number of the first one.
    first: usize,
    objective: Option<&'a dyn Objective>,
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
        let CompiledNetwork {
            plan,
            layouts,
            packed,
            ..
        } = self.engine;
        let convolve = || match &packed[operation] {
            Some(Weights::Convolve(convolve)) => convolve,
            _ => unreachable!("the operation is packed so"),
        };
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
                let convolution = &plan.convolutions[index];
                let mut start = |buffer: Buffer| buffers[buffer][place(buffer)].as_mut_ptr();
                let epilogue = Epilogue {
                    layout: Layout::of(convolution.output),
                    bias: Some(&convolution.bias),
                    affine: convolution.affine.as_ref(),
                    store: Store::Forward {
                        raw: raw.map(|(buffer, add)| (start(buffer), add)),
                        active: active.map(|to| (start(to.value), start(to.derivative))),
                        activation: (!convolution.linear).then_some(plan.activation),
                    },
                };
                let source = (&buffers[source][place(source)], layouts[source]);
                // SAFETY: the caller vouches for the instruction set, and a plan never writes the
                // buffer that it reads.
                unsafe { convolve().run::<S>(source, images.len(), &epilogue, scratch) };
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
                let count = plan.classes();
                let logits = &mut self.logits[images.start * count..images.end * count];
                let gradient = &mut gradient[place(output)];
                let first = self.first + images.start;
                head::run(
                    &plan.head,
                    features,
                    first,
                    self.objective,
                    logits,
                    gradient,
                );
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
                    affine: None,
                    store: Store::Backward {
                        derivative: derivative.map(|b| buffers[b][place(b)].as_ptr()),
                        output: buffers[output][place(output)].as_mut_ptr(),
                        add,
                    },
                };
                let source = (&buffers[source][place(source)], layouts[source]);
                // SAFETY: as above.
                unsafe { convolve().run::<S>(source, images.len(), &epilogue, scratch) };
            }
            Operation::BackwardToImage { source, .. } => {
                let Some(Weights::ToImage(convolution)) = &packed[operation] else {
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
fn segments(packed: &[Option<Weights>]) -> Vec<Segment> {
    let images = packed.iter().map(|packed| match packed {
        Some(Weights::Convolve(Convolve::Winograd(convolution)))
            if convolution.weights() > HEAVY =>
        {
            GROUP
        }
        Some(Weights::Convolve(Convolve::Tiles(convolution))) if convolution.weights() > HEAVY => {
            GROUP
        }
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
