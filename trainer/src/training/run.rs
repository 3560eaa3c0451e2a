//! A run: one iteration after the other, from a batch to a step of the optimiser.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use basin_shared::{
    Key,
    arrays::Weights,
    file::card::Origin,
    samplers::ClassGaussian,
    tensors::{Network, parameters, to_host},
};
use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};

use super::{
    checkpoint::{Checkpoint, Progress, VERSION},
    class_gaussian::class_gaussian,
    ema,
    optimizer::{Optimizer, optimizer},
    replicas::{self, Replicas},
};
use crate::{
    data::Images,
    methods::{Batch, Figures, Inner, Method, Outer, State},
    recipe::Recipe,
};

/// A run in memory.
pub(crate) struct Run<'env> {
    /// On the autodiff device.
    model: Network,
    /// Off it.
    pub(crate) ema: Network,
    optimizer: Box<dyn Optimizer>,
    /// What the model and its average began with, if not with random weights.
    begun_with: Option<Origin>,
    /// As each replica follows it.
    method: Method,
    /// The method's state on each replica.
    states: Vec<State>,
    /// Where the method starts chains.
    gaussian: Option<Arc<ClassGaussian>>,
    /// Of the epoch that the last batch was of.
    order: Option<Order>,
    pub(crate) replicas: Replicas<'env>,
    pub(crate) progress: Progress,
}

/// What the loss of a replica's share of the batch is, and how it changes with the weights.
struct Found {
    /// The gradients of the share's part in the mean over the batch.
    gradients: GradientsParams,
    figures: Figures,
}

impl<'env> Run<'env> {
    /// A run on one device, with random weights.
    pub(crate) fn init(recipe: &Recipe, train: &Images, device: &Device) -> Result<Self> {
        Self::begin(recipe, train, None, Replicas::single(device))
    }

    pub(crate) fn begin(
        recipe: &Recipe,
        train: &Images,
        origin: Option<(Origin, Weights)>,
        replicas: Replicas<'env>,
    ) -> Result<Self> {
        let weight_key = Key::new(recipe.seed).stream("weights");
        let state_key = Key::new(recipe.seed).stream("state");
        let device = replicas.first();
        let untracked = recipe
            .architecture()
            .init(recipe.initialization, weight_key, device);
        let (begun_with, weights) = match origin {
            Some((origin, weights)) => (Some(origin), weights),
            None => (None, parameters::collect(&untracked)),
        };
        let gaussian = gaussian(recipe, train, device)?;
        let method = of_replica(recipe, &replicas);
        let states = vec![State::Stateless; replicas.count()];
        Ok(Self {
            model: on_autodiff(recipe, &weights, device),
            ema: parameters::load(untracked, &weights),
            optimizer: optimizer(&recipe.optimizer, device),
            begun_with,
            states: with_beginnings(
                states,
                &method,
                recipe,
                train,
                gaussian.as_deref(),
                state_key,
            ),
            method,
            gaussian,
            order: None,
            replicas,
            progress: Progress {
                iteration: 0,
                rate_scale: 1.0,
                roll_backs: 0,
                rolled_back_to: None,
                seconds: 0.0,
                hardware: Vec::new(),
            },
        })
    }

    pub(crate) fn restore(
        checkpoint: Checkpoint,
        recipe: &Recipe,
        train: &Images,
        replicas: Replicas<'env>,
    ) -> Result<Self> {
        let device = replicas.first();
        let empty = recipe
            .architecture()
            .init(recipe.initialization, Key::new(0), device);
        let mut optimizer = optimizer(&recipe.optimizer, device);
        optimizer.restore(checkpoint.optimizer, &checkpoint.model, device)?;
        let gaussian = gaussian(recipe, train, device)?;
        let method = of_replica(recipe, &replicas);
        let states = replicas::deal(checkpoint.states, replicas.count());
        let state_key = Key::new(recipe.seed).stream("state");
        let key = state_key.fold_in(checkpoint.progress.iteration as u64);
        Ok(Self {
            model: on_autodiff(recipe, &checkpoint.model, device),
            ema: parameters::load(empty, &checkpoint.ema),
            optimizer,
            begun_with: checkpoint.begun_with,
            states: with_beginnings(states, &method, recipe, train, gaussian.as_deref(), key),
            method,
            gaussian,
            order: None,
            replicas,
            progress: checkpoint.progress,
        })
    }

    pub(crate) fn save(
        &self,
        recipe: &Recipe,
        directory: &Path,
        epoch: usize,
        metric: Option<f64>,
    ) -> Result<PathBuf> {
        let checkpoint = Checkpoint {
            version: VERSION,
            progress: self.progress.clone(),
            recipe: recipe.to_toml(),
            begun_with: self.begun_with.clone(),
            model: parameters::collect(&self.model.valid()),
            ema: parameters::collect(&self.ema),
            optimizer: self.optimizer.state(),
            states: self.states.clone(),
        };
        Ok(checkpoint.write(directory, epoch, metric)?)
    }

    /// One iteration: batch, loss, backward pass, step. Every draw comes from the seed, the
    /// roll-backs and the iteration, so that a resumed run makes the same ones. The batch is made on
    /// `device`.
    pub(crate) fn iterate(
        &mut self,
        recipe: &Recipe,
        train: &'env Images,
        device: &Device,
    ) -> Vec<(&'static str, f32)> {
        let iteration = self.progress.iteration;
        let run_key = Key::new(recipe.seed).stream("iterations");
        let run_key = run_key.fold_in(self.progress.roll_backs as u64);
        let key = run_key.fold_in(iteration as u64);
        let (method_key, augment_key) = (key.stream("method"), key.stream("augmentation"));
        let indices = self.batch_indices(recipe, train.len());
        let (pixels, x, y) =
            train.augmented_batch(&indices, &recipe.augmentation, augment_key, device);
        let batch = Batch {
            x,
            y,
            pixels,
            labels: indices.iter().map(|&index| train.labels()[index]).collect(),
        };
        let shares = batch.shares(self.replicas.count());

        let rate = recipe.schedule.rate(iteration, recipe.iterations) * self.progress.rate_scale;
        let mut figures = Figures::new();
        for replay in 0..self.method.replays() {
            let key = method_key.fold_in(replay as u64);
            let solved = self.solve(recipe, train, &shares, key);
            figures = self.descend(recipe, solved, rate);
        }
        let average = self.ema.clone();
        let decay = match self.begun_with {
            // What the average began with is no less than what it sees next.
            Some(_) => recipe.ema_decay,
            None => ema::growing_decay(recipe.ema_decay, iteration),
        };
        self.ema = ema::update(average, &self.model, decay);
        self.progress.iteration += 1;
        let mut figures = read_back(figures);
        figures.push(("learning_rate", rate as f32));
        figures
    }

    /// The images of the iteration: each epoch is a permutation, cut into whole batches.
    fn batch_indices(&mut self, recipe: &Recipe, images: usize) -> Vec<usize> {
        let batches = batches(recipe, images);
        let iteration = self.progress.iteration;
        let (epoch, batch) = (iteration / batches, iteration % batches);
        let order = match self.order.take() {
            Some(order) if order.epoch == epoch && order.images.len() == images => order,
            _ => Order::of(recipe, epoch, images),
        };
        let order = self.order.insert(order);
        let images = order.images.iter().skip(batch * recipe.batch_size);
        images.take(recipe.batch_size).copied().collect()
    }

    /// Solves the inner problem of each share of the batch on its device, and finds the gradient of
    /// the outer one.
    fn solve(
        &mut self,
        recipe: &Recipe,
        train: &'env Images,
        shares: &[Batch],
        key: Key,
    ) -> Vec<(Outer, Found)> {
        let iteration = self.progress.iteration;
        let progress = iteration as f64 / recipe.iterations as f64;
        let label_smoothing = recipe.label_smoothing;
        let before_checkpoint = recipe.checkpoint_due(iteration + 1);
        let (method, gaussian) = (self.method.clone(), self.gaussian.clone());
        let part = 1.0 / self.replicas.count() as f32;
        let models = self.replicas.models(&self.model).into_iter();
        let states = std::mem::take(&mut self.states);
        let items = models.zip(shares.iter().cloned()).zip(states).enumerate();
        let items = items.map(|(i, item)| (replicas::key(key, i), item));
        let solved = self.replicas.each(items.collect(), move |device, item| {
            let (key, ((model, batch), mut state)) = item;
            let inner = Inner {
                model: &model,
                train,
                gaussian: gaussian.as_deref(),
                batch: &batch.on(device),
                label_smoothing,
                progress,
                before_checkpoint,
                key,
            };
            let outer = method.outer(inner, &mut state);
            let (found, gradient) = backward(&outer, &model, part);
            if let Some(gradient) = gradient {
                method.receive_input_gradient(&mut state, gradient);
            }
            (state, (outer, found))
        });
        let (states, solved) = solved.into_iter().unzip();
        self.states = states;
        solved
    }

    /// One step of the optimiser, down the mean over the shares. Its figures stay on the device.
    fn descend(&mut self, recipe: &Recipe, solved: Vec<(Outer, Found)>, rate: f64) -> Figures {
        let (outers, found): (Vec<_>, Vec<_>) = solved.into_iter().unzip();
        let (mut all, mut shares) = (Vec::new(), Vec::new());
        for Found { gradients, figures } in found {
            all.push(gradients);
            shares.push(figures);
        }
        let mut gradients = self.replicas.sum(all, &self.model);
        if let Some(sam) = recipe.sam {
            let sharpest = sam.ascend(&self.model, &gradients);
            let part = 1.0 / self.replicas.count() as f32;
            let models = self.replicas.models(&sharpest).into_iter();
            let items = models.zip(outers).collect();
            let all = self.replicas.each(items, move |_, (model, outer)| {
                backward(&outer, &model, part).0.gradients
            });
            gradients = self.replicas.sum(all, &sharpest);
        }
        let largest = recipe.optimizer.clip_norm();
        let model = self.model.clone();
        let (model, norm) = self.optimizer.step(rate, model, gradients, largest);
        self.model = model;

        let mut figures = mean(shares);
        // After the loss and the accuracy.
        figures.insert(2, ("gradient_norm", norm));
        figures
    }
}

/// The loss and its gradients, of the weights and of the images where the method asks for those.
/// `part` is the share's part of the batch.
fn backward(outer: &Outer, model: &Network, part: f32) -> (Found, Option<Tensor<4>>) {
    let loss = outer(model);
    let mut all = match part {
        1.0 => loss.value.clone(),
        part => loss.value.clone() * part,
    }
    .backward();
    let of_images = loss.input.and_then(|input| input.grad_remove(&mut all));
    let mut figures = vec![("loss", loss.value.inner()), ("accuracy", loss.accuracy)];
    figures.extend(loss.figures);
    let gradients = GradientsParams::from_grads(all, model);
    (Found { gradients, figures }, of_images)
}

/// The mean of each figure over the shares of a batch, which all have the same ones.
fn mean(shares: Vec<Figures>) -> Figures {
    let part = 1.0 / shares.len() as f32;
    let mut shares = shares.into_iter();
    let mut mean = shares.next().expect("there is a device");
    for figures in shares {
        for ((_, sum), (_, value)) in mean.iter_mut().zip(figures) {
            *sum = sum.clone() + value.to_device(&sum.device());
        }
    }
    if part < 1.0 {
        for (_, sum) in &mut mean {
            *sum = sum.clone() * part;
        }
    }
    mean
}

/// The method as each replica follows it.
///
/// # Panics
/// If [`replicas::check`] would have refused it.
fn of_replica(recipe: &Recipe, replicas: &Replicas) -> Method {
    let method = recipe.method.of_replica(replicas.count());
    method.expect("the devices were checked against the recipe")
}

/// The states, begun where a method with a state has none: at first, or where a run was packed without
/// its buffer.
fn with_beginnings(
    states: Vec<State>,
    method: &Method,
    recipe: &Recipe,
    train: &Images,
    gaussian: Option<&ClassGaussian>,
    key: Key,
) -> Vec<State> {
    let classes = recipe.data_set.classes();
    let begin = |(i, state)| match state {
        State::Stateless => method.init(train, classes, gaussian, replicas::key(key, i)),
        state => state,
    };
    states.into_iter().enumerate().map(begin).collect()
}

/// Read back at once: nothing else waits for the device.
fn read_back(figures: Figures) -> Vec<(&'static str, f32)> {
    let (names, values): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
    let values = to_host(Tensor::cat(values, 0));
    names.into_iter().zip(values).collect()
}

/// The class Gaussians of the training images, where the method starts chains there.
fn gaussian(
    recipe: &Recipe,
    train: &Images,
    device: &Device,
) -> Result<Option<Arc<ClassGaussian>>> {
    let Some(rank) = recipe.method.gaussian_rank() else {
        return Ok(None);
    };
    let classes = recipe.data_set.classes();
    let gaussian = class_gaussian(train, classes, rank, device)?;
    Ok(Some(Arc::new(gaussian)))
}

/// The model with tracked weights.
fn on_autodiff(recipe: &Recipe, weights: &Weights, device: &Device) -> Network {
    let device = device.clone().autodiff();
    let model = recipe
        .architecture()
        .init(recipe.initialization, Key::new(0), &device);
    parameters::load(model, weights).computing_in(recipe.precision)
}

/// Whole batches of an epoch.
pub(crate) fn batches(recipe: &Recipe, images: usize) -> usize {
    (images / recipe.batch_size).max(1)
}

/// An epoch, and the permutation of the images that it is.
struct Order {
    epoch: usize,
    images: Vec<usize>,
}

impl Order {
    fn of(recipe: &Recipe, epoch: usize, images: usize) -> Self {
        let key = Key::new(recipe.seed).stream("order").fold_in(epoch as u64);
        Self {
            epoch,
            images: key.permutation(images),
        }
    }
}
