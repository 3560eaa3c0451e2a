//! A network as attacks and samplers see it.

use super::{
    Network,
    gradient::logits_and_gradient,
    on_tensors::{OnTensors, from_host, to_host},
};
use crate::{
    classifier::{Classifier, Evaluation},
    energy::Objective,
    engine::cpu::CompiledNetwork,
};
use burn::tensor::Tensor;

#[cfg(feature = "cubecl")]
use super::{on_tensors, sequence::Sequence};
#[cfg(feature = "cubecl")]
use crate::{attacks::Attack, key::Key, samplers::Sgld};

/// A network in evaluation mode and off the autodiff device, whose weights no longer change.
#[derive(Debug)]
pub enum Frozen {
    /// On the processor, compiled.
    Compiled(Box<CompiledNetwork>),
    /// On a GPU, as a sequence of Basin's kernels.
    #[cfg(feature = "cubecl")]
    Sequence(Box<Sequence>),
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
            #[cfg(feature = "cubecl")]
            Self::Sequence(network) => to_host(network.logits(network.images(x, batch))),
            Self::Tensors(network) => to_host(network.logits(images(network, x, batch))),
        }
    }

    fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
        match self {
            Self::Compiled(network) => network.evaluate(x, batch, objective),
            #[cfg(feature = "cubecl")]
            Self::Sequence(network) => {
                let descended = network.descended(objective);
                let (logits, gradient) = network.evaluate(network.images(x, batch), &descended);
                Evaluation {
                    logits: to_host(logits),
                    gradient: to_host(gradient),
                }
            }
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

/// On a GPU nothing is read back but what an objective asks for that no kernel knows.
impl OnTensors for Frozen {
    #[cfg(feature = "cubecl")]
    fn logits_of(&self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Sequence(network) => network.logits(x),
            other => on_tensors::logits_of(other, x),
        }
    }

    #[cfg(feature = "cubecl")]
    fn logits_and_gradient(
        &self,
        x: Tensor<4>,
        objective: &dyn Objective,
    ) -> (Tensor<2>, Tensor<4>) {
        match self {
            Self::Sequence(network) => network.evaluate(x, &network.descended(objective)),
            other => on_tensors::logits_and_gradient(other, x, objective),
        }
    }

    #[cfg(feature = "cubecl")]
    fn attacked(&self, attack: &Attack, x: Tensor<4>, key: Key) -> Tensor<4> {
        let there = match self {
            Self::Sequence(network) => super::attack::run(attack, network, x.clone(), key),
            _ => None,
        };
        there.unwrap_or_else(|| on_tensors::attacked(self, attack, x, key))
    }

    #[cfg(feature = "cubecl")]
    fn sampled(
        &self,
        sgld: &Sgld,
        objective: &dyn Objective,
        x: Tensor<4>,
        key: Key,
        steps: usize,
    ) -> Option<Tensor<4>> {
        match self {
            Self::Sequence(network) => {
                Some(super::chain::run(sgld, network, objective, x, key, steps))
            }
            _ => None,
        }
    }
}
