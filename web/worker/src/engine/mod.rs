//! What computes: Basin's engine on the processor, or its engine on a GPU. A program has one of them.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;

use basin_shared::{
    ModelFile,
    classifier::Evaluation,
    energy::Objective,
    samplers::{Frame, HostChain},
};

/// Where networks run.
#[expect(async_fn_in_trait, reason = "a worker has one thread")]
pub trait Engine {
    /// A network on it.
    type Network: Network;

    /// The network of a file, and of the bytes that it was read from; the error says what the engine
    /// cannot hold.
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn network(&self, file: &ModelFile, bytes: &[u8]) -> Result<Self::Network, String>;

    /// Turns to single precision. Whether there was another before.
    ///
    /// # Panics
    /// If a GPU refuses the kernels.
    async fn refine(&mut self) -> bool {
        false
    }
}

/// A network on an engine.
#[expect(async_fn_in_trait, reason = "a worker has one thread")]
pub trait Network {
    /// A chain of it.
    type Chain: Chain;

    /// Logits, and the gradient of each image's objective with respect to it; the error says what the engine
    /// cannot hold. Reading numbers back from a GPU is awaited, as a browser cannot wait for it otherwise.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, size, size]`
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn evaluate(
        &self,
        x: &[f32],
        batch: usize,
        objective: &dyn Objective,
    ) -> Result<Evaluation, String>;

    /// The logits alone, `[batch, classes]`; the rest as of [`Self::evaluate`].
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn logits(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, String>;

    /// The same with the help of other workers, if the engine has any.
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn logits_of_many(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, String> {
        self.logits(x, batch).await
    }

    /// A chain of this network; the error says what the engine cannot hold.
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn chain(&self, chain: HostChain) -> Result<Self::Chain, String>;
}

/// A chain on an engine.
#[expect(async_fn_in_trait, reason = "a worker has one thread")]
pub trait Chain {
    /// Takes some steps, [`basin_shared::samplers::STEPS_PER_FRAME`] at most, and shows what led to the
    /// last of them; and how many workers computed it, this one included.
    ///
    /// # Panics
    /// If a GPU is lost.
    async fn advance(&mut self, steps: usize) -> (Frame, usize);
}
