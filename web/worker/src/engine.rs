//! What computes: Basin's engine on the processor, or its engine on a GPU.

#[cfg(feature = "cpu")]
use std::rc::Rc;

#[cfg(feature = "gpu")]
use basin_shared::engine::gpu::{self, Gpu, GpuError, Storage};
#[cfg(feature = "cpu")]
use basin_shared::{Classifier, engine::cpu};
use basin_shared::{
    ModelFile,
    classifier::Evaluation,
    energy::Objective,
    samplers::{Frame, HostChain},
};

/// Where networks run.
pub enum Engine {
    /// The processor.
    #[cfg(feature = "cpu")]
    Cpu,
    /// A GPU.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

/// A network on an engine.
pub enum Network {
    /// Compiled for the processor.
    #[cfg(feature = "cpu")]
    Cpu(Rc<Cpu>),
    /// Compiled for a GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<gpu::GpuNetwork>),
}

/// A network on the processor.
#[cfg(feature = "cpu")]
pub struct Cpu {
    engine: cpu::CompiledNetwork,
    /// Workers to share a step with.
    #[cfg(target_arch = "wasm32")]
    pool: crate::pool::Pool,
}

/// A chain on an engine.
pub enum RunningChain {
    /// On the processor.
    #[cfg(feature = "cpu")]
    Cpu(Rc<Cpu>, Box<HostChain>),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<gpu::GpuChain>),
}

/// What the GPU refuses it would refuse again, so that is told. A GPU that is lost may come back with
/// another worker, so this one ends.
#[cfg(feature = "gpu")]
fn held<T>(asked: Result<T, GpuError>) -> Result<T, String> {
    asked.map_err(|error| match error {
        GpuError::Lost(_) => panic!("{error}"),
        refused => refused.to_string(),
    })
}

impl Engine {
    /// The network of a file, and of the bytes that it was read from; the error says what the engine
    /// cannot hold.
    ///
    /// # Panics
    /// If the GPU is lost.
    #[allow(
        unused_variables,
        reason = "the bytes are for partners, and not every engine has them"
    )]
    pub async fn network(&self, file: &ModelFile, bytes: &[u8]) -> Result<Network, String> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu => Ok(Network::Cpu(Rc::new(Cpu {
                engine: cpu::CompiledNetwork::new(file.plan()),
                #[cfg(target_arch = "wasm32")]
                pool: crate::pool::Pool::new(bytes),
            }))),
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => {
                let engine = gpu::GpuNetwork::new(gpu.clone(), file.plan()).await;
                held(engine).map(|engine| Network::Gpu(Box::new(engine)))
            }
        }
    }

    /// Turns to single precision. Whether there was another before.
    ///
    /// # Panics
    /// If the GPU refuses the kernels.
    pub async fn refine(&mut self) -> bool {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu => false,
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) if gpu.storage() == Storage::Single => false,
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => match gpu.in_single_precision().await {
                Ok(single) => {
                    *gpu = single;
                    true
                }
                Err(error) => panic!("{error}"),
            },
        }
    }
}

impl Network {
    /// Logits, and the gradient of each image's objective with respect to it; the error says what the engine
    /// cannot hold. Reading numbers back from a GPU is awaited, as a browser cannot wait for it otherwise.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, size, size]`
    ///
    /// # Panics
    /// If the GPU is lost.
    pub async fn evaluate(
        &self,
        x: &[f32],
        batch: usize,
        objective: &dyn Objective,
    ) -> Result<Evaluation, String> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(network) => Ok(network.engine.evaluate(x, batch, objective)),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine) => held(engine.evaluate(x, batch, objective).await),
        }
    }

    /// A chain of this network; the error says what the engine cannot hold.
    ///
    /// # Panics
    /// If the GPU is lost.
    pub async fn chain(&self, dynamics: HostChain) -> Result<RunningChain, String> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu(network) => Ok(RunningChain::Cpu(network.clone(), Box::new(dynamics))),
            #[cfg(feature = "gpu")]
            Self::Gpu(engine) => {
                held(engine.chain(dynamics).await).map(|chain| RunningChain::Gpu(Box::new(chain)))
            }
        }
    }
}

impl RunningChain {
    /// Takes some steps, [`basin_shared::samplers::STEPS_PER_FRAME`] at most, and shows what led to the
    /// last of them; and how many workers computed it, this one included.
    ///
    /// # Panics
    /// If the GPU is lost.
    pub async fn advance(&mut self, steps: usize) -> (Frame, usize) {
        match self {
            #[cfg(all(feature = "cpu", target_arch = "wasm32"))]
            Self::Cpu(network, dynamics) => {
                let Cpu { engine, pool } = &**network;
                let (mut frame, mut most) = (dynamics.frame(), 1);
                for _ in 0..steps {
                    let HostChain { x, classes, .. } = &**dynamics;
                    let shared = pool.evaluate(engine, x, classes, dynamics.energy);
                    let (evaluation, workers) = shared.await;
                    dynamics.step(evaluation, &mut frame);
                    most = most.max(workers);
                }
                (frame, most)
            }
            #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
            Self::Cpu(network, dynamics) => (dynamics.advance(&network.engine, steps), 1),
            #[cfg(feature = "gpu")]
            Self::Gpu(chain) => match chain.advance(steps).await {
                Ok(frame) => (frame, 1),
                Err(error) => panic!("{error}"),
            },
        }
    }
}
