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
/// weights. All parameters at once where they are to be taken in a row, as on a GPU; to the same numbers.
pub(crate) fn update(average: Network, model: &Network, decay: f32, in_a_row: bool) -> Network {
    let blend = |average: Tensor<1>, value: Tensor<1>| average * decay + value * (1.0 - decay);
    let (averages, values) = (flat(&average), flat(model));
    let blended = match in_a_row {
        true => {
            let lengths: Vec<_> = averages.iter().map(|part| part.dims()[0]).collect();
            let row = blend(Tensor::cat(averages, 0), Tensor::cat(values, 0));
            row.split_with_sizes(lengths, 0)
        }
        false => {
            let pairs = averages.into_iter().zip(values);
            pairs
                .map(|(average, value)| blend(average, value))
                .collect()
        }
    };
    let mut blended = Blended(blended);
    blended.0.reverse();
    average.map(&mut blended)
}

/// The parameters in visiting order, each flat.
fn flat(network: &Network) -> Vec<Tensor<1>> {
    let mut values = Values(Vec::new());
    network.visit(&mut values);
    values.0
}

struct Values(Vec<Tensor<1>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().inner().flatten::<1>(0, D - 1));
    }
}

/// What the parameters become, the first one last.
struct Blended(Vec<Tensor<1>>);

impl ModuleMapper for Blended {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = self.0.pop().expect("both models have the same parameters");
        param.map(|average| value.reshape(average.dims()))
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::tensors::parameters;
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    #[test]
    fn in_a_row_is_the_same() {
        let device = Device::flex();
        let model = fixture::network_with_batch_norm(&device.clone().autodiff());
        let mut other = parameters::collect(&model.valid());
        for array in other.values_mut() {
            array
                .values
                .iter_mut()
                .for_each(|value| *value = 1.0 - *value);
        }
        let of = |in_a_row| {
            let average = parameters::load(fixture::network_with_batch_norm(&device), &other);
            let average = update(average, &model, 0.25, in_a_row);
            parameters::collect(&update(average, &model, 0.75, in_a_row))
        };
        assert_eq!(of(true), of(false));
        assert_ne!(of(true), other);
    }
}
