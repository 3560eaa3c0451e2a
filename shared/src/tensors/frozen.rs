//! A network as attacks and samplers see it.

use super::{
    Network,
    gradient::logits_and_gradient,
    on_tensors::{from_host, to_host},
};
use crate::{
    classifier::{Classifier, Evaluation},
    energy::Objective,
    engine::cpu::CompiledNetwork,
};
use burn::tensor::Tensor;

/// A network in evaluation mode and off the autodiff device, whose weights no longer change.
#[derive(Debug)]
pub enum Frozen {
    /// On the processor, compiled.
    Compiled(Box<CompiledNetwork>),
    /// Elsewhere, as it is.
    Tensors(Box<Network>),
}

/// Images of `network` as a tensor.
fn images(network: &Network, x: &[f32], batch: usize) -> Tensor<4> {
    let [channels, height, width] = network.architecture().image();
    from_host(
        x.to_vec(),
        [batch, channels, height, width],
        &network.device(),
    )
}

impl Classifier for Frozen {
    fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
        match self {
            Self::Compiled(network) => network.logits(x, batch),
            Self::Tensors(network) => to_host(network.logits(images(network, x, batch))),
        }
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        match self {
            Self::Compiled(network) => network.evaluate(x, batch, objective),
            Self::Tensors(network) => {
                let x = images(network, x, batch);
                let (logits, gradient) = logits_and_gradient(|x| network.logits(x), x, objective);
                Evaluation {
                    logits,
                    gradient: to_host(gradient),
                }
            }
        }
    }
}
