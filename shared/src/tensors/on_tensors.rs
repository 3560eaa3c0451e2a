//! Classifiers, attacks and chains of images that are tensors: read, and given back on their own device. Native
//! only, as it waits for the device.

use std::cell::Cell;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{attacks::Attack, classifier::Classifier, energy::Objective, key::Key, samplers::Sgld};

/// How often numbers went from the host to a device and back on this thread, by the functions of this file.
///
/// An upload delays the host, a read-back makes it wait until the device has done all that it was told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// From the host to a device.
    pub uploads: usize,
    /// From a device to the host.
    pub read_backs: usize,
}

thread_local! {
    static TRANSFERS: Cell<Transfers> = const { Cell::new(Transfers { uploads: 0, read_backs: 0 }) };
}

impl Transfers {
    /// Does the work, and counts those that it took.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let before = TRANSFERS.get();
        let done = work();
        let after = TRANSFERS.get();
        let taken = Self {
            uploads: after.uploads - before.uploads,
            read_backs: after.read_backs - before.read_backs,
        };
        (done, taken)
    }

    fn count(uploads: usize, read_backs: usize) {
        let so_far = TRANSFERS.get();
        TRANSFERS.set(Self {
            uploads: so_far.uploads + uploads,
            read_backs: so_far.read_backs + read_backs,
        });
    }
}

/// The numbers of a tensor, row by row.
pub fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    Transfers::count(0, 1);
    let data = x.into_data();
    data.try_to_vec().expect("numbers are single precision")
}

/// Numbers as a tensor.
pub fn from_host<const D: usize>(x: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Transfers::count(1, 0);
    Tensor::from_data(TensorData::new(x, shape), device)
}

/// Whole numbers, classes or places, as a tensor.
pub fn whole_from_host(numbers: &[usize], device: &Device) -> Tensor<1, Int> {
    Transfers::count(1, 0);
    let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

/// A [`Classifier`] that is asked with tensors; one that is on their device may do so without the host.
pub trait OnTensors: Classifier + Sized {
    /// The logits f(x). `[batch, channels, height, width]` -> `[batch, classes]`
    fn logits_of(&self, x: Tensor<4>) -> Tensor<2> {
        logits_of(self, x)
    }

    /// f(x), and the gradient of each image's objective with respect to it.
    fn logits_and_gradient(
        &self,
        x: Tensor<4>,
        objective: &dyn Objective,
    ) -> (Tensor<2>, Tensor<4>) {
        logits_and_gradient(self, x, objective)
    }

    /// x_adv for the images `x`, `[batch, channels, height, width]`.
    fn attacked(&self, attack: &Attack, x: Tensor<4>, key: Key) -> Tensor<4> {
        attacked(self, attack, x, key)
    }

    /// The images after so many steps of a chain from rest, where the network's device takes them by itself.
    fn sampled(
        &self,
        sgld: &Sgld,
        objective: &dyn Objective,
        x: Tensor<4>,
        key: Key,
        steps: usize,
    ) -> Option<Tensor<4>> {
        let _ = (sgld, objective, x, key, steps);
        None
    }
}

/// See [`OnTensors::logits_of`]; by way of the host.
pub(super) fn logits_of(model: &impl Classifier, x: Tensor<4>) -> Tensor<2> {
    let ([batch, ..], device) = (x.dims(), x.device());
    let logits = model.logits(&to_host(x), batch);
    let classes = logits.len() / batch.max(1);
    from_host(logits, [batch, classes], &device)
}

/// See [`OnTensors::logits_and_gradient`]; by way of the host.
pub(super) fn logits_and_gradient(
    model: &impl Classifier,
    x: Tensor<4>,
    objective: &dyn Objective,
) -> (Tensor<2>, Tensor<4>) {
    let (shape, device) = (x.dims(), x.device());
    let [batch, ..] = shape;
    let found = model.evaluate(&to_host(x), batch, objective);
    let classes = found.logits.len() / batch.max(1);
    (
        from_host(found.logits, [batch, classes], &device),
        from_host(found.gradient, shape, &device),
    )
}

/// See [`OnTensors::attacked`]; by way of the host.
pub(super) fn attacked(
    model: &impl Classifier,
    attack: &Attack,
    x: Tensor<4>,
    key: Key,
) -> Tensor<4> {
    let (shape, device) = (x.dims(), x.device());
    let x_adv = attack.run(model, &to_host(x), shape[0], key);
    from_host(x_adv, shape, &device)
}

impl Attack<'_> {
    /// x_adv for the images `x`, `[batch, channels, height, width]`.
    pub fn on_tensors(&self, model: &impl OnTensors, x: Tensor<4>, key: Key) -> Tensor<4> {
        model.attacked(self, x, key)
    }
}
