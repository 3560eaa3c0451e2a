//! Training methods: one a file, named as its paper names itself.
//!
//! Training is a problem within a problem. The *inner* one looks for examples with the model as it is:
//! attacks, chains. The *outer* one lowers a loss on those examples. So a method has settings (part of
//! the recipe), a state where it needs one, and a function that solves the inner problem and returns
//! the loss as a function of the model: an optimiser such as SAM asks for it twice. A method composes
//! the attacks, energies and samplers of `shared`, owns no optimiser and prints nothing.

mod adversarial;
#[cfg(test)]
mod against_pytorch;
#[cfg(test)]
pub(crate) mod fixture;
mod hybrid;
mod jeat;
mod noise;
mod standard;

use basin_shared::{
    Key,
    arrays::Array,
    attacks::Budget,
    energy::Conditional,
    samplers::{ClassGaussian, Start},
    tensors::{Mode, Network, OnTensors, energy},
};
use burn::tensor::{Device, Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::{data::Images, training::replay_buffer::ReplayBuffer};
use adversarial::weat::CrossEntropyOf;
pub(crate) use hybrid::dat::Ascents;

/// A method and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub(crate) enum Method {
    Standard(standard::Standard),
    Noise(noise::Noise),
    At(adversarial::at::At),
    Free(adversarial::free::Free),
    Fast(adversarial::fast::Fast),
    Trades(adversarial::trades::Trades),
    Mart(adversarial::mart::Mart),
    MailTrades(adversarial::mail_trades::MailTrades),
    WeatNat(adversarial::weat::Weat),
    WeatAdv(adversarial::weat::Weat),
    Igebm(hybrid::igebm::Igebm),
    Jem(hybrid::jem::Jem),
    #[serde(rename = "jem++")]
    JemPlusPlus(hybrid::jem_plus_plus::JemPlusPlus),
    SadaJem(hybrid::sada_jem::SadaJem),
    Prejeat(jeat::prejeat::Prejeat),
    Jeat(jeat::Jeat),
    Dat(hybrid::dat::Dat),
    Dsm(hybrid::dsm::Dsm),
}

/// A training batch, off the autodiff device.
#[derive(Clone)]
pub(crate) struct Batch {
    /// `[batch, channels, height, width]`
    pub x: Tensor<4>,
    /// `[batch]`
    pub y: Tensor<1, Int>,
    /// The same on the host, so that nobody need read it back: x times 255, and y.
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Batch {
    /// Cuts the batch into so many shares of one size; its own must be a multiple of their number.
    pub(crate) fn shares(self, count: usize) -> Vec<Self> {
        let size = self.labels.len() / count;
        let image = self.pixels.len() / self.labels.len();
        let share = |(i, labels): (usize, &[u8])| Self {
            x: self.x.clone().narrow(0, i * size, size),
            y: self.y.clone().narrow(0, i * size, size),
            pixels: self.pixels[i * size * image..][..size * image].to_vec(),
            labels: labels.to_vec(),
        };
        self.labels.chunks(size).enumerate().map(share).collect()
    }

    /// The same batch on another device.
    pub(crate) fn on(&self, device: &Device) -> Self {
        Self {
            x: self.x.clone().to_device(device),
            y: self.y.clone().to_device(device),
            pixels: self.pixels.clone(),
            labels: self.labels.clone(),
        }
    }
}

/// What the inner problem is given.
#[derive(Clone, Copy)]
pub(crate) struct Inner<'a> {
    /// On the autodiff device.
    pub model: &'a Network,
    pub train: &'a Images,
    /// Those of `train`, where the method starts chains there.
    pub gaussian: Option<&'a ClassGaussian>,
    pub batch: &'a Batch,
    /// Share of each label that a cross-entropy spreads over all classes.
    pub label_smoothing: f32,
    /// Share of the run that is done.
    pub progress: f64,
    /// Whether a checkpoint follows this iteration.
    pub before_checkpoint: bool,
    pub key: Key,
}

/// The outer problem: the loss, with the examples fixed.
pub(crate) type Outer = Box<dyn Fn(&Network) -> Loss + Send>;

/// What a method keeps from one iteration to the next.
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Nothing.
    Stateless,
    /// Persistent chains.
    Replay(ReplayBuffer),
    /// δ of free adversarial training, `[batch, channels, height, width]`.
    Perturbation(Array),
    /// Accuracy under PGD-5 at the last checkpoint of fast adversarial training.
    Robust(f32),
    /// DAT's ascents.
    Ascents(Ascents),
}

/// Equal states write equal arrays.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.to_arrays() == other.to_arrays()
    }
}

/// What an observer wants to know, by name: `[1]` each, untracked.
pub(crate) type Figures = Vec<(&'static str, Tensor<1>)>;

/// The loss of a batch and what an observer wants to know of it.
pub(crate) struct Loss {
    /// To be minimised, `[1]`, tracked.
    pub value: Tensor<1>,
    /// Share of the images trained on (attacked ones, if the method attacks) that are classified
    /// rightly, `[1]`.
    pub accuracy: Tensor<1>,
    /// Further figures.
    pub figures: Figures,
    /// The images that the loss is of, tracked, where the method asks for their gradient.
    pub input: Option<Tensor<4>>,
}

/// Name of the mean energy of real images among a loss's figures.
pub(crate) const ENERGY_DATA: &str = "energy_data";
/// Name of the mean energy of sampled images.
pub(crate) const ENERGY_SAMPLE: &str = "energy_sample";
/// Name of the fall of accuracy under PGD since the last checkpoint.
pub(crate) const PGD_DROP: &str = "pgd_drop";

impl Method {
    /// The name as recipes write it.
    pub(crate) fn name(&self) -> String {
        let written = serde_json::to_value(self).expect("settings are plain data");
        let name = written["name"]
            .as_str()
            .expect("a method is tagged with its name");
        name.to_owned()
    }

    /// The ball that the method defends, if it defends one.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let epsilon = match self {
            Self::Standard(_)
            | Self::Noise(_)
            | Self::Igebm(_)
            | Self::Jem(_)
            | Self::JemPlusPlus(_)
            | Self::SadaJem(_) => return None,
            Self::Dat(dat) => return Some(dat.budget),
            Self::Dsm(dsm) => return Some(dsm.attack.budget()),
            Self::At(at) => at.epsilon,
            Self::Free(free) => free.epsilon,
            Self::Fast(fast) => fast.epsilon,
            Self::Trades(trades) => trades.attack.epsilon,
            Self::Mart(mart) => mart.epsilon,
            Self::MailTrades(mail) => mail.attack.epsilon,
            Self::WeatNat(weat) | Self::WeatAdv(weat) => weat.attack.epsilon,
            Self::Prejeat(prejeat) => prejeat.epsilon,
            Self::Jeat(jeat) => jeat.epsilon,
        };
        Some(Budget::linf(epsilon))
    }

    /// How many directions of the class Gaussians the method needs, if it starts chains there.
    pub(crate) fn gaussian_rank(&self) -> Option<usize> {
        let (start, rank) = match self {
            Self::Dat(dat) => (dat.start, dat.gaussian_rank),
            other => {
                let negatives = other.negatives()?;
                (negatives.start, negatives.gaussian_rank)
            }
        };
        (start == Start::ClassGaussian).then_some(rank)
    }

    fn negatives(&self) -> Option<&hybrid::negatives::Negatives> {
        match self {
            Self::Igebm(igebm) => Some(&igebm.negatives),
            Self::Jem(jem) => Some(&jem.negatives),
            Self::JemPlusPlus(jem) => Some(&jem.negatives),
            Self::SadaJem(jem) => Some(&jem.negatives),
            Self::Dsm(dsm) => dsm.negatives(),
            _ => None,
        }
    }

    /// The method as one of so many replicas follows it: chains, the buffer that they live in and the
    /// images that are counted are dealt out among them.
    ///
    /// # Errors
    /// The name and the value of a setting that is no multiple of their number.
    pub(crate) fn of_replica(&self, replicas: usize) -> Result<Self, (&'static str, usize)> {
        let mut method = self.clone();
        for (name, count) in method.counts_of_the_batch() {
            if !count.is_multiple_of(replicas) {
                return Err((name, *count));
            }
            *count /= replicas;
        }
        Ok(method)
    }

    /// The settings that are counts of the whole batch or of the whole run, by their names in a recipe.
    fn counts_of_the_batch(&mut self) -> Vec<(&'static str, &mut usize)> {
        let capacity = "method.negatives.capacity";
        match self {
            Self::Jeat(jeat) => vec![
                ("method.chains", &mut jeat.chains),
                ("method.buffer.capacity", &mut jeat.buffer.capacity),
            ],
            Self::Dat(dat) => vec![("method.auc_images", &mut dat.auc_images)],
            Self::Igebm(igebm) => vec![(capacity, &mut igebm.negatives.capacity)],
            Self::Jem(jem) => vec![(capacity, &mut jem.negatives.capacity)],
            Self::JemPlusPlus(jem) => vec![(capacity, &mut jem.negatives.capacity)],
            Self::SadaJem(jem) => vec![(capacity, &mut jem.negatives.capacity)],
            Self::Dsm(dsm) => vec![(
                "method.chains.negatives.capacity",
                &mut dsm.chains.negatives.capacity,
            )],
            _ => Vec::new(),
        }
    }

    /// Whether labels can be smoothed: whether the loss has a cross-entropy.
    pub(crate) fn has_cross_entropy(&self) -> bool {
        !matches!(self, Self::Igebm(_))
    }

    /// Whether chains go on in later iterations, from a replay buffer.
    pub(crate) fn replays_chains(&self) -> bool {
        matches!(self, Self::Jeat(_)) || self.negatives().is_some()
    }

    /// The first setting that does not go with a batch so large: its name, what it is, what it may be.
    pub(crate) fn fault(&self, batch_size: usize) -> Option<(&'static str, usize, String)> {
        let (capacity, found, chains, moved) = match self {
            Self::Jeat(jeat) => (
                "method.buffer.capacity",
                jeat.buffer.capacity,
                "the chains of an iteration",
                jeat.chains.min(batch_size),
            ),
            other => {
                let capacity = match other {
                    Self::Dsm(_) => "method.chains.negatives.capacity",
                    _ => "method.negatives.capacity",
                };
                let found = other.negatives()?.capacity;
                (capacity, found, "batch_size", batch_size)
            }
        };
        (found < moved).then(|| (capacity, found, format!("at least {chains}, {moved}")))
    }

    /// What an iteration costs an image of the batch in passes through the network, on average: forward, to the
    /// image and to the weights, one each. Known of the methods whose cost is compared.
    pub(crate) fn passes(&self, batch: usize) -> Option<f64> {
        match self {
            Self::Standard(_) | Self::Noise(_) => Some(3.0),
            Self::Prejeat(_) => Some(5.0),
            Self::At(at) => Some(3.0 + 2.0 * at.attack.steps as f64),
            Self::Dsm(dsm) => Some(dsm.passes(batch)),
            _ => None,
        }
    }

    /// Fall of the accuracy under PGD between checkpoints that is too much.
    pub(crate) fn largest_pgd_drop(&self) -> f32 {
        match self {
            Self::Fast(fast) => fast.largest_drop,
            _ => f32::INFINITY,
        }
    }

    /// Steps of the optimiser for each batch.
    pub(crate) fn replays(&self) -> usize {
        match self {
            Self::Free(free) => free.replays,
            _ => 1,
        }
    }

    /// The state before the first iteration.
    pub(crate) fn init(
        &self,
        train: &Images,
        classes: usize,
        gaussian: Option<&ClassGaussian>,
        key: Key,
    ) -> State {
        match self {
            Self::Jeat(jeat) => State::Replay(jeat.init(train, classes, key)),
            Self::Dat(_) => State::Ascents(Ascents::default()),
            other => match other.negatives() {
                Some(negatives) => State::Replay(negatives.init(train, classes, gaussian, key)),
                None => State::Stateless,
            },
        }
    }

    /// Solves the inner problem and returns the outer one.
    pub(crate) fn outer(&self, inner: Inner, state: &mut State) -> Outer {
        match self {
            Self::Standard(standard) => Box::new(standard.outer(inner)),
            Self::Noise(noise) => Box::new(noise.outer(inner)),
            Self::At(at) => Box::new(at.outer(inner)),
            Self::Free(free) => Box::new(free.outer(inner, state)),
            Self::Fast(fast) => Box::new(fast.outer(inner, state)),
            Self::Trades(trades) => Box::new(trades.outer(inner)),
            Self::Mart(mart) => Box::new(mart.outer(inner)),
            Self::MailTrades(mail) => Box::new(mail.outer(inner)),
            Self::WeatNat(weat) => Box::new(weat.outer(CrossEntropyOf::Natural, inner)),
            Self::WeatAdv(weat) => Box::new(weat.outer(CrossEntropyOf::Adversarial, inner)),
            Self::Igebm(igebm) => Box::new(igebm.outer(inner, state)),
            Self::Jem(jem) => Box::new(jem.outer(inner, state)),
            Self::JemPlusPlus(jem) => Box::new(jem.outer(inner, state)),
            Self::SadaJem(jem) => Box::new(jem.outer(inner, state)),
            Self::Prejeat(prejeat) => Box::new(prejeat.outer(inner)),
            Self::Jeat(jeat) => Box::new(jeat.outer(inner, state)),
            Self::Dat(dat) => Box::new(dat.outer(inner, state)),
            Self::Dsm(dsm) => Box::new(dsm.outer(inner, state)),
        }
    }

    /// Takes the gradient of the loss with respect to its input, a by-product of the weights'.
    pub(crate) fn receive_input_gradient(&self, state: &mut State, gradient: Tensor<4>) {
        if let Self::Free(free) = self
            && free.attack_mode == Mode::Train
        {
            free.ascend(state, gradient);
        }
    }
}

impl Inner<'_> {
    /// The batch's images and classes.
    fn labelled(&self) -> (Tensor<4>, Tensor<1, Int>) {
        (self.batch.x.clone(), self.batch.y.clone())
    }

    /// E(x, y) − E(x) of the batch's classes, for an attack.
    fn cross_entropy(&self) -> Conditional {
        Conditional {
            classes: self.classes(),
        }
    }

    /// The batch's classes.
    fn classes(&self) -> Vec<usize> {
        self.batch.labels.iter().map(|&y| y.into()).collect()
    }

    /// What a cross-entropy on the batch's images is against.
    fn target(&self) -> Target {
        Target {
            y: self.batch.y.clone(),
            label_smoothing: self.label_smoothing,
        }
    }

    /// As many other training images as the batch has, drawn at random, without augmentation.
    fn others(&self) -> Tensor<4> {
        let count = self.batch.labels.len();
        let indices = self.key.stream("others").integers(count, self.train.len());
        self.train.batch(&indices, &self.batch.x.device()).0
    }
}

impl State {
    /// The replay buffer.
    ///
    /// # Panics
    /// If the method has none.
    fn replay(&mut self) -> &mut ReplayBuffer {
        match self {
            Self::Replay(buffer) => buffer,
            _ => unreachable!("the method starts with a buffer"),
        }
    }

    /// Named arrays, for a checkpoint.
    pub(crate) fn to_arrays(&self) -> Vec<(&'static str, Array)> {
        let numbers = |values: Vec<f32>| Array {
            shape: vec![values.len()],
            values,
        };
        match self {
            Self::Stateless => Vec::new(),
            Self::Replay(buffer) => {
                let [images, labels] = buffer.to_arrays();
                vec![("buffer.images", images), ("buffer.labels", labels)]
            }
            Self::Perturbation(delta) => vec![("perturbation", delta.clone())],
            Self::Robust(accuracy) => vec![("robust", numbers(vec![*accuracy]))],
            Self::Ascents(ascents) => {
                let counts = [ascents.steps as f32, ascents.auc_sum, ascents.images as f32];
                vec![("ascents", numbers(counts.to_vec()))]
            }
        }
    }

    /// The inverse of [`State::to_arrays`]; `take` removes an array by its name. None where shapes do
    /// not fit.
    pub(crate) fn from_arrays(mut take: impl FnMut(&str) -> Option<Array>) -> Option<Self> {
        if let Some(images) = take("buffer.images") {
            let labels = take("buffer.labels")?;
            return ReplayBuffer::from_arrays([images, labels]).map(Self::Replay);
        }
        if let Some(array) = take("perturbation") {
            return (array.shape.len() == 4).then_some(Self::Perturbation(array));
        }
        if let Some(array) = take("robust") {
            return array.values.first().copied().map(Self::Robust);
        }
        if let Some(array) = take("ascents") {
            let &[steps, auc_sum, images] = array.values.as_slice() else {
                return None;
            };
            return Some(Self::Ascents(Ascents {
                steps: steps as usize,
                auc_sum,
                images: images as usize,
            }));
        }
        Some(Self::Stateless)
    }
}

/// The logits of a training pass, with the batch's statistics. x is tracked along with the weights: its gradient costs next to
/// nothing (the stem has few input channels), and without it some GPUs give NaN weight gradients
/// (tracel-ai/burn#5162).
fn logits(model: &Network, x: Tensor<4>) -> Tensor<2> {
    model.forward(x.autodiff().require_grad(), Mode::Train)
}

/// Share of rightly classified examples, `[1]`.
pub(crate) fn accuracy(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    energy::mean(energy::hits(logits, y))
}

/// The same of a model in evaluation mode.
fn accuracy_of(model: &impl OnTensors, x: Tensor<4>, y: Tensor<1, Int>) -> Tensor<1> {
    accuracy(model.logits_of(x), y)
}

/// The mean of E(x), `[1]`, untracked.
fn mean_energy(logits: Tensor<2>) -> Tensor<1> {
    energy::mean(energy::marginal(logits.inner()))
}

/// What a cross-entropy is against. Attacks know nothing of smoothing: they leave the class itself.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `[batch]`
    y: Tensor<1, Int>,
    /// s, the share of each label that is spread over all classes.
    label_smoothing: f32,
}

impl Target {
    /// −Σ_k q_k log p(k | x) of each example, where q has 1 − s for the class and s / classes for every
    /// class (Szegedy et al. 2016, section 7). Without smoothing it is E(x, y) − E(x).
    ///
    /// # Shapes
    /// - `f`: `[batch, classes]`; returns `[batch]`
    fn cross_entropy(&self, f: Tensor<2>) -> Tensor<1> {
        let of_class = energy::conditional(f.clone(), self.y.clone());
        if self.label_smoothing == 0.0 {
            return of_class;
        }
        let of_all = activation::log_softmax(f, 1).mean_dim(1).neg();
        of_class * (1.0 - self.label_smoothing) + of_all.squeeze_dim::<1>(1) * self.label_smoothing
    }
}

/// The mean cross-entropy on `x`, with its accuracy and energy as figures.
fn cross_entropy(model: &Network, x: Tensor<4>, target: &Target) -> Loss {
    let x = x.autodiff().require_grad();
    let logits = model.forward(x.clone(), Mode::Train);
    Loss {
        value: energy::mean(target.cross_entropy(logits.clone())),
        figures: vec![(ENERGY_DATA, mean_energy(logits.clone()))],
        accuracy: accuracy(logits, target.y.clone()),
        input: Some(x),
    }
}

/// A batch and its adversarial examples.
struct Attacked {
    x: Tensor<4>,
    x_adv: Tensor<4>,
    target: Target,
}

/// The logits of both.
struct Logits {
    f: Tensor<2>,
    f_adv: Tensor<2>,
}

impl Attacked {
    /// From one pass each: with BatchNorm, one pass for both would mix their statistics.
    fn logits(&self, model: &Network) -> Logits {
        Logits {
            f: logits(model, self.x.clone()),
            f_adv: logits(model, self.x_adv.clone()),
        }
    }

    /// A loss of both; its accuracy is that under attack.
    fn loss(&self, Logits { f, f_adv }: Logits, value: Tensor<1>) -> Loss {
        Loss {
            value,
            accuracy: accuracy(f_adv, self.target.y.clone()),
            figures: vec![
                ("clean_accuracy", accuracy(f.clone(), self.target.y.clone())),
                (ENERGY_DATA, mean_energy(f)),
            ],
            input: None,
        }
    }
}

/// p_y of each example. `p`: `[batch, classes]`; returns `[batch]`
fn of_class(p: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    p.gather(1, y.unsqueeze_dim(1)).squeeze_dim::<1>(1)
}

/// max_{k≠y} p_k of each example. `p`: probabilities, `[batch, classes]`; returns `[batch]`
fn best_wrong(p: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    let [_, classes] = p.dims();
    let right = y.one_hot::<2>(classes).float();
    // No probability is as low as that of the class itself then.
    let wrong = (p.clone().inner() - right * 2.0).argmax(1);
    p.gather(1, wrong).squeeze_dim::<1>(1)
}
