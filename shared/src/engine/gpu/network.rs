//! A network on a GPU: its weights.

use std::rc::Rc;

use super::{Buffers, Gpu, GpuError, pack};
use crate::engine::plan::{Operation, Plan};

/// Bytes of weights that may be on their way to the GPU at once.
const MOST_WAITING: usize = 4 << 20;

/// A compiled network on a GPU.
#[derive(Debug)]
pub struct GpuNetwork {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    /// For each operation, its weights.
    pub(super) weights: Vec<Option<wgpu::Buffer>>,
    /// All of them.
    pub(super) memory: Rc<Buffers>,
}

impl GpuNetwork {
    /// Uploads the weights.
    ///
    /// # Errors
    /// If the GPU refuses them, or a convolution has more than it takes in one buffer.
    pub async fn new(gpu: Gpu, plan: Plan) -> Result<Self, GpuError> {
        let matrices = plan.convolutions.iter().flat_map(|convolution| {
            pack::ends(convolution).map(|ends| pack::matrices(convolution, ends))
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
}
