//! A GPU.

use basin_shared::{
    ModelFile,
    classifier::Evaluation,
    energy::Objective,
    engine::gpu::{Gpu, GpuChain, GpuError, GpuNetwork, Storage},
    samplers::{Frame, HostChain},
};

use super::{Chain, Engine, Network};

/// What the GPU refuses it would refuse again, so that is told. A GPU that is lost may come back with
/// another worker, so this one ends.
fn held<T>(asked: Result<T, GpuError>) -> Result<T, String> {
    asked.map_err(|error| match error {
        GpuError::Lost(_) => panic!("{error}"),
        refused => refused.to_string(),
    })
}

impl Engine for Gpu {
    type Network = GpuNetwork;

    async fn network(&self, file: &ModelFile, _: &[u8]) -> Result<GpuNetwork, String> {
        let plan = file.plan().map_err(|none| none.to_string())?;
        held(GpuNetwork::new(self.clone(), plan).await)
    }

    async fn refine(&mut self) -> bool {
        if self.storage() == Storage::Single {
            return false;
        }
        match self.in_single_precision().await {
            Ok(single) => *self = single,
            Err(error) => panic!("{error}"),
        }
        true
    }
}

impl Network for GpuNetwork {
    type Chain = GpuChain;

    async fn evaluate(
        &self,
        x: &[f32],
        batch: usize,
        objective: &dyn Objective,
    ) -> Result<Evaluation, String> {
        held(GpuNetwork::evaluate(self, x, batch, objective).await)
    }

    async fn logits(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, String> {
        held(GpuNetwork::logits(self, x, batch).await)
    }

    async fn chain(&self, chain: HostChain) -> Result<GpuChain, String> {
        held(GpuChain::new(self, chain).await)
    }
}

impl Chain for GpuChain {
    async fn advance(&mut self, steps: usize) -> (Frame, usize) {
        match GpuChain::advance(self, steps).await {
            Ok(frame) => (frame, 1),
            Err(error) => panic!("{error}"),
        }
    }
}
