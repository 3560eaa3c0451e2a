//! The processor, in a browser with the help of partners.

use std::rc::Rc;

use basin_shared::{
    Classifier, ModelFile,
    classifier::Evaluation,
    energy::Objective,
    engine::cpu::CompiledNetwork,
    samplers::{Frame, HostChain},
};

use super::{Chain, Engine, Network};

/// The processor.
#[derive(Clone, Copy, Debug)]
pub struct Cpu;

/// A network on the processor.
pub struct CpuNetwork {
    network: CompiledNetwork,
    /// Workers to share a step with.
    #[cfg(target_arch = "wasm32")]
    pool: crate::pool::Pool,
}

/// A chain on the processor.
pub struct CpuChain {
    network: Rc<CpuNetwork>,
    chain: HostChain,
}

impl Engine for Cpu {
    type Network = Rc<CpuNetwork>;

    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(unused_variables, reason = "the bytes are for partners")
    )]
    async fn network(&self, file: &ModelFile, bytes: &[u8]) -> Result<Self::Network, String> {
        let plan = file.plan().map_err(|none| none.to_string())?;
        Ok(Rc::new(CpuNetwork {
            network: CompiledNetwork::new(plan),
            #[cfg(target_arch = "wasm32")]
            pool: crate::pool::Pool::new(bytes),
        }))
    }
}

impl Network for Rc<CpuNetwork> {
    type Chain = CpuChain;

    async fn evaluate(
        &self,
        x: &[f32],
        batch: usize,
        objective: &dyn Objective,
    ) -> Result<Evaluation, String> {
        Ok(self.network.evaluate(x, batch, objective))
    }

    async fn logits(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, String> {
        Ok(self.network.logits(x, batch))
    }

    #[cfg(target_arch = "wasm32")]
    async fn logits_of_many(&self, x: &[f32], batch: usize) -> Result<Vec<f32>, String> {
        let pool = &self.pool;
        let (evaluation, _) = pool
            .evaluate(&self.network, x, &vec![0; batch], None, None)
            .await;
        Ok(evaluation.logits)
    }

    async fn chain(&self, chain: HostChain) -> Result<CpuChain, String> {
        Ok(CpuChain {
            network: self.clone(),
            chain,
        })
    }
}

impl Chain for CpuChain {
    #[cfg(target_arch = "wasm32")]
    async fn advance(&mut self, steps: usize) -> (Frame, usize) {
        let Self { network, chain } = self;
        let (mut frame, mut most) = (chain.frame(), 1);
        for _ in 0..steps {
            let (x, classes) = (&chain.x, &chain.classes);
            let shared = network.pool.evaluate(
                &network.network,
                x,
                classes,
                Some(chain.energy),
                chain.mixture,
            );
            let (evaluation, workers) = shared.await;
            chain.step(evaluation, &mut frame);
            most = most.max(workers);
        }
        (frame, most)
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn advance(&mut self, steps: usize) -> (Frame, usize) {
        (self.chain.advance(&self.network.network, steps), 1)
    }
}
