//! A chain that lives on the device.

use super::{
    Buffers, Gpu, GpuError,
    layout::Layout,
    network::{Engine, Recorded},
};
use crate::{
    plan::Extent,
    samplers::{Dynamics, Frame, GradientScaling, MOST_STEPS},
};

/// Bytes from the settings of a step to those of the next: what WebGPU asks for.
const APART: usize = 256;

/// A chain whose images stay on the GPU.
#[derive(Debug)]
pub struct Chain {
    gpu: Gpu,
    recorded: Recorded,
    /// Without the images and velocities, which are here:
    dynamics: Dynamics,
    x: wgpu::Buffer,
    /// What every step's settings share, after its key and slot.
    shared_settings: Vec<u32>,
    settings: wgpu::Buffer,
    /// For each step of a submission.
    bindings: Vec<wgpu::BindGroup>,
    /// Logits of each step of a submission.
    history: wgpu::Buffer,
    read_back: wgpu::Buffer,
    _memory: Buffers,
}

impl Chain {
    pub(super) async fn new(engine: &Engine, mut dynamics: Dynamics) -> Result<Self, GpuError> {
        use wgpu::BufferUsages as Use;
        let Engine { gpu, plan, .. } = engine;
        let Dynamics {
            sampler,
            energy,
            classes,
            x,
            velocity,
            ..
        } = &mut dynamics;
        assert_eq!(x.len(), velocity.len(), "a velocity for each number");
        let recorded = engine.record(x, classes, *energy).await?;
        let (x, velocity) = (std::mem::take(x), std::mem::take(velocity));
        let (limit, normalize) = match sampler.gradient {
            GradientScaling::Raw => (f32::MAX, false),
            GradientScaling::Clamp(limit) => (limit, false),
            GradientScaling::Normalize => (f32::MAX, true),
        };
        let Extent { channels, size } = plan.image;
        let layout = Layout::of(plan.image);
        let shared_settings = vec![
            classes.len() as u32,
            plan.classes() as u32,
            channels as u32,
            size as u32,
            layout.row() as u32,
            layout.len() as u32,
            normalize.into(),
            sampler.clamp.into(),
            limit.to_bits(),
            sampler.step_size.to_bits(),
            sampler.noise_std.to_bits(),
            sampler.friction.to_bits(),
        ];
        let normalization: Vec<f32> = plan
            .normalization
            .mean
            .iter()
            .zip(&plan.normalization.std)
            .flat_map(|(&mean, &std)| [mean, std])
            .collect();
        let mut memory = Buffers::default();
        let mut filled =
            |numbers: &[f32], usage| memory.keep(gpu.filled(bytemuck::cast_slice(numbers), usage));
        let x = filled(&x, Use::STORAGE | Use::COPY_SRC);
        let velocity = filled(&velocity, Use::STORAGE);
        let normalization = filled(&normalization, Use::STORAGE);
        let mut empty = |bytes, usage| memory.keep(gpu.empty(bytes, usage));
        let settings = empty(MOST_STEPS * APART, Use::UNIFORM | Use::COPY_DST);
        let history = empty(
            MOST_STEPS * recorded.logits.size() as usize,
            Use::STORAGE | Use::COPY_SRC,
        );
        let read_back = empty(
            (x.size() + history.size()) as usize,
            Use::MAP_READ | Use::COPY_DST,
        );
        let bindings = (0..MOST_STEPS).map(|step| {
            let settings = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &settings,
                offset: (step * APART) as u64,
                size: wgpu::BufferSize::new(APART as u64),
            });
            let buffers = [
                &x,
                &velocity,
                &recorded.gradient,
                &recorded.input,
                &normalization,
                &recorded.logits,
                &history,
            ];
            let buffers = buffers.map(wgpu::Buffer::as_entire_binding);
            let bound: Vec<_> = (0..).zip([settings].into_iter().chain(buffers)).collect();
            gpu.bind(&gpu.kernels.walk, &bound)
        });
        Ok(Self {
            bindings: bindings.collect(),
            read_back,
            _memory: memory,
            gpu: gpu.clone(),
            recorded,
            dynamics,
            x,
            shared_settings,
            settings,
            history,
        })
    }

    /// Takes `steps` steps, one at least and [`MOST_STEPS`] at most, in one submission.
    ///
    /// # Errors
    /// If the GPU is lost.
    pub async fn advance(&mut self, steps: usize) -> Result<Frame, GpuError> {
        let Self {
            gpu,
            recorded,
            dynamics,
            ..
        } = self;
        let steps = steps.clamp(1, MOST_STEPS);
        let mut settings = vec![0u32; steps * APART / 4];
        for (slot, settings) in settings.chunks_exact_mut(APART / 4).enumerate() {
            let [a, b] = dynamics.key.fold_in(dynamics.step + slot as u64).words();
            settings[..3].copy_from_slice(&[a, b, slot as u32]);
            settings[3..][..self.shared_settings.len()].copy_from_slice(&self.shared_settings);
        }
        gpu.queue
            .write_buffer(&self.settings, 0, bytemuck::cast_slice(&settings));

        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let walk = |pass: &mut wgpu::ComputePass, slot: usize| {
            pass.set_pipeline(&gpu.kernels.walk);
            pass.set_bind_group(0, &self.bindings[slot], &[]);
            pass.dispatch_workgroups(dynamics.classes.len() as u32, 1, 1);
        };
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for slot in 0..steps {
                if slot > 0 {
                    walk(&mut pass, slot - 1);
                }
                recorded.launch(&mut pass);
            }
        }
        // What is looked at are the images that the last logits belong to.
        let (x, history) = (self.x.size(), steps as u64 * recorded.logits.size());
        encoder.copy_buffer_to_buffer(&self.x, 0, &self.read_back, 0, None);
        walk(
            &mut encoder.begin_compute_pass(&Default::default()),
            steps - 1,
        );
        encoder.copy_buffer_to_buffer(&self.history, 0, &self.read_back, x, Some(history));
        gpu.queue.submit([encoder.finish()]);
        let bytes = gpu.read(&self.read_back).await?;
        let (images, logits) = bytes.split_at(x as usize);
        dynamics.step += steps as u64;
        Ok(Frame {
            step: dynamics.step - 1,
            x: bytemuck::pod_collect_to_vec(images),
            logits: bytemuck::pod_collect_to_vec(&logits[..history as usize]),
        })
    }
}
