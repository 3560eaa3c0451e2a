//! Exponential moving average of the weights.

use basin_shared::tensors::Network;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::Tensor,
};

/// The decay of update t of an average that began with random weights: min(decay, (1 + t) / (10 + t)),
/// so that they are forgotten soon.
pub(crate) fn growing_decay(decay: f32, update: usize) -> f32 {
    decay.min((1.0 + update as f32) / (10.0 + update as f32))
}

/// average ← d · average + (1 − d) · model, with the decay d. Running statistics are averaged like
/// weights.
pub(crate) fn update(average: Network, model: &Network, decay: f32) -> Network {
    let mut values = Values(Vec::new());
    model.visit(&mut values);
    values.0.reverse();
    average.map(&mut Blend {
        values: values.0,
        decay,
    })
}

/// The same of one parameter.
fn blend(average: Tensor<1>, value: Tensor<1>, decay: f32) -> Tensor<1> {
    #[cfg(feature = "cubecl")]
    if basin_shared::tensors::is_cube(&average.device()) {
        return basin_shared::tensors::descent::blend(average, value, decay);
    }
    average * decay + value * (1.0 - decay)
}

/// The model's parameters in visiting order, each flat.
struct Values(Vec<Tensor<1>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().inner().flatten::<1>(0, D - 1));
    }
}

/// Blends each parameter of the average with the model's, of which the first is the last of the list.
struct Blend {
    values: Vec<Tensor<1>>,
    decay: f32,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = self.values.pop();
        let value = value.expect("both models have the same parameters");
        param.map(|average| {
            let shape = average.dims();
            blend(average.flatten(0, D - 1), value, self.decay).reshape(shape)
        })
    }
}
