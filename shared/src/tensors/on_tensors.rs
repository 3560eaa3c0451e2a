//! Classifiers, attacks and chains of images that are tensors: read, and given back on their own device. Native
//! only, as it waits for the device.

use burn::tensor::{Device, Tensor, TensorData};

use crate::{attacks::Attack, classifier::Classifier, energy::Objective, key::Key};

/// The numbers of a tensor, row by row.
pub fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let data = x.into_data();
    data.try_to_vec().expect("numbers are single precision")
}

/// Numbers as a tensor.
pub fn from_host<const D: usize>(x: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(x, shape), device)
}

/// A [`Classifier`] that is asked with tensors.
pub trait OnTensors: Classifier {
    /// The logits f(x). `[batch, channels, height, width]` -> `[batch, classes]`
    fn logits_of(&self, x: Tensor<4>) -> Tensor<2> {
        let ([batch, ..], device) = (x.dims(), x.device());
        let logits = self.logits(&to_host(x), batch);
        let classes = logits.len() / batch.max(1);
        from_host(logits, [batch, classes], &device)
    }

    /// f(x), and the gradient of each image's objective with respect to it.
    fn logits_and_gradient(
        &self,
        x: Tensor<4>,
        objective: &dyn Objective,
    ) -> (Tensor<2>, Tensor<4>) {
        let (shape, device) = (x.dims(), x.device());
        let [batch, ..] = shape;
        let found = self.evaluate(&to_host(x), batch, objective);
        let classes = found.logits.len() / batch.max(1);
        (
            from_host(found.logits, [batch, classes], &device),
            from_host(found.gradient, shape, &device),
        )
    }
}

impl<C: Classifier + ?Sized> OnTensors for C {}

impl Attack<'_> {
    /// x_adv for the images `x`, `[batch, channels, height, width]`.
    pub fn on_tensors(&self, model: &impl Classifier, x: Tensor<4>, key: Key) -> Tensor<4> {
        let (shape, device) = (x.dims(), x.device());
        let x_adv = self.run(model, &to_host(x), shape[0], key);
        from_host(x_adv, shape, &device)
    }
}
