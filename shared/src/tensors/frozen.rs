//! A network as attacks and samplers see it.

use burn::tensor::Tensor;

use super::Network;
use crate::tensors::{Compiled, classifier::Classifier, energy::Energy};

/// A network in evaluation mode and off the autodiff device, whose weights no longer change.
#[derive(Debug)]
pub enum Frozen {
    /// On the processor, compiled.
    Compiled(Box<Compiled>),
    /// Elsewhere, as it is.
    Tensors(Box<Network>),
}

impl Classifier for Frozen {
    fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Compiled(network) => network.logits(x),
            Self::Tensors(network) => network.logits(x),
        }
    }

    fn logits_and_gradient(&self, x: Tensor<4>, energy: &Energy) -> (Tensor<2>, Tensor<4>) {
        match self {
            Self::Compiled(network) => network.logits_and_gradient(x, energy),
            Self::Tensors(network) => network.logits_and_gradient(x, energy),
        }
    }
}
