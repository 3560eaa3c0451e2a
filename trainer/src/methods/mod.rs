//! Training methods: one a file, named as its paper names itself.
//!
//! Each has settings (part of the recipe), a state where it needs one, and a loss. It composes the
//! attacks, energies and samplers of `shared`, owns no optimiser and prints nothing.

mod at;
mod jeat;
mod prejeat;
mod standard;

use basin_shared::{Classifier, Key, attacks::Budget, energy, models::WideResNet};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) use jeat::Jeat;

use crate::{data::Images, replay_buffer::ReplayBuffer};

/// A method and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum Method {
    Standard(standard::Standard),
    At(at::At),
    Prejeat(prejeat::Prejeat),
    Jeat(Jeat),
}

/// A training batch, off the autodiff device.
pub(crate) struct Batch {
    /// `[batch, channels, height, width]`
    pub x: Tensor<4>,
    /// `[batch]`
    pub y: Tensor<1, Int>,
    /// The same on the host.
    pub labels: Vec<u8>,
}

/// What a method keeps from one iteration to the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Nothing.
    Stateless,
    /// Persistent chains.
    Replay(ReplayBuffer),
}

/// The loss of a batch and what an observer wants to know of it.
pub(crate) struct Loss {
    /// To be minimised, `[1]`, tracked.
    pub value: Tensor<1>,
    /// Share of the images trained on (attacked ones, if the method attacks) that are classified
    /// rightly, `[1]`.
    pub accuracy: Tensor<1>,
    /// Further figures by name, `[1]` each, untracked.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

/// Name of the mean energy of real images among a loss's figures.
pub(crate) const ENERGY_DATA: &str = "energy_data";
/// Name of the mean energy of sampled images.
pub(crate) const ENERGY_SAMPLE: &str = "energy_sample";

impl Method {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Standard(_) => "standard",
            Self::At(_) => "at",
            Self::Prejeat(_) => "prejeat",
            Self::Jeat(_) => "jeat",
        }
    }

    /// The radius that the method defends, if it defends one.
    pub(crate) fn budget(&self) -> Option<Budget> {
        match self {
            Self::Standard(_) => None,
            Self::At(at) => Some(Budget {
                epsilon: at.epsilon,
            }),
            Self::Prejeat(prejeat) => Some(Budget {
                epsilon: prejeat.epsilon,
            }),
            Self::Jeat(jeat) => Some(Budget {
                epsilon: jeat.epsilon,
            }),
        }
    }

    /// The state before the first iteration.
    pub(crate) fn init(&self, train: &Images, classes: usize, key: Key) -> State {
        match self {
            Self::Jeat(jeat) => State::Replay(jeat.init(train, classes, key)),
            Self::Standard(_) | Self::At(_) | Self::Prejeat(_) => State::Stateless,
        }
    }

    /// The loss of a batch of `train` under `model`, which is on the autodiff device.
    pub(crate) fn loss(
        &self,
        model: &WideResNet,
        train: &Images,
        batch: Batch,
        state: &mut State,
        key: Key,
    ) -> Loss {
        match (self, state) {
            (Self::Standard(standard), _) => standard.loss(model, batch),
            (Self::At(at), _) => at.loss(model, batch, key),
            (Self::Prejeat(prejeat), _) => prejeat.loss(model, batch, key),
            (Self::Jeat(jeat), State::Replay(buffer)) => {
                jeat.loss(model, train, batch, buffer, key)
            }
            (Self::Jeat(_), State::Stateless) => unreachable!("JEAT starts with a buffer"),
        }
    }
}

/// The logits of a training pass. x is tracked along with the weights: its gradient costs next to
/// nothing (the stem has few input channels), and without it some GPUs give NaN weight gradients
/// (tracel-ai/burn#5162).
fn logits(model: &WideResNet, x: Tensor<4>) -> Tensor<2> {
    model.logits(x.autodiff().require_grad())
}

/// Share of rightly classified examples, `[1]`.
pub(crate) fn accuracy(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    logits
        .inner()
        .argmax(1)
        .squeeze_dim::<1>(1)
        .equal(y)
        .float()
        .mean()
}

/// The mean cross-entropy on `x`, with its accuracy and energy as figures.
fn cross_entropy(model: &WideResNet, x: Tensor<4>, y: Tensor<1, Int>) -> Loss {
    let logits = logits(model, x);
    Loss {
        value: energy::conditional(logits.clone(), y.clone()).mean(),
        figures: vec![(ENERGY_DATA, energy::marginal(logits.clone().inner()).mean())],
        accuracy: accuracy(logits, y),
    }
}
