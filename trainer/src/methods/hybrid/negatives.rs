//! Chains that give an energy-based model its negative samples: where they start, go on and end
//! (Du & Mordatch 2019; JEM Algorithm 1).

use basin_shared::{
    Key,
    energy::EnergyKind,
    samplers::{ClassGaussian, Sgld, Start},
};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    chains,
    data::{self, Images},
    methods::Inner,
    training::replay_buffer::{Beginnings, ReplayBuffer},
};

/// Where chains start and go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Negatives {
    /// Chains kept in the replay buffer.
    pub capacity: usize,
    /// Chance that a chain starts anew rather than goes on.
    pub reinit_probability: f32,
    /// Where chains start.
    pub start: Start,
    /// Directions of the class Gaussians, of use where chains start there.
    pub gaussian_rank: usize,
    /// Whether chains descend E(x, y) of a class, so that negatives are of p(x | y) p(y), rather than
    /// E(x).
    pub conditional: bool,
}

impl Negatives {
    /// A buffer of starts, the classes in turn.
    pub(in crate::methods) fn init(
        &self,
        train: &Images,
        classes: usize,
        gaussian: Option<&ClassGaussian>,
        key: Key,
    ) -> ReplayBuffer {
        let labels: Vec<u8> = (0..self.capacity).map(|i| (i % classes) as u8).collect();
        let pixels = chains::starts(self.start, gaussian, train.shape(), &labels, key);
        ReplayBuffer::new(pixels, labels, train.shape())
    }

    /// [`Negatives::sample`] by so many steps of Langevin dynamics.
    pub(in crate::methods) fn sample_by_sgld(
        &self,
        inner: &Inner,
        buffer: &mut ReplayBuffer,
        sgld: &Sgld,
        steps: usize,
    ) -> (Tensor<4>, Tensor<1, Int>) {
        let frozen = inner.model.frozen();
        self.sample(inner, buffer, |start, energy, labels, key| {
            chains::reach(&frozen, *sgld, energy, labels, start, key, steps)
        })
    }

    /// The ends of as many chains as the batch has images, put back into the buffer; `walk` takes
    /// their starts, what they descend of which classes, and a key. Returns them with their classes.
    pub(in crate::methods) fn sample(
        &self,
        inner: &Inner,
        buffer: &mut ReplayBuffer,
        walk: impl FnOnce(Tensor<4>, EnergyKind, &[u8], Key) -> Tensor<4>,
    ) -> (Tensor<4>, Tensor<1, Int>) {
        let device = inner.batch.x.device();
        let (shape, gaussian) = (inner.train.shape(), inner.gaussian);
        let energy = match self.conditional {
            true => EnergyKind::Joint,
            false => EnergyKind::Marginal,
        };
        let advanced = buffer.advance(
            inner.key.stream("negatives"),
            inner.batch.labels.len(),
            self.reinit_probability,
            &device,
            |key, labels| Beginnings {
                pixels: chains::starts(self.start, gaussian, shape, labels, key),
                labels: labels.to_vec(),
            },
            |start, labels, key| walk(start, energy, labels, key),
        );
        (advanced.end, data::labels(&advanced.labels, &device))
    }
}
