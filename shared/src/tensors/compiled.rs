//! The engine as a [`Classifier`] of tensors.

use burn::tensor::{Int, Tensor, TensorData};

use crate::engine::cpu::Engine;
#[cfg(feature = "flex")]
use crate::engine::cpu::amx::Amx;
use crate::{
    energy::EnergyKind,
    engine::plan::Plan,
    tensors::{classifier::Classifier, energy::Energy},
};

/// A network compiled for the processor, in the form that attacks and samplers take. Tensors are
/// read and given back on their own device.
#[derive(Debug)]
pub struct Compiled(Engine);

impl Compiled {
    /// Packs the weights of a plan.
    pub fn new(plan: Plan) -> Self {
        Self(Engine::new(plan))
    }

    /// The same with the factors of convolutions rounded to bf16.
    #[cfg(feature = "flex")]
    pub(crate) fn in_bf16(plan: Plan, amx: Amx) -> Self {
        Self(Engine::in_bf16(plan, amx))
    }
}

impl Classifier for Compiled {
    fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        let [batch, ..] = x.dims();
        let device = x.device();
        let logits = self.0.logits(&numbers(x), batch);
        let shape = [batch, self.0.plan().classes()];
        Tensor::from_data(TensorData::new(logits, shape), &device)
    }

    fn logits_and_gradient(&self, x: Tensor<4>, energy: &Energy) -> (Tensor<2>, Tensor<4>) {
        let (device, shape) = (x.device(), x.dims());
        let [batch, ..] = shape;
        let x = numbers(x);
        let evaluate = |kind, classes: Vec<usize>| self.0.evaluate(&x, &classes, kind);
        let found = match energy {
            Energy::Joint(y) => evaluate(EnergyKind::Joint, classes(y)),
            Energy::Marginal => evaluate(EnergyKind::Marginal, vec![0; batch]),
            Energy::Conditional(y) => evaluate(EnergyKind::Conditional, classes(y)),
            Energy::Expected(p) => self.0.evaluate_expected(&x, &numbers(p.clone())),
        };
        let logits = TensorData::new(found.logits, [batch, self.0.plan().classes()]);
        let gradient = TensorData::new(found.gradient, shape);
        (
            Tensor::from_data(logits, &device),
            Tensor::from_data(gradient, &device),
        )
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_to_vec().expect("numbers are single precision")
}

fn classes(y: &Tensor<1, Int>) -> Vec<usize> {
    y.to_data()
        .iter::<i64>()
        .map(|class| class as usize)
        .collect()
}
