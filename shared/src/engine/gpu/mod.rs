//! The engine on WebGPU, Vulkan and Metal: runs a [`crate::engine::plan::Plan`] and whole chains with kernels in WGSL.
//!
//! WGSL through wgpu rather than CubeCL: a plan needs few kernels, and without Burn's GPU stack what
//! the browser fetches is a fraction. Numbers lie channels last, four to a vector, in a border of
//! zeros ([`layout`]), so that no kernel asks whether a tap is out of bounds. 3×3 convolutions of
//! stride one are Winograd's F(4×4, 3×3) in three launches, the others gather their taps. All
//! launches of a batch are recorded once ([`record`]). A chain lives on the device ([`chain`]): its
//! steps are submitted many at a time, and images and logits come back when someone looks.

mod chain;
mod evaluate;
mod layout;
mod network;
mod pack;
mod record;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

pub use crate::arrays::Storage;
pub use chain::GpuChain;
use futures_channel::oneshot::Receiver;
use half::f16;
pub use network::GpuNetwork;

/// A GPU, with the kernels compiled for it.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// How activations and weights are stored; sums are always of single precision.
    storage: Storage,
    kernels: Kernels,
    allocated: Arc<[AtomicU64; 2]>,
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
    /// A batch needs more than the GPU gives.
    #[error(
        "{images} images need {needed} {what} on the GPU, which gives {limit}: take fewer images"
    )]
    TooLarge {
        /// In the batch.
        images: usize,
        /// Bytes or workgroups.
        needed: u64,
        /// What there are not so many of.
        what: &'static str,
        /// What there is.
        limit: u64,
    },
    /// A network of more weights than the GPU takes.
    #[error(
        "the weights of a convolution need {needed} bytes in one buffer on the GPU, which gives {limit}: \
         take the CPU engine"
    )]
    TooHeavy {
        /// Bytes.
        needed: u64,
        /// Bytes that there are.
        limit: u64,
    },
    /// Numbers could not be read back.
    #[error("the GPU does not give its numbers back: {0}")]
    Lost(String),
}

#[derive(Clone, Debug)]
struct Kernels {
    transform_inputs: wgpu::ComputePipeline,
    multiply: wgpu::ComputePipeline,
    transform_outputs: wgpu::ComputePipeline,
    gather: wgpu::ComputePipeline,
    head: wgpu::ComputePipeline,
    walk: wgpu::ComputePipeline,
    by_distance: wgpu::ComputePipeline,
}

/// Buffers whose memory is given back with them. Without that a browser's garbage collector would do it,
/// some time later.
#[derive(Debug, Default)]
struct Buffers(Vec<wgpu::Buffer>);

impl Buffers {
    /// Takes a buffer in.
    fn keep(&mut self, buffer: wgpu::Buffer) -> wgpu::Buffer {
        self.0.push(buffer.clone());
        buffer
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::destroy);
    }
}

const CONVOLVE: &str = include_str!("convolve.wgsl");
const HEAD: &str = include_str!("head.wgsl");
const WALK: &str = concat!(include_str!("random.wgsl"), include_str!("walk.wgsl"));
const BY_DISTANCE: &str = concat!(
    include_str!("random.wgsl"),
    include_str!("by_distance.wgsl")
);

/// Each kernel and its source.
const KERNELS: [(&str, &str); 7] = [
    ("transform_inputs", CONVOLVE),
    ("multiply", CONVOLVE),
    ("transform_outputs", CONVOLVE),
    ("gather", CONVOLVE),
    ("head", HEAD),
    ("walk", WALK),
    ("by_distance", BY_DISTANCE),
];

impl Kernels {
    /// Compiles the kernels. A browser does it in another process, which is asked for all of them at
    /// once and then waited for; `compiled` is told how many are there, of how many.
    async fn compile(
        device: &wgpu::Device,
        storage: Storage,
        compiled: &impl Fn(usize, usize),
    ) -> Result<Self, GpuError> {
        let created = KERNELS.map(|(kernel, source)| {
            let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let source = format!("{}{source}", storage.prelude());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel),
                layout: None,
                module: &module,
                entry_point: Some(kernel),
                compilation_options: Default::default(),
                cache: None,
            });
            (pipeline, scope.pop())
        });
        let mut pipelines = Vec::new();
        for (pipeline, error) in created {
            compiled(pipelines.len(), KERNELS.len());
            if let Some(error) = error.await {
                return Err(error.into());
            }
            pipelines.push(pipeline);
        }
        let pipelines: [_; KERNELS.len()] = pipelines.try_into().expect("one for each kernel");
        let [
            transform_inputs,
            multiply,
            transform_outputs,
            gather,
            head,
            walk,
            by_distance,
        ] = pipelines;
        Ok(Self {
            transform_inputs,
            multiply,
            transform_outputs,
            gather,
            head,
            walk,
            by_distance,
        })
    }
}

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// What single-precision gradients are multiplied by where they are stored in half precision, which
/// knows nothing smaller than 6e-8.
const GRADIENT_SCALE: f32 = 1024.0;

impl Storage {
    /// What every module begins with: the types that are stored, and the factor of stored gradients.
    fn prelude(self) -> String {
        match self {
            Self::Half => format!(
                "enable f16; alias Stored = vec4<f16>; alias StoredMatrix = mat4x4<f16>; const SCALE = f32({GRADIENT_SCALE});\n"
            ),
            Self::Single => {
                "alias Stored = vec4f; alias StoredMatrix = mat4x4f; const SCALE = 1.0f;\n"
                    .to_owned()
            }
        }
    }

    /// Bytes of a stored vector.
    fn vector(self) -> usize {
        match self {
            Self::Half => 8,
            Self::Single => 16,
        }
    }

    /// Numbers as they are stored.
    fn store(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::Half => {
                let halves = numbers.iter().map(|&number| f16::from_f32(number));
                halves.flat_map(f16::to_ne_bytes).collect()
            }
            Self::Single => bytemuck::cast_slice(numbers).to_vec(),
        }
    }

    /// Gradients from what is stored.
    fn load_gradient(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Half => bytes
                .chunks_exact(2)
                .map(|pair| f16::from_ne_bytes([pair[0], pair[1]]).to_f32() / GRADIENT_SCALE)
                .collect(),
            Self::Single => bytemuck::pod_collect_to_vec(bytes),
        }
    }
}

impl Gpu {
    /// The GPU that the system prefers, with WebGPU's default limits; in half precision if it is
    /// asked for, there, and takes the kernels. `compiled` is told how many kernels are compiled, of how many.
    ///
    /// # Errors
    /// If there is none, or it refuses the kernels.
    pub async fn new(storage: Storage, compiled: impl Fn(usize, usize)) -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await?;
        let half = wgpu::Features::SHADER_F16;
        let (storage, required_features) = match storage {
            Storage::Half if adapter.features().contains(half) => (Storage::Half, half),
            _ => (Storage::Single, wgpu::Features::empty()),
        };
        let descriptor = wgpu::DeviceDescriptor {
            required_features,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await?;
        let (storage, kernels) = match Kernels::compile(&device, storage, &compiled).await {
            Err(_) if storage == Storage::Half => {
                let single = Storage::Single;
                (single, Kernels::compile(&device, single, &compiled).await?)
            }
            kernels => (storage, kernels?),
        };
        Ok(Self {
            device,
            queue,
            storage,
            kernels,
            allocated: Arc::default(),
        })
    }

    /// The same GPU with kernels of single precision.
    ///
    /// # Errors
    /// If it refuses them.
    pub async fn in_single_precision(&self) -> Result<Self, GpuError> {
        let kernels = Kernels::compile(&self.device, Storage::Single, &|_, _| ()).await?;
        Ok(Self {
            storage: Storage::Single,
            kernels,
            ..self.clone()
        })
    }

    /// How numbers are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// How many buffers were allocated on this GPU since it was opened, and their bytes.
    pub fn allocated(&self) -> [u64; 2] {
        [0, 1].map(|i| self.allocated[i].load(Relaxed))
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

    /// A buffer with content. It is written piece by piece: what carries it to a browser's GPU process
    /// is kept there.
    fn filled(&self, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let buffer = self.empty(contents.len(), usage | wgpu::BufferUsages::COPY_DST);
        for (piece, bytes) in contents.chunks(PIECE).enumerate() {
            self.queue
                .write_buffer(&buffer, (piece * PIECE) as u64, bytes);
        }
        buffer
    }

    /// A buffer of so many bytes, all zero.
    fn empty(&self, size: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.count(size);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage,
            mapped_at_creation: false,
        })
    }

    fn count(&self, size: usize) {
        self.allocated[0].fetch_add(1, Relaxed);
        self.allocated[1].fetch_add(size as u64, Relaxed);
    }

    fn bind(
        &self,
        pipeline: &wgpu::ComputePipeline,
        buffers: &[(u32, wgpu::BindingResource)],
    ) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .map(|(binding, resource)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: resource.clone(),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }

    /// Has the GPU do what is asked for so far, and waits for it.
    async fn finish(&self) -> Result<(), GpuError> {
        let (send, receive) = futures_channel::oneshot::channel();
        self.queue.submit([]);
        self.queue.on_submitted_work_done(move || {
            // Nobody waits any more if this fails.
            let _ = send.send(());
        });
        self.wait(receive).await
    }

    /// Waits for what the GPU will send.
    async fn wait<T>(&self, receive: Receiver<T>) -> Result<T, GpuError> {
        // Natively someone has to wait; in a browser this does nothing.
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(lost)?;
        receive.await.map_err(lost)
    }

    /// Waits for the work submitted and copies a buffer to the host.
    async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>, GpuError> {
        let (send, receive) = futures_channel::oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, .., |result| {
            // Nobody waits any more if this fails.
            let _ = send.send(result);
        });
        self.wait(receive).await?.map_err(lost)?;
        let numbers = {
            let bytes = buffer.get_mapped_range(..).map_err(lost)?;
            bytes.to_vec()
        };
        buffer.unmap();
        Ok(numbers)
    }
}

fn lost(what: impl std::fmt::Display) -> GpuError {
    GpuError::Lost(what.to_string())
}
