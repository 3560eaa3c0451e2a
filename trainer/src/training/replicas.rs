//! Several devices that train one model: each has a replica of it and an equal share of every batch, as
//! Burn's `ExecutionStrategy::MultiDevice` with `MultiDeviceOptim::OptimMainDevice` has it. Gradients
//! come to the first device, which makes the steps.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::Scope,
};

use basin_shared::{Key, arrays::Array, tensors::Network};
use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::Device,
};

use crate::{
    methods::{Ascents, State},
    recipe::Recipe,
    training::replay_buffer::ReplayBuffer,
};

/// The devices of a run. Each but the first has a thread of its own, and the same one throughout: a
/// GPU's back end gives every thread that it meets a stream with memory of its own.
pub(crate) struct Replicas<'env> {
    devices: Vec<Device>,
    /// The threads of all devices but the first.
    threads: Vec<Sender<Task<'env>>>,
}

type Task<'env> = Box<dyn FnOnce() + Send + 'env>;

/// Why the devices cannot share a run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--devices names {devices} devices, and {name} is {found}: expected a multiple of {devices}; name \
     another number of devices, or change it with --set {name}={multiple}"
)]
pub(crate) struct Undivided {
    devices: usize,
    name: &'static str,
    found: usize,
    /// One that would do.
    multiple: usize,
}

impl<'env> Replicas<'env> {
    /// One device, whose work is done by whoever asks for it.
    pub(crate) fn single(device: &Device) -> Self {
        Self {
            devices: vec![device.clone()],
            threads: Vec::new(),
        }
    }

    /// Starts the threads of all devices but the first; they end when this value is dropped.
    pub(crate) fn start<'scope>(devices: &[Device], scope: &'scope Scope<'scope, 'env>) -> Self {
        let threads = devices[1..].iter().map(|_| {
            let (sender, receiver): (_, Receiver<Task<'env>>) = channel();
            scope.spawn(move || receiver.into_iter().for_each(|task| task()));
            sender
        });
        Self {
            threads: threads.collect(),
            devices: devices.to_vec(),
        }
    }

    /// The device that makes the steps.
    pub(crate) fn first(&self) -> &Device {
        &self.devices[0]
    }

    pub(crate) fn count(&self) -> usize {
        self.devices.len()
    }

    /// A model for each device: the model itself, and copies with running statistics of their own.
    /// (A clone shares those with the model, and replicas would change them under each other.) As in
    /// PyTorch's distributed training, the running statistics that stay are those of the first device.
    pub(crate) fn models(&self, model: &Network) -> Vec<Network> {
        let copy = |device| model.valid().to_device(device).train();
        let copies = self.devices[1..].iter().map(copy);
        std::iter::once(model.clone()).chain(copies).collect()
    }

    /// The sum of the gradients of every device, on the first.
    pub(crate) fn sum(&self, gradients: Vec<GradientsParams>, model: &Network) -> GradientsParams {
        let mut sum = GradientsAccumulator::new();
        for of_one in gradients {
            sum.accumulate(model, of_one.to_device(&self.devices[0], model));
        }
        sum.grads()
    }

    /// Does the work on each device, all at once, with an item for each; returns the results in the
    /// order of the devices.
    ///
    /// # Panics
    /// If there is not one item for each device, or if the work panics on one.
    pub(crate) fn each<I, O>(
        &self,
        items: Vec<I>,
        work: impl Fn(&Device, I) -> O + Clone + Send + 'env,
    ) -> Vec<O>
    where
        I: Send + 'env,
        O: Send + 'env,
    {
        assert_eq!(items.len(), self.count(), "an item for each device");
        let mut items = items.into_iter();
        let first = items.next().expect("there is a device");
        let further = self.threads.iter().zip(&self.devices[1..]).zip(items);
        let results: Vec<Receiver<O>> = further
            .map(|((thread, device), item)| {
                let (sender, result) = channel();
                let (work, device) = (work.clone(), device.clone());
                let task = move || {
                    // Where the receiver is gone the run is ending.
                    let _ = sender.send(work(&device, item));
                };
                thread.send(Box::new(task)).expect("its thread waits");
                result
            })
            .collect();
        let results = results.into_iter();
        std::iter::once(work(&self.devices[0], first))
            .chain(results.map(|result| result.recv().expect("the work ended on every device")))
            .collect()
    }
}

/// Checks that so many devices can share a run of this recipe.
///
/// # Errors
/// The first setting that cannot be dealt out equally.
pub(crate) fn check(recipe: &Recipe, devices: usize) -> Result<(), Undivided> {
    let undivided = |(name, found): (&'static str, usize)| Undivided {
        devices,
        name,
        found,
        multiple: found.next_multiple_of(devices),
    };
    if !recipe.batch_size.is_multiple_of(devices) {
        return Err(undivided(("batch_size", recipe.batch_size)));
    }
    recipe
        .method
        .of_replica(devices)
        .map(|_| ())
        .map_err(undivided)
}

/// The key of a replica under that of all of them. The first has the latter: what one device draws.
pub(crate) fn key(key: Key, replica: usize) -> Key {
    match replica {
        0 => key,
        further => key.stream("replicas").fold_in(further as u64),
    }
}

/// The states of so many replicas, made of those of another number of them: chains are dealt out, a
/// perturbation of the batch is cut anew (or begun anew, where the batch had another size), and what is
/// measured is averaged.
pub(crate) fn deal(states: Vec<State>, replicas: usize) -> Vec<State> {
    if states.len() == replicas {
        return states;
    }
    let before = states.len();
    let (mut buffers, mut perturbations) = (Vec::new(), Vec::new());
    let (mut accuracies, mut ascents) = (Vec::new(), Vec::new());
    for state in states {
        match state {
            State::Stateless => {}
            State::Replay(buffer) => buffers.push(buffer),
            State::Perturbation(delta) => perturbations.push(delta),
            State::Robust(accuracy) => accuracies.push(accuracy),
            State::Ascents(of_one) => ascents.push(of_one),
        }
    }
    let all = |state: State| vec![state; replicas];
    if !buffers.is_empty() {
        let dealt = ReplayBuffer::deal(&buffers, replicas).into_iter();
        dealt.map(State::Replay).collect()
    } else if !perturbations.is_empty() {
        match cut(perturbations, replicas) {
            Some(dealt) => dealt.into_iter().map(State::Perturbation).collect(),
            None => all(State::Stateless),
        }
    } else if !accuracies.is_empty() {
        all(State::Robust(
            accuracies.iter().sum::<f32>() / before as f32,
        ))
    } else if !ascents.is_empty() {
        let sum = |count: fn(&Ascents) -> usize| ascents.iter().map(count).sum::<usize>();
        all(State::Ascents(Ascents {
            steps: sum(|of_one| of_one.steps) / before,
            auc_sum: ascents.iter().map(|of_one| of_one.auc_sum).sum::<f32>() / replicas as f32,
            images: sum(|of_one| of_one.images) / replicas,
        }))
    } else {
        all(State::Stateless)
    }
}

/// Arrays joined and cut into so many along the first dimension; none where they do not divide it.
fn cut(arrays: Vec<Array>, count: usize) -> Option<Vec<Array>> {
    let rows: usize = arrays.iter().map(|array| array.shape[0]).sum();
    if !rows.is_multiple_of(count) {
        return None;
    }
    let mut shape = arrays[0].shape.clone();
    shape[0] = rows / count;
    let values: Vec<f32> = arrays.into_iter().flat_map(|array| array.values).collect();
    let parts = values.chunks_exact(values.len() / count);
    let array = |values: &[f32]| Array {
        shape: shape.clone(),
        values: values.to_vec(),
    };
    Some(parts.map(array).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_each_device_in_order() {
        let devices = vec![Device::flex(); 3];
        let factor = 10;
        std::thread::scope(|scope| {
            let replicas = Replicas::start(&devices, scope);
            for _ in 0..3 {
                let products = replicas.each(vec![1, 2, 3], |_, item| item * factor);
                assert_eq!(products, [10, 20, 30]);
            }
            let thread = |_: &Device, ()| std::thread::current().id();
            let threads = replicas.each(vec![(); 3], thread);
            assert_eq!(threads[0], std::thread::current().id());
            assert_ne!(threads[1], threads[2]);
            assert_eq!(threads, replicas.each(vec![(); 3], thread));
        });
        assert_eq!(
            Replicas::single(&devices[0]).each(vec![2], |_, item| item + 1),
            [3]
        );
    }

    #[test]
    fn the_states_of_one_number_of_replicas_are_dealt_out_to_another() {
        let buffer = |labels: &[u8]| {
            let pixels = labels.iter().map(|&label| f32::from(label) / 8.0).collect();
            State::Replay(ReplayBuffer::new(pixels, labels.to_vec(), [1, 1, 1]))
        };
        let delta = |values: &[f32]| {
            State::Perturbation(Array {
                shape: vec![values.len() / 2, 1, 1, 2],
                values: values.to_vec(),
            })
        };
        let ascents = |steps, auc_sum, images| {
            State::Ascents(Ascents {
                steps,
                auc_sum,
                images,
            })
        };
        for (before, after) in [
            (
                vec![buffer(&[0, 1, 2, 3])],
                vec![buffer(&[0, 2]), buffer(&[1, 3])],
            ),
            (
                vec![buffer(&[0, 2]), buffer(&[1, 3])],
                vec![buffer(&[0, 2, 1, 3])],
            ),
            (
                vec![buffer(&[0]), buffer(&[1])],
                vec![buffer(&[0]), buffer(&[1])],
            ),
            (
                vec![delta(&[0.0, 1.0, 2.0, 3.0])],
                vec![delta(&[0.0, 1.0]), delta(&[2.0, 3.0])],
            ),
            (
                vec![State::Robust(0.25), State::Robust(0.75)],
                vec![State::Robust(0.5)],
            ),
            (
                vec![ascents(4, 1.0, 8), ascents(4, 3.0, 8)],
                vec![ascents(4, 4.0, 16)],
            ),
            (vec![State::Stateless], vec![State::Stateless; 4]),
        ] {
            assert_eq!(deal(before, after.len()), after);
        }
    }
}
