//! The launches that one evaluation of a batch is.

use std::{ops::Range, rc::Rc};

use super::{Buffers, GpuError, layout::Layout, network::GpuNetwork, pack};
use crate::{
    energy::EnergyKind,
    engine::{
        cpu::winograd::POSITIONS,
        plan::{Active, Buffer, Convolution, Operation, Plan},
    },
    models::Activation,
};

/// Threads of a workgroup.
const THREADS: usize = 64;
/// Tiles, quads of channels and pixels that one thread works on.
const TILES: usize = 4;
const QUADS: usize = 4;
const PIXELS: usize = 8;
/// Bytes of transformed tiles, before the product with the weights and after it, that a launch may leave
/// behind: images beyond that are left to further launches.
const MOST_SCRATCH: usize = 8 << 20;
/// Where the head's kernel gets the slope of the objective from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slope<'a> {
    /// It knows that of an energy, for these classes.
    Known(EnergyKind, &'a [usize]),
    /// It is given, of so many images, once the logits are known.
    Given(usize),
}

impl Slope<'_> {
    fn batch(self) -> usize {
        match self {
            Self::Known(_, classes) => classes.len(),
            Self::Given(batch) => batch,
        }
    }
}

/// The launches of one batch, and the buffers that meet the host or the chain.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) launches: Vec<Launch>,
    /// The launch of the head: those before it do not need the slope.
    pub(super) head: usize,
    /// The classes, or the slopes that are given.
    pub(super) slope: wgpu::Buffer,
    /// The images, normalised.
    pub(super) input: wgpu::Buffer,
    /// The gradient of the objective with respect to the images.
    pub(super) gradient: wgpu::Buffer,
    pub(super) logits: wgpu::Buffer,
    _memory: Buffers,
    _weights: Rc<Buffers>,
}

#[derive(Debug)]
pub(super) struct Launch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: u32,
}

impl Recorded {
    /// Has the launches follow each other.
    pub(super) fn launch(&self, pass: &mut wgpu::ComputePass) {
        self.launch_some(pass, 0..self.launches.len());
    }

    pub(super) fn launch_some(&self, pass: &mut wgpu::ComputePass, some: Range<usize>) {
        for launch in &self.launches[some] {
            pass.set_pipeline(&launch.pipeline);
            pass.set_bind_group(0, &launch.bindings, &[]);
            pass.dispatch_workgroups(launch.groups, 1, 1);
        }
    }
}

impl GpuNetwork {
    /// Allocates the buffers of a batch, fills in the images, and binds what each operation needs.
    pub(super) async fn record(&self, x: &[f32], slope: Slope<'_>) -> Result<Recorded, GpuError> {
        let batch = slope.batch();
        self.plan.check(x, batch);
        if let Slope::Known(_, classes) = slope {
            self.plan.check_classes(classes);
        }
        let device = &self.gpu.device;
        let largest = self
            .plan
            .buffers
            .iter()
            .map(|&extent| batch * Layout::of(extent).len() * self.gpu.storage.vector());
        let [inputs, products] = self.scratch(batch);
        let largest = largest.chain([inputs, products]).max().unwrap_or_default() as u64;
        let limits = device.limits();
        let limit = limits.max_storage_buffer_binding_size;
        let too_large = |needed, what, limit| GpuError::TooLarge {
            images: batch,
            needed,
            what,
            limit,
        };
        if largest > limit {
            return Err(too_large(largest, "bytes in one buffer", limit));
        }
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let recorded = Recorder::new(self, x, slope).record();
        if let Some(error) = scope.pop().await {
            return Err(error.into());
        }
        let groups = recorded.launches.iter().map(|launch| launch.groups).max();
        let [needed, limit] = [
            groups.unwrap_or_default(),
            limits.max_compute_workgroups_per_dimension,
        ];
        if needed > limit {
            return Err(too_large(needed.into(), "workgroups", limit.into()));
        }
        Ok(recorded)
    }

    /// Bytes of the transformed tiles of a launch, before and after the product with the weights: enough
    /// for every convolution.
    fn scratch(&self, batch: usize) -> [usize; 2] {
        let mut most = [16, 16];
        for convolution in self.plan.convolutions.iter().filter(|c| pack::is_tiled(c)) {
            for [from, to] in pack::ends(convolution) {
                let images = batch.min(at_once(from, to));
                let bytes = tile_bytes(images, from, to);
                most = [0, 1].map(|i| most[i].max(bytes[i]));
            }
        }
        most
    }
}

/// What stands for the activation after a convolution in convolve.wgsl: 0 for SiLU, or 1 and the slope
/// below zero.
fn activation(plan: &Plan, convolution: &Convolution) -> (usize, f32) {
    match plan.activation {
        _ if convolution.linear => (1, 1.0),
        Activation::Silu => (0, 0.0),
        Activation::LeakyRelu => (1, 0.2),
        Activation::Relu => (1, 0.0),
    }
}

/// Bytes of the transformed tiles of images, before and after the product with the weights.
fn tile_bytes(images: usize, from: Layout, to: Layout) -> [usize; 2] {
    let tiles = (images * to.tiles()).next_multiple_of(TILES);
    [from.quads, to.quads.next_multiple_of(QUADS)].map(|quads| POSITIONS * tiles * quads * 16)
}

/// Images of one launch: as many as [`MOST_SCRATCH`] allows, one at least.
fn at_once(from: Layout, to: Layout) -> usize {
    let most = tile_bytes(1, from, to)
        .into_iter()
        .max()
        .expect("two of them");
    (MOST_SCRATCH / most).max(1)
}

/// A batch while its launches are put together.
struct Recorder<'a> {
    engine: &'a GpuNetwork,
    batch: usize,
    layouts: Vec<Layout>,
    buffers: Vec<wgpu::Buffer>,
    gradient: wgpu::Buffer,
    logits: wgpu::Buffer,
    /// The classes, or the slopes that are given.
    slope: wgpu::Buffer,
    /// What the head's kernel calls the objective.
    objective: u32,
    /// The launch of the head.
    head: usize,
    inputs: wgpu::Buffer,
    products: wgpu::Buffer,
    /// What a launch does not use; a buffer must not be bound twice where it is written.
    nothing: [wgpu::Buffer; 3],
    launches: Vec<Launch>,
    /// All buffers.
    memory: Buffers,
}

/// What a convolution works on.
struct Launched<'a> {
    operation: usize,
    convolution: usize,
    source: (&'a wgpu::Buffer, Layout),
    output: Layout,
    backward: bool,
    store_raw: bool,
    add: bool,
    active: bool,
    /// y or the output, a(y), a′(y).
    bound: [Option<&'a wgpu::Buffer>; 3],
}

impl<'a> Recorder<'a> {
    fn new(engine: &'a GpuNetwork, x: &[f32], slope: Slope<'_>) -> Self {
        use wgpu::BufferUsages as Use;
        let GpuNetwork { gpu, plan, .. } = engine;
        let batch = slope.batch();
        let layouts: Vec<Layout> = plan.buffers.iter().map(|&e| Layout::of(e)).collect();
        let mut memory = Buffers::default();
        let mut images = |layout: &Layout| {
            let bytes = batch * layout.len() * gpu.storage.vector();
            memory.keep(gpu.empty(bytes, Use::STORAGE | Use::COPY_DST | Use::COPY_SRC))
        };
        let buffers: Vec<_> = layouts.iter().map(&mut images).collect();
        let gradient = images(&Layout::of(plan.image));
        for operation in &plan.operations {
            if let &Operation::Normalize { output } = operation {
                let (mean, std) = (&plan.normalization.mean, &plan.normalization.std);
                let normalized =
                    layouts[output].pad(x, |channel, x| (x - mean[channel]) / std[channel]);
                let bytes = gpu.storage.store(&normalized);
                gpu.queue.write_buffer(&buffers[output], 0, &bytes);
            }
        }
        let (objective, words) = match slope {
            Slope::Known(energy, classes) => {
                let objective = match energy {
                    EnergyKind::Joint => 0,
                    EnergyKind::Marginal => 1,
                    EnergyKind::Conditional => 2,
                };
                let words = classes.iter().map(|&class| class as u32).collect();
                (objective, words)
            }
            Slope::Given(_) => (3, vec![0; batch * plan.classes()]),
        };
        let [inputs, products] = engine.scratch(batch);
        let mut empty = |bytes, usage| memory.keep(gpu.empty(bytes, Use::STORAGE | usage));
        Self {
            engine,
            batch,
            gradient,
            logits: empty(batch * plan.classes() * 4, Use::COPY_SRC),
            objective,
            head: 0,
            inputs: empty(inputs, Use::empty()),
            products: empty(products, Use::empty()),
            nothing: std::array::from_fn(|_| empty(16, Use::empty())),
            slope: memory.keep(gpu.filled(
                bytemuck::cast_slice::<u32, u8>(&words),
                Use::STORAGE | Use::COPY_DST,
            )),
            memory,
            layouts,
            buffers,
            launches: Vec::new(),
        }
    }

    fn record(mut self) -> Recorded {
        let engine = self.engine;
        let (plan, buffers) = (&engine.plan, self.buffers.clone());
        let layouts = self.layouts.clone();
        let at = |buffer: Buffer| (&buffers[buffer], layouts[buffer]);
        let gradient = self.gradient.clone();
        let mut input = None;
        for (operation, &kind) in plan.operations.iter().enumerate() {
            match kind {
                Operation::Normalize { output } => input = Some(buffers[output].clone()),
                Operation::Forward {
                    convolution,
                    source,
                    raw,
                    active,
                } => self.convolve(Launched {
                    operation,
                    convolution,
                    source: at(source),
                    output: Layout::of(plan.convolutions[convolution].output),
                    backward: false,
                    store_raw: raw.is_some(),
                    add: raw.is_some_and(|(_, add)| add),
                    active: active.is_some(),
                    bound: [
                        raw.map(|(buffer, _)| &buffers[buffer]),
                        active.map(|a| &buffers[a.value]),
                        active.map(|a| &buffers[a.derivative]),
                    ],
                }),
                Operation::Head { active, output } => self.head(operation, active, output),
                Operation::Backward {
                    convolution,
                    source,
                    derivative,
                    output,
                    add,
                } => self.convolve(Launched {
                    operation,
                    convolution,
                    source: at(source),
                    output: layouts[output],
                    backward: true,
                    store_raw: true,
                    add,
                    active: derivative.is_some(),
                    bound: [
                        Some(&buffers[output]),
                        None,
                        derivative.map(|buffer| &buffers[buffer]),
                    ],
                }),
                Operation::BackwardToImage {
                    convolution,
                    source,
                } => self.convolve(Launched {
                    operation,
                    convolution,
                    source: at(source),
                    output: Layout::of(plan.image),
                    backward: true,
                    store_raw: true,
                    add: false,
                    active: false,
                    bound: [Some(&gradient), None, None],
                }),
            }
        }
        Recorded {
            launches: self.launches,
            head: self.head,
            slope: self.slope,
            input: input.expect("a plan normalises its images"),
            gradient,
            logits: self.logits,
            _memory: self.memory,
            _weights: engine.memory.clone(),
        }
    }

    fn convolve(&mut self, of: Launched) {
        let GpuNetwork {
            gpu, plan, weights, ..
        } = self.engine;
        let (source, from) = of.source;
        let output = of.output;
        let convolution = &plan.convolutions[of.convolution];
        let Convolution {
            kernel,
            stride,
            padding,
            ..
        } = *convolution;
        let (activation, slope) = activation(plan, convolution);
        let tiled = pack::is_tiled(convolution);
        let quad_groups = output.quads.div_ceil(QUADS);
        let images = if tiled {
            at_once(from, output)
        } else {
            self.batch
        };
        for first in (0..self.batch).step_by(images) {
            let end = self.batch.min(first + images);
            let tiles = ((end - first) * output.tiles()).next_multiple_of(TILES);
            let settings: [usize; 20] = [
                from.row(),
                from.len(),
                from.quads,
                output.row(),
                output.len(),
                output.quads,
                output.size,
                end,
                kernel,
                stride,
                padding,
                of.backward.into(),
                of.store_raw.into(),
                of.add.into(),
                of.active.into(),
                activation,
                slope.to_bits() as usize,
                pack::matrices(convolution, [from, output]),
                tiles,
                first,
            ];
            let settings = self.memory.keep(gpu.filled(
                bytemuck::cast_slice(&settings.map(|n| n as u32)),
                wgpu::BufferUsages::UNIFORM,
            ));
            let weights = weights[of.operation].as_ref();
            let weights = weights.expect("a convolution has weights");
            let [raw, value, derivative] =
                [0, 1, 2].map(|i| of.bound[i].unwrap_or(&self.nothing[i]));
            let all = [
                &settings,
                source,
                weights,
                raw,
                value,
                derivative,
                &self.inputs,
                &self.products,
            ];
            let kernels = &gpu.kernels;
            let launches = if tiled {
                vec![
                    (
                        &kernels.transform_inputs,
                        &[0, 1, 6][..],
                        tiles * from.quads,
                    ),
                    (
                        &kernels.multiply,
                        &[0, 2, 6, 7],
                        tiles / TILES * POSITIONS * quad_groups,
                    ),
                    (
                        &kernels.transform_outputs,
                        &[0, 2, 3, 4, 5, 7],
                        tiles * output.quads,
                    ),
                ]
            } else {
                // The pixels of a thread lie this far apart.
                let apart = if of.backward { stride } else { 1 };
                let side = output.size.div_ceil(apart);
                let threads = self.batch * side * side.div_ceil(PIXELS) * output.quads.div_ceil(2);
                vec![(
                    &kernels.gather,
                    &[0, 1, 2, 3, 4, 5][..],
                    threads * apart * apart,
                )]
            };
            for (pipeline, bindings, threads) in launches {
                let bound: Vec<_> = bindings
                    .iter()
                    .map(|&binding| (binding, all[binding as usize].as_entire_binding()))
                    .collect();
                self.launches.push(Launch {
                    bindings: gpu.bind(pipeline, &bound),
                    pipeline: pipeline.clone(),
                    groups: threads.div_ceil(THREADS) as u32,
                });
            }
        }
    }

    fn head(&mut self, operation: usize, active: Active, output: Buffer) {
        let GpuNetwork {
            gpu, plan, weights, ..
        } = self.engine;
        let layout = self.layouts[output];
        let settings = [
            layout.row() as u32,
            layout.len() as u32,
            layout.quads as u32,
            layout.size as u32,
            plan.classes() as u32,
            self.objective,
            0,
            0,
        ];
        let settings = gpu.filled(bytemuck::cast_slice(&settings), wgpu::BufferUsages::UNIFORM);
        let settings = self.memory.keep(settings);
        let weights = weights[operation].as_ref().expect("the head has weights");
        let bound = [
            &settings,
            &self.buffers[active.value],
            weights,
            &self.buffers[active.derivative],
            &self.buffers[output],
            &self.logits,
            &self.slope,
        ];
        let bound: Vec<_> = (0..)
            .zip(bound.map(wgpu::Buffer::as_entire_binding))
            .collect();
        self.head = self.launches.len();
        self.launches.push(Launch {
            bindings: gpu.bind(&gpu.kernels.head, &bound),
            pipeline: gpu.kernels.head.clone(),
            groups: self.batch as u32,
        });
    }
}
