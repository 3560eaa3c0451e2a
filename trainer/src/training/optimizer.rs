//! The optimisers, as recipes name them: Burn's rules, one parameter at a time.
//!
//! Burn's `ModuleOptimizer` would restore its state on the process's default device, which may be one that
//! nobody asked for, or that is not there. Here the caller says where.
//!
//! On a GPU each operation on a parameter is a launch, however few numbers it has, and kernels differ by the
//! sizes of what they take. There all parameters make their step in one row: the rules treat every number alike,
//! so that the numbers are the same.

use std::collections::{BTreeMap, BTreeSet};

use basin_shared::{
    arrays::{Array, Weights},
    tensors::{Network, parameters::Path},
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, Optimizer as Rule, RecordState, SgdConfig,
        StateSink, StateSource, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{Device, Tensor},
};

use super::gradient_norm;
use crate::recipe::OptimizerRecipe;

/// Steps down gradients, with a state for each parameter.
pub(crate) trait Optimizer: Send {
    /// The model after a step down `gradients`, which are first scaled so that their joint L2 norm is at most
    /// `largest`, and that norm, `[1]`; parameters without a gradient stay.
    fn step(
        &mut self,
        rate: f64,
        model: Network,
        gradients: GradientsParams,
        largest: f32,
    ) -> (Network, Tensor<1>);

    /// The state, read back to the host.
    fn state(&self) -> OptimizerState;

    /// Goes on from a state of these parameters, on their `device`.
    ///
    /// # Errors
    /// If a parameter's state is there in part; its name.
    fn restore(
        &mut self,
        state: OptimizerState,
        parameters: &Weights,
        device: &Device,
    ) -> Result<(), Incomplete>;
}

/// The numbers of an optimiser: arrays and counts, `PARAMETER.FIELD` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OptimizerState {
    /// Moments, flat.
    pub arrays: Weights,
    /// Steps so far.
    pub counts: BTreeMap<String, u64>,
}

/// A state that lacks something.
#[derive(Debug, thiserror::Error)]
#[error("the optimiser's state of `{parameter}` is not whole")]
pub(crate) struct Incomplete {
    parameter: String,
}

/// An optimiser with these settings, which takes all parameters in a row where that is told.
pub(crate) fn optimizer(recipe: &OptimizerRecipe, in_a_row: bool) -> Box<dyn Optimizer> {
    match *recipe {
        OptimizerRecipe::Sgd {
            momentum,
            nesterov,
            weight_decay,
            ..
        } => Steps::of(
            in_a_row,
            SgdConfig::new()
                .with_momentum(Some(
                    MomentumConfig::new()
                        .with_momentum(momentum)
                        .with_dampening(0.0)
                        .with_nesterov(nesterov),
                ))
                .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
                .build(),
        ),
        OptimizerRecipe::Adam {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => Steps::of(
            in_a_row,
            AdamConfig::new()
                .with_beta_1(beta_1)
                .with_beta_2(beta_2)
                .with_epsilon(epsilon)
                .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
                .build(),
        ),
        OptimizerRecipe::AdamW {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => Steps::of(
            in_a_row,
            AdamWConfig::new()
                .with_beta_1(beta_1)
                .with_beta_2(beta_2)
                .with_epsilon(epsilon)
                .with_weight_decay(weight_decay)
                .build(),
        ),
    }
}

/// A rule, which treats every number alike, and its state for each parameter, flat.
struct Steps<R: Rule> {
    rule: R,
    in_a_row: bool,
    /// One by the name of [`ROW`] where the parameters are in a row.
    states: BTreeMap<String, R::State<1>>,
    /// The parameters of the row, with their counts of numbers.
    row: Vec<(String, usize)>,
}

/// The name of the state of all parameters.
const ROW: &str = "row";

impl<R: Rule> Steps<R> {
    fn of(in_a_row: bool, rule: R) -> Box<dyn Optimizer> {
        Box::new(Self {
            rule,
            in_a_row,
            states: BTreeMap::new(),
            row: Vec::new(),
        })
    }

    /// A step of all parameters at once.
    fn step_in_a_row(
        &mut self,
        rate: f64,
        model: Network,
        gradients: GradientsParams,
        largest: f32,
    ) -> (Network, Tensor<1>) {
        let mut found = Flat {
            gradients,
            path: Path::default(),
            of: BTreeMap::new(),
        };
        model.visit(&mut found);
        let (names, pairs): (Vec<_>, Vec<_>) = found.of.into_iter().unzip();
        let (weights, gradients): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        self.row = names
            .into_iter()
            .zip(weights.iter().map(|weight| weight.dims()[0]))
            .collect();
        let gradient = Tensor::cat(gradients, 0);
        let norm = gradient.clone().powf_scalar(2.0).sum().sqrt();
        let gradient = gradient * gradient_norm::factor(&norm, largest);
        let weights = Tensor::cat(weights, 0);
        let state = self.states.remove(ROW);
        let (weights, state) = self.rule.step(rate, weights, gradient, state);
        self.states.extend(state.map(|state| (ROW.into(), state)));
        let mut begin = 0;
        let mut part = |(name, count): &(String, usize)| {
            let part = weights.clone().narrow(0, begin, *count);
            begin += count;
            (name.clone(), part)
        };
        let model = model.map(&mut Replace {
            path: Path::default(),
            by: self.row.iter().map(&mut part).collect(),
        });
        (model, norm)
    }
}

/// Every parameter that has a gradient and its gradient, flat, by its name.
struct Flat {
    gradients: GradientsParams,
    path: Path,
    of: BTreeMap<String, (Tensor<1>, Tensor<1>)>,
}

impl ModuleVisitor for Flat {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let weight = param.val().inner().flatten(0, D - 1);
            let pair = (weight, gradient.flatten(0, D - 1));
            self.of.insert(self.path.name(), pair);
        }
    }
}

/// Puts numbers into the parameters of their names.
struct Replace {
    path: Path,
    by: BTreeMap<String, Tensor<1>>,
}

impl ModuleMapper for Replace {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(numbers) = self.by.remove(&self.path.name()) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let (shape, tracked) = (tensor.dims(), tensor.is_require_grad());
        let tensor = Tensor::from_inner(numbers.reshape(shape)).set_require_grad(tracked);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// The state of a row from those of its parameters: arrays one behind the other, counts as they are.
fn joined(state: OptimizerState, row: &[(String, usize)]) -> OptimizerState {
    let mut joined = OptimizerState::default();
    for (parameter, _) in row {
        let of = |name: &String| Some(format!("{ROW}{}", name.strip_prefix(parameter)?));
        for (name, array) in &state.arrays {
            if let Some(name) = of(name).filter(|name| name.starts_with("row.")) {
                let whole = joined.arrays.entry(name).or_insert_with(|| Array {
                    shape: vec![0],
                    values: Vec::new(),
                });
                whole.values.extend_from_slice(&array.values);
                whole.shape = vec![whole.values.len()];
            }
        }
        for (name, count) in &state.counts {
            if let Some(name) = of(name).filter(|name| name.starts_with("row.")) {
                joined.counts.insert(name, *count);
            }
        }
    }
    joined
}

/// The states of the parameters from that of their row.
fn parted(state: OptimizerState, row: &[(String, usize)]) -> OptimizerState {
    let mut parted = OptimizerState::default();
    let suffix = |name: &str| name.strip_prefix(ROW).map(str::to_owned);
    for (name, array) in &state.arrays {
        let suffix = suffix(name).expect("there is a row alone");
        let mut values = array.values.as_slice();
        for (parameter, count) in row {
            let (part, rest) = values.split_at(*count);
            values = rest;
            let part = Array {
                shape: vec![*count],
                values: part.to_vec(),
            };
            parted.arrays.insert(format!("{parameter}{suffix}"), part);
        }
    }
    for (name, count) in &state.counts {
        let suffix = suffix(name).expect("there is a row alone");
        for (parameter, _) in row {
            parted.counts.insert(format!("{parameter}{suffix}"), *count);
        }
    }
    parted
}

impl<R: Rule> Optimizer for Steps<R> {
    fn step(
        &mut self,
        rate: f64,
        model: Network,
        gradients: GradientsParams,
        largest: f32,
    ) -> (Network, Tensor<1>) {
        if self.in_a_row {
            return self.step_in_a_row(rate, model, gradients, largest);
        }
        let (gradients, norm) = gradient_norm::clip(gradients, &model, largest);
        let model = model.map(&mut Descend {
            steps: self,
            rate,
            gradients,
            path: Path::default(),
        });
        (model, norm)
    }

    fn state(&self) -> OptimizerState {
        let mut sink = StateSink::default();
        for (name, state) in &self.states {
            state.state_flatten(name, &mut sink);
        }
        let tensors = sink.tensors.into_iter();
        let scalars = sink.scalars.into_iter();
        let state = OptimizerState {
            arrays: tensors
                .map(|(name, data)| (name, Array::from(data)))
                .collect(),
            counts: scalars
                .map(|(name, scalar)| {
                    let count = scalar.try_into();
                    (
                        name,
                        count.expect("these optimisers count their steps alone"),
                    )
                })
                .collect(),
        };
        match self.in_a_row {
            true => parted(state, &self.row),
            false => state,
        }
    }

    fn restore(
        &mut self,
        state: OptimizerState,
        parameters: &Weights,
        device: &Device,
    ) -> Result<(), Incomplete> {
        let (state, names) = match self.in_a_row {
            false => (state, parameters.keys().cloned().collect()),
            true => {
                whole(&state, parameters)?;
                // What has a state, by its arrays or, as there may be none, by its counts.
                let has_state = |name: &&String| {
                    let of = format!("{name}.");
                    state
                        .arrays
                        .keys()
                        .chain(state.counts.keys())
                        .any(|key| key.starts_with(&of))
                };
                let count = |name: &String| parameters[name].values.len();
                let names = parameters.keys().filter(has_state);
                self.row = names.map(|name| (name.clone(), count(name))).collect();
                (joined(state, &self.row), vec![ROW.to_owned()])
            }
        };
        let counts = state.counts.into_iter();
        let mut source = StateSource::new(counts.map(|(name, n)| (name, n.into())).collect());
        for (name, array) in state.arrays {
            source.insert_tensor(name, array.to_data());
        }
        for parameter in &names {
            // One that has had no gradient has none, running statistics never.
            if !source.has_under(parameter) {
                continue;
            }
            let state = RecordState::state_unflatten(parameter, &mut source, device);
            let state = state.ok_or_else(|| Incomplete {
                parameter: parameter.clone(),
            })?;
            self.states.insert(parameter.clone(), state);
        }
        Ok(())
    }
}

/// That every parameter that has a part of a state has all parts that any has.
fn whole(state: &OptimizerState, parameters: &Weights) -> Result<(), Incomplete> {
    let keys = || state.arrays.keys().chain(state.counts.keys());
    let fields = |parameter: &str| -> BTreeSet<String> {
        let of = format!("{parameter}.");
        keys()
            .filter_map(|key| Some(key.strip_prefix(&of)?.to_owned()))
            .collect()
    };
    let all: Vec<_> = parameters.keys().map(|name| (name, fields(name))).collect();
    let most = all
        .iter()
        .map(|(_, fields)| fields.len())
        .max()
        .unwrap_or(0);
    let lacking = all
        .iter()
        .find(|(_, fields)| !fields.is_empty() && fields.len() < most);
    match lacking {
        Some((parameter, _)) => Err(Incomplete {
            parameter: (*parameter).clone(),
        }),
        None => Ok(()),
    }
}

struct Descend<'a, R: Rule> {
    steps: &'a mut Steps<R>,
    rate: f64,
    gradients: GradientsParams,
    path: Path,
}

impl<R: Rule> ModuleMapper for Descend<'_, R> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let name = self.path.name();
        let state = self.steps.states.remove(&name);
        let (id, tensor, mapper) = param.consume();
        let (shape, tracked) = (tensor.dims(), tensor.is_require_grad());
        let (tensor, state) = self.steps.rule.step(
            self.rate,
            tensor.inner().flatten::<1>(0, D - 1),
            gradient.flatten(0, D - 1),
            state,
        );
        self.steps.states.extend(state.map(|state| (name, state)));
        let tensor = Tensor::from_inner(tensor.reshape(shape)).set_require_grad(tracked);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::fixture::network;

    fn ones(model: &Network) -> GradientsParams {
        struct Ones(GradientsParams);
        impl burn::module::ModuleVisitor for Ones {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.register(param.id, param.val().inner().ones_like());
            }
        }
        let mut ones = Ones(GradientsParams::new());
        model.visit(&mut ones);
        ones.0
    }

    /// Every optimiser, restored after three steps, makes the fourth that it would have made, to the bit.
    #[test]
    fn a_restored_optimizer_goes_on() {
        let (beta_1, beta_2, epsilon, clip_norm) = (0.9, 0.99, 1e-8, 1.0);
        let weight_decay = 0.01;
        for recipe in [
            OptimizerRecipe::Sgd {
                momentum: 0.9,
                nesterov: true,
                weight_decay,
                clip_norm,
            },
            OptimizerRecipe::Adam {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                clip_norm,
            },
            OptimizerRecipe::AdamW {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                clip_norm,
            },
        ] {
            let device = Device::flex();
            let mut model = network(&device.clone().autodiff());
            let mut alone = optimizer(&recipe, false);
            for _ in 0..3 {
                let gradients = ones(&model);
                (model, _) = alone.step(0.1, model, gradients, f32::INFINITY);
            }
            let weights = basin_shared::tensors::parameters::collect(&model.valid());
            let state = alone.state();
            let next = |optimizer: &mut Box<dyn Optimizer>| {
                let gradients = ones(&model);
                let (model, _) = optimizer.step(0.1, model.clone(), gradients, f32::INFINITY);
                basin_shared::tensors::parameters::collect(&model.valid())
            };
            let expected = next(&mut alone);
            assert_ne!(expected, weights);
            // In a row or not, each goes on from the state of the other.
            for in_a_row in [false, true] {
                let mut restored = optimizer(&recipe, in_a_row);
                restored.restore(state.clone(), &weights, &device).unwrap();
                assert_eq!(restored.state(), state);
                assert_eq!(next(&mut restored), expected);
                assert_eq!(restored.state(), alone.state());
            }
        }
    }

    /// The norm is one sum rather than a sum of sums, so the numbers differ by its rounding alone.
    #[test]
    fn in_a_row_gradients_are_clipped_alike() {
        let recipe = OptimizerRecipe::Sgd {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 0.01,
            clip_norm: 1.0,
        };
        let model = network(&Device::flex().autodiff());
        let [alone, in_a_row] = [false, true].map(|in_a_row| {
            let gradients = ones(&model);
            let mut sgd = optimizer(&recipe, in_a_row);
            let (model, norm) = sgd.step(0.1, model.clone(), gradients, 1.0);
            let weights = basin_shared::tensors::parameters::collect(&model.valid());
            (weights, norm.into_scalar::<f32>())
        });
        assert!(alone.1 > 1.0 && (alone.1 - in_a_row.1).abs() < 1e-4 * alone.1);
        for (name, array) in &alone.0 {
            for (a, b) in array.values.iter().zip(&in_a_row.0[name].values) {
                assert!((a - b).abs() < 1e-6, "{name}: {a} alone, {b} in a row");
            }
        }
    }

    #[test]
    fn a_state_in_part_is_refused_by_its_parameter() {
        let device = Device::flex();
        let model = network(&device.clone().autodiff());
        let recipe = OptimizerRecipe::Adam {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
        };
        let mut adam = optimizer(&recipe, false);
        let gradients = ones(&model);
        let (model, _) = adam.step(0.1, model, gradients, f32::INFINITY);
        let mut state = adam.state();
        let lost = state.arrays.keys().find(|name| name.ends_with("moment_2"));
        let lost = lost.unwrap().clone();
        state.arrays.remove(&lost);
        let weights = basin_shared::tensors::parameters::collect(&model.valid());
        let parameter = lost.strip_suffix(".momentum.moment_2").unwrap();
        let expected = format!("the optimiser's state of `{parameter}` is not whole");
        for in_a_row in [false, true] {
            let mut other = optimizer(&recipe, in_a_row);
            let error = other.restore(state.clone(), &weights, &device);
            assert_eq!(error.unwrap_err().to_string(), expected);
        }
    }
}
