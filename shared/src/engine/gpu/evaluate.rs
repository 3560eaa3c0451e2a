//! One evaluation of a batch, read back.

use std::ops::Range;

use super::{
    Gpu, GpuError,
    layout::Layout,
    network::GpuNetwork,
    record::{Recorded, Slope},
};
use crate::{classifier::Evaluation, energy::Objective};

impl GpuNetwork {
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
            let logits = self.logits_of(&recorded).await?;
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

    /// As [`crate::Classifier::logits`]: the launches up to them.
    ///
    /// # Errors
    /// If the batch is too large or the GPU is lost.
    ///
    /// # Panics
    /// If the sizes do not agree.
    pub async fn logits(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, GpuError> {
        let recorded = self.record(x, Slope::Given(batch)).await?;
        self.logits_of(&recorded).await
    }

    async fn logits_of(&self, recorded: &Recorded) -> Result<Vec<f32>, GpuError> {
        let only = [&recorded.logits];
        let logits = self.launch(recorded, 0..recorded.head + 1, &only).await?;
        Ok(bytemuck::pod_collect_to_vec(&logits))
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
}
