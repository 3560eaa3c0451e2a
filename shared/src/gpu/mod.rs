//! The engine on WebGPU, Vulkan and Metal: runs a [`Plan`] with kernels in WGSL.
//!
//! WGSL through wgpu rather than CubeCL: a plan needs three kernels, and without Burn's GPU stack
//! what the browser fetches is a fraction. Numbers lie channels last, four to a vector, in a border
//! of zeros, so that no kernel asks whether a tap is out of bounds. All launches of a batch are
//! recorded once, when its size is first met, and submitted together; images go in and logits and
//! gradients come out.

use std::{cell::RefCell, sync::Arc};

use wgpu::util::DeviceExt;

use crate::{
    cpu::Evaluation,
    model_card::EnergyKind,
    models::Activation,
    plan::{Active, Buffer, Convolution, Extent, Operation, Plan},
};

/// Pixels of a row that one thread of the main kernel computes.
const PIXELS: usize = 8;
/// Threads of a workgroup.
const THREADS: usize = 64;

/// A GPU.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// What the driver calls it.
    pub name: String,
}

/// Why there is no engine on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// No adapter.
    #[error("no GPU adapter: {0}")]
    Adapter(#[from] wgpu::RequestAdapterError),
    /// The adapter gives no device.
    #[error("the GPU adapter gives no device: {0}")]
    Device(#[from] wgpu::RequestDeviceError),
    /// A shader or a buffer was refused.
    #[error("the GPU refuses the kernels: {0}")]
    Refused(#[from] wgpu::Error),
    /// Numbers could not be read back.
    #[error("the GPU does not give its numbers back: {0}")]
    Lost(String),
}

impl Gpu {
    /// The GPU that the system prefers, with WebGPU's default limits.
    ///
    /// # Errors
    /// If there is none.
    pub async fn new() -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await?;
        let (device, queue) = adapter.request_device(&Default::default()).await?;
        Ok(Self {
            device,
            queue,
            name: adapter.get_info().name,
        })
    }

    /// Calls `tell` with the reason when the device is lost, or refuses something unexpectedly.
    pub fn on_lost(&self, tell: impl Fn(String) + Clone + Send + Sync + 'static) {
        let told = tell.clone();
        self.device
            .set_device_lost_callback(move |reason, message| {
                told(format!("the GPU device is lost ({reason:?}): {message}"));
            });
        self.device
            .on_uncaptured_error(Arc::new(move |error: wgpu::Error| tell(error.to_string())));
    }
}

/// A compiled network on a GPU.
#[derive(Debug)]
pub struct Engine {
    gpu: Gpu,
    plan: Plan,
    pipelines: Pipelines,
    /// For each operation, its weights.
    weights: Vec<Option<wgpu::Buffer>>,
    /// Everything for the size of batch that was met last.
    recorded: RefCell<Option<Recorded>>,
}

#[derive(Debug)]
struct Pipelines {
    convolve: wgpu::ComputePipeline,
    gather: wgpu::ComputePipeline,
    head: wgpu::ComputePipeline,
}

/// The launches of one size of batch, and the buffers that meet the host.
#[derive(Debug)]
struct Recorded {
    batch: usize,
    input: (wgpu::Buffer, Layout),
    labels: wgpu::Buffer,
    /// The settings of the head, rewritten when the energy changes.
    head: (wgpu::Buffer, [u32; 8]),
    launches: Vec<Launch>,
    gradient: (wgpu::Buffer, Layout),
    logits: wgpu::Buffer,
    read_back: wgpu::Buffer,
}

#[derive(Debug)]
struct Launch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: [u32; 3],
}

/// One image of a buffer: `[row][column][quad of channels]`, with a border of zeros.
#[derive(Clone, Copy, Debug)]
struct Layout {
    quads: usize,
    size: usize,
    /// Columns with the border, and with room for whole threads.
    columns: usize,
}

impl Layout {
    fn of(Extent { channels, size }: Extent) -> Self {
        Self {
            quads: channels.div_ceil(4),
            size,
            columns: size.next_multiple_of(PIXELS) + 2,
        }
    }

    /// Vectors of one image.
    fn len(&self) -> usize {
        (self.size + 2) * self.row()
    }

    /// Vectors of one row.
    fn row(&self) -> usize {
        self.columns * self.quads
    }

    /// The place of a number, in numbers.
    fn at(&self, image: usize, channel: usize, row: usize, column: usize) -> usize {
        let pixel = image * self.len() + (row + 1) * self.row() + (column + 1) * self.quads;
        pixel * 4 + channel
    }
}

impl Engine {
    /// Compiles the kernels and uploads the weights.
    ///
    /// # Errors
    /// If the GPU refuses them.
    pub async fn new(gpu: Gpu, plan: Plan) -> Result<Self, GpuError> {
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = |label, source: &'static str| {
            gpu.device
                .create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some(label),
                    source: wgpu::ShaderSource::Wgsl(source.into()),
                })
        };
        let pipeline = |module: &wgpu::ShaderModule, entry| {
            gpu.device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(entry),
                    layout: None,
                    module,
                    entry_point: Some(entry),
                    compilation_options: Default::default(),
                    cache: None,
                })
        };
        let convolutions = module("convolutions", include_str!("convolve.wgsl"));
        let head = module("head", include_str!("head.wgsl"));
        let pipelines = Pipelines {
            convolve: pipeline(&convolutions, "convolve"),
            gather: pipeline(&convolutions, "gather"),
            head: pipeline(&head, "head"),
        };
        let weights = plan.operations.iter().map(|&operation| {
            let convolutions = &plan.convolutions;
            let numbers = match operation {
                Operation::Normalize { .. } => return None,
                Operation::Forward { convolution, .. } => pack(&convolutions[convolution]),
                Operation::Backward { convolution, .. } => {
                    pack_transposed(&convolutions[convolution], None)
                }
                Operation::BackwardToImage { convolution, .. } => {
                    let std = Some(plan.normalization.std.as_slice());
                    pack_transposed(&convolutions[convolution], std)
                }
                Operation::Head { .. } => pack_head(&plan),
            };
            Some(gpu.buffer(&numbers, wgpu::BufferUsages::STORAGE))
        });
        let weights = weights.collect();
        if let Some(error) = scope.pop().await {
            return Err(error.into());
        }
        Ok(Self {
            gpu,
            plan,
            pipelines,
            weights,
            recorded: RefCell::default(),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// As [`crate::cpu::Engine::evaluate`]; what comes back is awaited.
    ///
    /// # Errors
    /// If the GPU is lost.
    ///
    /// # Panics
    /// If the sizes do not agree or a class does not exist.
    pub async fn evaluate(
        &self,
        x: &[f32],
        classes: &[usize],
        energy: EnergyKind,
    ) -> Result<Evaluation, GpuError> {
        let (batch, Extent { channels, size }) = (classes.len(), self.plan.image);
        assert_eq!(x.len(), batch * channels * size * size, "numbers of images");
        let logit_count = self.plan.classes();
        assert!(
            classes.iter().all(|&class| class < logit_count),
            "classes {classes:?} of {logit_count}"
        );
        let recorded = self.recorded.take();
        let mut recorded = match recorded.filter(|recorded| recorded.batch == batch) {
            Some(recorded) => recorded,
            None => {
                let device = &self.gpu.device;
                let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
                let recorded = self.record(batch);
                if let Some(error) = scope.pop().await {
                    return Err(error.into());
                }
                recorded
            }
        };
        let Gpu { device, queue, .. } = &self.gpu;

        let (input, layout) = &recorded.input;
        let (mean, std) = (&self.plan.normalization.mean, &self.plan.normalization.std);
        let mut normalized = vec![0.0; batch * layout.len() * 4];
        for_each_pixel(
            batch,
            self.plan.image,
            |index, image, channel, row, column| {
                let place = layout.at(image, channel, row, column);
                normalized[place] = (x[index] - mean[channel]) / std[channel];
            },
        );
        queue.write_buffer(input, 0, bytemuck::cast_slice(&normalized));
        let labels: Vec<u32> = classes.iter().map(|&class| class as u32).collect();
        queue.write_buffer(&recorded.labels, 0, bytemuck::cast_slice(&labels));
        let kind = match energy {
            EnergyKind::Joint => 0,
            EnergyKind::Marginal => 1,
            EnergyKind::Conditional => 2,
        };
        recorded.head.1[5] = kind;
        let (settings, numbers) = &recorded.head;
        queue.write_buffer(settings, 0, bytemuck::cast_slice(numbers));

        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for launch in &recorded.launches {
                pass.set_pipeline(&launch.pipeline);
                pass.set_bind_group(0, &launch.bindings, &[]);
                let [x, y, z] = launch.groups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        let (gradient, layout) = &recorded.gradient;
        let back = &recorded.read_back;
        let logits_len = recorded.logits.size();
        encoder.copy_buffer_to_buffer(&recorded.logits, 0, back, 0, Some(logits_len));
        encoder.copy_buffer_to_buffer(gradient, 0, back, logits_len, Some(gradient.size()));
        queue.submit([encoder.finish()]);
        let numbers = self.read(back).await?;
        let (logits, padded) = numbers.split_at(logits_len as usize / 4);
        let mut gradient = vec![0.0; x.len()];
        for_each_pixel(
            batch,
            self.plan.image,
            |index, image, channel, row, column| {
                gradient[index] = padded[layout.at(image, channel, row, column)];
            },
        );
        let evaluation = Evaluation {
            logits: logits[..batch * logit_count].to_vec(),
            gradient,
        };
        self.recorded.replace(Some(recorded));
        Ok(evaluation)
    }

    /// Waits for the work submitted and copies a buffer to the host.
    async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<f32>, GpuError> {
        let (send, receive) = futures_channel::oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, .., |result| {
            // Nobody waits any more if this fails.
            let _ = send.send(result);
        });
        // Natively someone has to wait; in a browser this does nothing.
        let lost = |what: &dyn std::fmt::Display| GpuError::Lost(what.to_string());
        self.gpu
            .device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| lost(&error))?;
        let mapped = receive.await.map_err(|error| lost(&error))?;
        mapped.map_err(|error| lost(&error))?;
        let numbers = {
            let bytes = buffer.get_mapped_range(..).map_err(|error| lost(&error))?;
            bytemuck::cast_slice(&bytes).to_vec()
        };
        buffer.unmap();
        Ok(numbers)
    }

    /// Allocates the buffers of a batch and binds them for each operation.
    fn record(&self, batch: usize) -> Recorded {
        use wgpu::BufferUsages as Use;
        let Self { gpu, plan, .. } = self;
        let layouts: Vec<Layout> = plan.buffers.iter().map(|&e| Layout::of(e)).collect();
        let images = |layout: Layout| {
            let usage = Use::STORAGE | Use::COPY_DST | Use::COPY_SRC;
            gpu.empty(batch * layout.len() * 16, usage)
        };
        let buffers: Vec<wgpu::Buffer> = layouts.iter().map(|&layout| images(layout)).collect();
        let gradient_layout = Layout::of(plan.image);
        let gradient = images(gradient_layout);
        let logits = gpu.empty(batch * plan.classes() * 4, Use::STORAGE | Use::COPY_SRC);
        let labels = gpu.empty(batch * 4, Use::STORAGE | Use::COPY_DST);
        // What a launch does not use; a buffer must not be bound twice where it is written.
        let nothing: [wgpu::Buffer; 3] = std::array::from_fn(|_| gpu.empty(16, Use::STORAGE));
        let mut head = None;
        let mut launches = Vec::new();
        let convolution = |index: usize, of: Launched| {
            let Launched {
                source,
                output,
                transposed,
                ..
            } = of;
            let Convolution { kernel, stride, .. } = plan.convolutions[index];
            let is_main = kernel == 3 && stride == 1;
            // The main kernel's weights are turned already; the other one turns its taps.
            let settings = [
                source.1.row(),
                source.1.len(),
                source.1.quads,
                output.row(),
                output.len(),
                output.quads,
                output.size,
                batch,
                kernel,
                stride,
                transposed.into(),
                transposed.into(),
                of.store_raw.into(),
                of.add.into(),
                of.active.into(),
                (plan.activation == Activation::LeakyRelu).into(),
            ];
            let settings = gpu.settings(&settings.map(|n: usize| n as u32));
            let across = if is_main {
                output.size.div_ceil(PIXELS)
            } else {
                output.size
            };
            let [raw, value, derivative] = [0, 1, 2].map(|i| of.bound[i].unwrap_or(&nothing[i]));
            let weights = self.weights[of.operation].as_ref();
            let pipeline = if is_main {
                &self.pipelines.convolve
            } else {
                &self.pipelines.gather
            };
            let weights = weights.expect("a convolution has weights");
            Launch {
                bindings: gpu.bind(
                    pipeline,
                    &[&settings, source.0, weights, raw, value, derivative],
                ),
                pipeline: pipeline.clone(),
                groups: [
                    (batch * output.size * across).div_ceil(THREADS) as u32,
                    output.quads as u32,
                    1,
                ],
            }
        };
        let mut input = None;
        for (operation, &kind) in plan.operations.iter().enumerate() {
            let at = |buffer: Buffer| (&buffers[buffer], layouts[buffer]);
            match kind {
                Operation::Normalize { output } => input = Some(at(output)),
                Operation::Forward {
                    convolution: index,
                    source,
                    raw,
                    active,
                } => launches.push(convolution(
                    index,
                    Launched {
                        operation,
                        source: at(source),
                        output: Layout::of(plan.convolutions[index].output),
                        transposed: false,
                        store_raw: raw.is_some(),
                        add: raw.is_some_and(|(_, add)| add),
                        active: active.is_some(),
                        bound: [
                            raw.map(|(buffer, _)| &buffers[buffer]),
                            active.map(|a| &buffers[a.value]),
                            active.map(|a| &buffers[a.derivative]),
                        ],
                    },
                )),
                Operation::Head {
                    active: Active { value, derivative },
                    output,
                } => {
                    let layout = layouts[output];
                    let numbers = [
                        layout.row() as u32,
                        layout.len() as u32,
                        layout.quads as u32,
                        layout.size as u32,
                        plan.classes() as u32,
                        0,
                        0,
                        0,
                    ];
                    let settings = gpu.settings(&numbers);
                    let weights = self.weights[operation].as_ref();
                    let bound = [
                        &settings,
                        &buffers[value],
                        weights.expect("the head has weights"),
                        &buffers[derivative],
                        &buffers[output],
                        &logits,
                        &labels,
                    ];
                    launches.push(Launch {
                        bindings: gpu.bind(&self.pipelines.head, &bound),
                        pipeline: self.pipelines.head.clone(),
                        groups: [batch as u32, 1, 1],
                    });
                    head = Some((settings, numbers));
                }
                Operation::Backward {
                    convolution: index,
                    source,
                    derivative,
                    output,
                    add,
                } => launches.push(convolution(
                    index,
                    Launched {
                        operation,
                        source: at(source),
                        output: layouts[output],
                        transposed: true,
                        store_raw: true,
                        add,
                        active: derivative.is_some(),
                        bound: [
                            Some(&buffers[output]),
                            None,
                            derivative.map(|buffer| &buffers[buffer]),
                        ],
                    },
                )),
                Operation::BackwardToImage {
                    convolution: index,
                    source,
                } => launches.push(convolution(
                    index,
                    Launched {
                        operation,
                        source: at(source),
                        output: gradient_layout,
                        transposed: true,
                        store_raw: true,
                        add: false,
                        active: false,
                        bound: [Some(&gradient), None, None],
                    },
                )),
            }
        }
        let (input, input_layout) = input.expect("a plan normalises its images");
        Recorded {
            batch,
            input: (input.clone(), input_layout),
            labels,
            head: head.expect("a plan has a head"),
            launches,
            read_back: gpu.empty(
                (logits.size() + gradient.size()) as usize,
                Use::MAP_READ | Use::COPY_DST,
            ),
            gradient: (gradient, gradient_layout),
            logits,
        }
    }
}

/// What one launch of a convolution works on.
struct Launched<'a> {
    operation: usize,
    source: (&'a wgpu::Buffer, Layout),
    output: Layout,
    transposed: bool,
    store_raw: bool,
    add: bool,
    active: bool,
    /// y or the output, a(y), a′(y).
    bound: [Option<&'a wgpu::Buffer>; 3],
}

impl Gpu {
    fn buffer(&self, numbers: &[f32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device
            .create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: None,
                contents: bytemuck::cast_slice(numbers),
                usage,
            })
    }

    /// A buffer of so many bytes, all zero.
    fn empty(&self, size: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage,
            mapped_at_creation: false,
        })
    }

    fn settings(&self, numbers: &[u32]) -> wgpu::Buffer {
        self.device
            .create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: None,
                contents: bytemuck::cast_slice(numbers),
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            })
    }

    fn bind(&self, pipeline: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .enumerate()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }
}

/// Calls `body` for each number of a batch, with its index in `[image][channel][row][column]`.
fn for_each_pixel(
    batch: usize,
    Extent { channels, size }: Extent,
    mut body: impl FnMut(usize, usize, usize, usize, usize),
) {
    let mut index = 0;
    for image in 0..batch {
        for channel in 0..channels {
            for row in 0..size {
                for column in 0..size {
                    body(index, image, channel, row, column);
                    index += 1;
                }
            }
        }
    }
}

/// Weights as the kernels read them: for each quad of output channels, quad of input channels and
/// tap, four vectors, one for each input channel; channels that there are not are zero.
fn quads(
    [inputs, outputs]: [usize; 2],
    taps: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = Vec::new();
    for output in (0..outputs.next_multiple_of(4)).step_by(4) {
        for input in (0..inputs.next_multiple_of(4)).step_by(4) {
            for tap in 0..taps {
                for i in input..input + 4 {
                    for o in output..output + 4 {
                        let exists = i < inputs && o < outputs;
                        packed.push(if exists { weight(i, o, tap) } else { 0.0 });
                    }
                }
            }
        }
    }
    packed
}

/// A convolution's weights, and behind them its biases.
fn pack(convolution: &Convolution) -> Vec<f32> {
    let taps = convolution.kernel * convolution.kernel;
    let channels = [convolution.input.channels, convolution.output.channels];
    let mut packed = quads(channels, taps, |i, o, tap| {
        convolution.weight[(o * channels[0] + i) * taps + tap]
    });
    packed.extend(&convolution.bias);
    packed.resize(packed.len().next_multiple_of(4), 0.0);
    packed
}

/// The weights of the gradient of a convolution's input: input and output change places, and with
/// stride one the kernel is turned by 180 degrees. `std` divides each channel of the result.
fn pack_transposed(convolution: &Convolution, std: Option<&[f32]>) -> Vec<f32> {
    let taps = convolution.kernel * convolution.kernel;
    let channels = [convolution.output.channels, convolution.input.channels];
    let is_main = convolution.kernel == 3 && convolution.stride == 1;
    quads(channels, taps, |i, o, tap| {
        let tap = if is_main { taps - 1 - tap } else { tap };
        let weight = convolution.weight[(i * channels[1] + o) * taps + tap];
        weight / std.map_or(1.0, |std| std[o])
    })
}

/// The head's weights, `[class][channel]`, and behind them the biases, each in a vector of its own.
fn pack_head(plan: &Plan) -> Vec<f32> {
    let mut packed = plan.head.weight.clone();
    packed.extend(
        plan.head
            .bias
            .iter()
            .flat_map(|&bias| [bias, 0.0, 0.0, 0.0]),
    );
    packed
}
