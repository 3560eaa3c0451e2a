//! What computes: Basin's engine on the processor, or its engine on a GPU.

#[cfg(feature = "gpu")]
use basin_shared::gpu::{self, Gpu};
use basin_shared::{ModelFile, cpu, cpu::Evaluation, model_card::EnergyKind};

/// Where networks run.
pub enum Engine {
    /// The processor.
    Cpu,
    /// A GPU.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

/// A network on an engine.
pub enum Network {
    /// Compiled for the processor.
    Cpu(Box<cpu::Engine>),
    /// Compiled for a GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<gpu::Engine>),
}

impl Engine {
    /// The network of a file.
    ///
    /// # Panics
    /// If the GPU refuses the kernels: the page then goes on with another engine.
    pub async fn network(&self, file: &ModelFile) -> Network {
        match self {
            Self::Cpu => Network::Cpu(Box::new(cpu::Engine::new(file.plan()))),
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => match gpu::Engine::new(gpu.clone(), file.plan()).await {
                Ok(engine) => Network::Gpu(Box::new(engine)),
                Err(error) => panic!("{error}"),
            },
        }
    }
}

impl Network {
    /// Logits, and the gradient of each image's energy with respect to it. Reading numbers back from
    /// a GPU is awaited, as a browser cannot wait for it otherwise.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, size, size]`, `classes`: `[batch]`
    ///
    /// # Panics
    /// If the GPU is lost.
    pub async fn evaluate(&self, x: &[f32], classes: &[usize], energy: EnergyKind) -> Evaluation {
        match self {
            Self::Cpu(engine) => engine.evaluate(x, classes, energy),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine) => match engine.evaluate(x, classes, energy).await {
                Ok(evaluation) => evaluation,
                Err(error) => panic!("{error}"),
            },
        }
    }
}
