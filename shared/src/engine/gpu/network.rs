//! A network on a GPU: its weights, and the launches that one evaluation of a batch is.

use std::{ops::Range, rc::Rc};

use super::{Buffers, Gpu, GpuError, layout::Layout, pack};
use crate::{
    classifier::Evaluation,
    energy::{EnergyKind, Objective},
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
/// Bytes of weights that may be on their way to the GPU at once.
const MOST_WAITING: usize = 4 << 20;

/// A compiled network on a GPU.
#[derive(Debug)]
pub struct GpuNetwork {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    /// For each operation, its weights.
    weights: Vec<Option<wgpu::Buffer>>,
    /// All of them.
    memory: Rc<Buffers>,
}

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
    launches: Vec<Launch>,
    /// The launch of the head: those before it do not need the slope.
    head: usize,
    /// The classes, or the slopes that are given.
    slope: wgpu::Buffer,
    /// The images, normalised.
    pub(super) input: wgpu::Buffer,
    /// The gradient of the objective with respect to the images.
    pub(super) gradient: wgpu::Buffer,
    pub(super) logits: wgpu::Buffer,
    _memory: Buffers,
    _weights: Rc<Buffers>,
}

#[derive(Debug)]
struct Launch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: u32,
}

impl Recorded {
    /// Has the launches follow each other.
    pub(super) fn launch(&self, pass: &mut wgpu::ComputePass) {
        self.launch_some(pass, 0..self.launches.len());
    }

    fn launch_some(&self, pass: &mut wgpu::ComputePass, some: Range<usize>) {
        for launch in &self.launches[some] {
            pass.set_pipeline(&launch.pipeline);
            pass.set_bind_group(0, &launch.bindings, &[]);
            pass.dispatch_workgroups(launch.groups, 1, 1);
        }
    }
}

impl GpuNetwork {
    /// Uploads the weights.
    ///
    /// # Errors
    /// If the GPU refuses them, or a convolution has more than it takes in one buffer.
    pub async fn new(gpu: Gpu, plan: Plan) -> Result<Self, GpuError> {
        let matrices = plan.convolutions.iter().flat_map(|convolution| {
            ends(convolution).map(|ends| pack::matrices(convolution, ends))
        });
        let needed = (matrices.max().unwrap_or_default() * 4 * gpu.storage.vector()) as u64;
        let limit = gpu.device.limits().max_storage_buffer_binding_size;
        if needed > limit {
            return Err(GpuError::TooHeavy { needed, limit });
        }
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut memory = Buffers::default();
        let packed = plan.operations.iter().map(|&operation| {
            let convolutions = &plan.convolutions;
            let stored = |numbers: Vec<f32>| gpu.storage.store(&numbers);
            let bytes = match operation {
                Operation::Normalize { .. } => return None,
                Operation::Forward { convolution, .. } => {
                    stored(pack::forward(&convolutions[convolution]))
                }
                Operation::Backward { convolution, .. } => {
                    stored(pack::backward(&convolutions[convolution], None))
                }
                Operation::BackwardToImage { convolution, .. } => {
                    let std = Some(plan.normalization.std.as_slice());
                    stored(pack::backward(&convolutions[convolution], std))
                }
                Operation::Head { .. } => bytemuck::cast_slice(&pack::head(&plan)).to_vec(),
            };
            Some(bytes)
        });
        let (mut weights, mut waiting) = (Vec::new(), 0);
        for bytes in packed {
            let Some(bytes) = bytes else {
                weights.push(None);
                continue;
            };
            weights.push(Some(
                memory.keep(gpu.filled(&bytes, wgpu::BufferUsages::STORAGE)),
            ));
            // What carries weights to the GPU should serve again for the next ones.
            waiting += bytes.len();
            if waiting > MOST_WAITING {
                gpu.finish().await?;
                waiting = 0;
            }
        }
        if let Some(error) = scope.pop().await {
            return Err(error.into());
        }
        Ok(Self {
            gpu,
            plan,
            weights,
            memory: Rc::new(memory),
        })
    }

    /// As [`crate::Classifier::evaluate`]; what comes back is awaited.
    ///
    /// # Errors
    /// If the batch is too large or the GPU is lost.
    ///
    /// # Panics
    /// If the sizes do not agree or a class does not exist.
    pub async fn evaluate(
        &self,
        x: &[f32],
        batch: usize,
        objective: &dyn Objective,
    ) -> Result<Evaluation, GpuError> {
        let slope = match objective.in_kernel() {
            Some((energy, classes)) => Slope::Known(energy, classes),
            None => Slope::Given(batch),
        };
        let recorded = self.record(x, slope).await?;
        let end = recorded.launches.len();
        let mut begin = 0;
        if let Slope::Given(_) = slope {
            // The head is launched twice: for the logits, and for what their slope makes of them.
            let only = [&recorded.logits];
            let logits = self.launch(&recorded, 0..recorded.head + 1, &only).await?;
            let logits: Vec<f32> = bytemuck::pod_collect_to_vec(&logits);
            let mut slopes = vec![0.0; logits.len()];
            let classes = self.plan.classes();
            let rows = logits.chunks_exact(classes);
            for (image, (row, slope)) in rows.zip(slopes.chunks_exact_mut(classes)).enumerate() {
                objective.slope(image, row, slope);
            }
            let slopes = bytemuck::cast_slice(&slopes);
            self.gpu.queue.write_buffer(&recorded.slope, 0, slopes);
            begin = recorded.head;
        }
        let both = [&recorded.logits, &recorded.gradient];
        let bytes = self.launch(&recorded, begin..end, &both).await?;
        let (logits, gradient) = bytes.split_at(recorded.logits.size() as usize);
        let gradient = self.gpu.storage.load_gradient(gradient);
        Ok(Evaluation {
            logits: bytemuck::pod_collect_to_vec(logits),
            gradient: Layout::of(self.plan.image).unpad(&gradient),
        })
    }

    /// Does some of the launches, and reads buffers back, one behind the other.
    async fn launch(
        &self,
        recorded: &Recorded,
        some: Range<usize>,
        buffers: &[&wgpu::Buffer],
    ) -> Result<Vec<u8>, GpuError> {
        let Gpu { device, queue, .. } = &self.gpu;
        let mut encoder = device.create_command_encoder(&Default::default());
        recorded.launch_some(&mut encoder.begin_compute_pass(&Default::default()), some);
        let size: u64 = buffers.iter().map(|buffer| buffer.size()).sum();
        let back = self.gpu.empty(
            size as usize,
            wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        );
        let mut place = 0;
        for buffer in buffers {
            encoder.copy_buffer_to_buffer(buffer, 0, &back, place, None);
            place += buffer.size();
        }
        queue.submit([encoder.finish()]);
        let bytes = self.gpu.read(&back).await;
        back.destroy();
        bytes
    }

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
            for [from, to] in ends(convolution) {
                let images = batch.min(at_once(from, to));
                let bytes = tile_bytes(images, from, to);
                most = [0, 1].map(|i| most[i].max(bytes[i]));
            }
        }
        most
    }
}

/// Source and output of a convolution; backward they change places.
fn ends(convolution: &Convolution) -> [[Layout; 2]; 2] {
    let [input, output] = [convolution.input, convolution.output].map(Layout::of);
    [[input, output], [output, input]]
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
