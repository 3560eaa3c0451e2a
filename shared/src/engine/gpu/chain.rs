//! A chain that lives on the device.

use super::{
    Buffers, Gpu, GpuError,
    layout::Layout,
    network::GpuNetwork,
    record::{Recorded, Slope},
};
use crate::{
    energy::{EnergyKind, Mixture},
    engine::plan::Extent,
    samplers::{Annealing, Frame, GradientScaling, HostChain, STEPS_PER_FRAME, Sgld, Step},
};

/// The settings of walk.wgsl, behind what the images are.
fn sgld_settings(sgld: &Sgld) -> Vec<u32> {
    let (limit, normalize) = match sgld.gradient {
        GradientScaling::Raw => (f32::MAX, false),
        GradientScaling::Clamp(limit) => (limit, false),
        GradientScaling::Normalize => (f32::MAX, true),
    };
    vec![
        normalize.into(),
        sgld.clamp.into(),
        limit.to_bits(),
        sgld.step_size.to_bits(),
        sgld.noise_std.to_bits(),
        sgld.friction.to_bits(),
    ]
}

/// The settings of by_distance.wgsl, behind what the images are.
fn annealing_settings(annealing: &Annealing, energy: EnergyKind) -> Vec<u32> {
    let energy = match energy {
        EnergyKind::Joint => 0,
        EnergyKind::Marginal => 1,
        EnergyKind::Conditional => unreachable!("no table tells its distance"),
    };
    let entries = annealing.table.energies.len() as u32;
    vec![energy, entries, annealing.rank() as u32]
}

/// What by_distance.wgsl is given.
fn annealing_words(
    annealing: &Annealing,
    normalization: &[f32],
    classes: &[usize],
    mixture: Option<Mixture>,
) -> Vec<u32> {
    // Of no mixture, nothing is mixed in.
    let Mixture { class, share } = mixture.unwrap_or(Mixture {
        class: 0,
        share: 0.0,
    });
    let table = &annealing.table;
    let numbers = [
        normalization,
        &table.energies,
        &table.distances,
        &table.factors,
    ];
    let observation = annealing.observation.as_ref();
    let words = numbers.concat().into_iter().map(f32::to_bits);
    words
        .chain(classes.iter().map(|&class| class as u32))
        .chain([class as u32, share.to_bits()])
        .chain(observation.map_or(Vec::new(), |observation| observation.words()))
        .collect()
}

/// Bytes from the settings of a step to those of the next: what WebGPU asks for.
const APART: usize = 256;

/// A chain whose images stay on the GPU.
#[derive(Debug)]
pub struct GpuChain {
    gpu: Gpu,
    recorded: Recorded,
    /// Without the images and velocities, which are here:
    dynamics: HostChain,
    x: wgpu::Buffer,
    /// The kernel of its step.
    step: wgpu::ComputePipeline,
    /// What every step's settings share, after what is the step's own.
    shared_settings: Vec<u32>,
    settings: wgpu::Buffer,
    /// For each step of a submission.
    bindings: Vec<wgpu::BindGroup>,
    /// Logits of each step of a submission.
    history: wgpu::Buffer,
    read_back: wgpu::Buffer,
    _memory: Buffers,
}

impl GpuChain {
    /// A chain of a network, on the device.
    ///
    /// # Errors
    /// If the batch is too large.
    ///
    /// # Panics
    /// If the sizes do not agree or a class does not exist.
    pub async fn new(engine: &GpuNetwork, mut dynamics: HostChain) -> Result<Self, GpuError> {
        use wgpu::BufferUsages as Use;
        let GpuNetwork { gpu, plan, .. } = engine;
        let (x, velocity) = (
            std::mem::take(&mut dynamics.x),
            std::mem::take(&mut dynamics.velocity),
        );
        assert_eq!(x.len(), velocity.len(), "a velocity for each number");
        let slope = match dynamics.mixture {
            Some(_) => Slope::Given(dynamics.classes.len()),
            None => Slope::Known(dynamics.energy, &dynamics.classes),
        };
        let recorded = engine.record(&x, slope).await?;
        if dynamics.mixture.is_some() {
            // The same whatever the logits are.
            let mut slopes = vec![0.0; dynamics.classes.len() * plan.classes()];
            let objective = dynamics.objective();
            for (image, slope) in slopes.chunks_exact_mut(plan.classes()).enumerate() {
                objective.slope(image, &[], slope);
            }
            gpu.queue
                .write_buffer(&recorded.slope, 0, bytemuck::cast_slice(&slopes));
        }
        let Extent { channels, size } = plan.image;
        let layout = Layout::of(plan.image);
        let of_images = [
            dynamics.classes.len(),
            plan.classes(),
            channels,
            size,
            layout.row(),
            layout.len(),
        ];
        let of_sampler = match &dynamics.walk {
            Step::Sgld(sgld) => sgld_settings(sgld),
            Step::ByDistance(annealing) => annealing_settings(annealing, dynamics.energy),
        };
        let of_images = of_images.map(|n| n as u32);
        let shared_settings = [&of_images[..], &of_sampler].concat();
        let normalization = plan.normalization.mean.iter().zip(&plan.normalization.std);
        let normalization: Vec<f32> = normalization
            .flat_map(|(&mean, &std)| [mean, std])
            .collect();
        let mut memory = Buffers::default();
        let mut filled =
            |numbers: &[f32], usage| memory.keep(gpu.filled(bytemuck::cast_slice(numbers), usage));
        let x = filled(&x, Use::STORAGE | Use::COPY_SRC);
        // Where a kernel has one thing in this place, and where the other.
        let (step, state, given) = match &dynamics.walk {
            Step::Sgld(_) => (
                &gpu.kernels.walk,
                filled(&velocity, Use::STORAGE),
                filled(&normalization, Use::STORAGE),
            ),
            Step::ByDistance(annealing) => {
                let rank = annealing.rank();
                let sums = vec![0.0; (2 * rank * dynamics.classes.len()).max(2)];
                let words = annealing_words(
                    annealing,
                    &normalization,
                    &dynamics.classes,
                    dynamics.mixture,
                );
                let words: &[f32] = bytemuck::cast_slice(&words);
                (
                    &gpu.kernels.by_distance,
                    filled(&sums, Use::STORAGE),
                    filled(words, Use::STORAGE),
                )
            }
        };
        let mut empty = |bytes, usage| memory.keep(gpu.empty(bytes, usage));
        let settings = empty(STEPS_PER_FRAME * APART, Use::UNIFORM | Use::COPY_DST);
        let history = empty(
            STEPS_PER_FRAME * recorded.logits.size() as usize,
            Use::STORAGE | Use::COPY_SRC,
        );
        let read_back = empty(
            (x.size() + history.size()) as usize,
            Use::MAP_READ | Use::COPY_DST,
        );
        let bindings = (0..STEPS_PER_FRAME).map(|slot| {
            let settings = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &settings,
                offset: (slot * APART) as u64,
                size: wgpu::BufferSize::new(APART as u64),
            });
            let Recorded {
                gradient,
                input,
                logits,
                ..
            } = &recorded;
            let buffers = match &dynamics.walk {
                Step::Sgld(_) => [&x, &state, gradient, input, &given, logits, &history],
                Step::ByDistance(_) => [&x, gradient, input, logits, &history, &given, &state],
            };
            let buffers = buffers.map(wgpu::Buffer::as_entire_binding);
            let bound: Vec<_> = (0..).zip([settings].into_iter().chain(buffers)).collect();
            gpu.bind(step, &bound)
        });
        Ok(Self {
            bindings: bindings.collect(),
            step: step.clone(),
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

    /// Takes `steps` steps, one at least and [`STEPS_PER_FRAME`] at most, in one submission.
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
        let steps = steps.clamp(1, STEPS_PER_FRAME);
        let mut settings = vec![0u32; steps * APART / 4];
        for (slot, settings) in settings.chunks_exact_mut(APART / 4).enumerate() {
            let step = dynamics.step + slot as u64;
            let noise = dynamics.noise.fold_in(step);
            let mut own = noise.words().to_vec();
            own.extend(noise.weights().map(f32::to_bits));
            own.push(slot as u32);
            if let Step::ByDistance(annealing) = &dynamics.walk {
                own.extend(annealing.shares(step).map(f32::to_bits));
            }
            settings[..own.len()].copy_from_slice(&own);
            settings[own.len()..][..self.shared_settings.len()]
                .copy_from_slice(&self.shared_settings);
        }
        gpu.queue
            .write_buffer(&self.settings, 0, bytemuck::cast_slice(&settings));

        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let walk = |pass: &mut wgpu::ComputePass, slot: usize| {
            pass.set_pipeline(&self.step);
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
