//! The optimisers, as recipes name them: Burn's rules, one parameter at a time.
//!
//! Burn's `ModuleOptimizer` would restore its state on the process's default device, which may be one that
//! nobody asked for, or that is not there. Here the caller says where.
//!
//! On a GPU, where each of a rule's operations would be a launch of a kernel of its own, they are Basin's kernels
//! (`descent.rs`).

use std::collections::BTreeMap;

use basin_shared::{
    arrays::{Array, Weights},
    tensors::{Network, parameters::Path},
};
use burn::{
    module::{Module, ModuleMapper, Param},
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

impl Incomplete {
    pub(super) fn of(parameter: &str) -> Self {
        Self {
            parameter: parameter.to_owned(),
        }
    }
}

/// An optimiser with these settings for the parameters on a device.
pub(crate) fn optimizer(recipe: &OptimizerRecipe, device: &Device) -> Box<dyn Optimizer> {
    #[cfg(feature = "cubecl")]
    if basin_shared::tensors::is_cube(device) {
        return Box::new(super::descent::Descent::new(recipe));
    }
    #[cfg(not(feature = "cubecl"))]
    let _ = device;
    match *recipe {
        OptimizerRecipe::Sgd {
            momentum,
            nesterov,
            weight_decay,
            ..
        } => Steps::of(
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
            AdamWConfig::new()
                .with_beta_1(beta_1)
                .with_beta_2(beta_2)
                .with_epsilon(epsilon)
                .with_weight_decay(weight_decay)
                .build(),
        ),
    }
}

/// A rule and its state for each parameter, flat.
struct Steps<R: Rule> {
    rule: R,
    states: BTreeMap<String, R::State<1>>,
}

impl<R: Rule> Steps<R> {
    fn of(rule: R) -> Box<dyn Optimizer> {
        Box::new(Self {
            rule,
            states: BTreeMap::new(),
        })
    }
}

impl<R: Rule> Optimizer for Steps<R> {
    fn step(
        &mut self,
        rate: f64,
        model: Network,
        gradients: GradientsParams,
        largest: f32,
    ) -> (Network, Tensor<1>) {
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
        OptimizerState {
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
        }
    }

    fn restore(
        &mut self,
        state: OptimizerState,
        parameters: &Weights,
        device: &Device,
    ) -> Result<(), Incomplete> {
        let counts = state.counts.into_iter();
        let mut source = StateSource::new(counts.map(|(name, n)| (name, n.into())).collect());
        for (name, array) in state.arrays {
            source.insert_tensor(name, array.to_data());
        }
        for parameter in parameters.keys() {
            // One that has had no gradient has none, running statistics never.
            if !source.has_under(parameter) {
                continue;
            }
            let state = RecordState::state_unflatten(parameter, &mut source, device);
            let state = state.ok_or_else(|| Incomplete::of(parameter))?;
            self.states.insert(parameter.clone(), state);
        }
        Ok(())
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

/// Of each rule one, and one without momentum.
#[cfg(test)]
pub(crate) fn every_rule() -> [OptimizerRecipe; 4] {
    let (beta_1, beta_2, epsilon, weight_decay, clip_norm) = (0.9, 0.99, 1e-8, 0.01, 1.0);
    [
        OptimizerRecipe::Sgd {
            momentum: 0.9,
            nesterov: true,
            weight_decay,
            clip_norm,
        },
        OptimizerRecipe::Sgd {
            momentum: 0.0,
            nesterov: false,
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
    ]
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
        for recipe in every_rule() {
            let device = Device::flex();
            let mut model = network(&device.clone().autodiff());
            let mut alone = optimizer(&recipe, &device);
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
            let mut restored = optimizer(&recipe, &device);
            restored.restore(state.clone(), &weights, &device).unwrap();
            assert_eq!(restored.state(), state);
            assert_eq!(next(&mut restored), expected);
            assert_eq!(restored.state(), alone.state());
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
        let mut adam = optimizer(&recipe, &device);
        let gradients = ones(&model);
        let (model, _) = adam.step(0.1, model, gradients, f32::INFINITY);
        let mut state = adam.state();
        let lost = state.arrays.keys().find(|name| name.ends_with("moment_2"));
        let lost = lost.unwrap().clone();
        state.arrays.remove(&lost);
        let weights = basin_shared::tensors::parameters::collect(&model.valid());
        let parameter = lost.strip_suffix(".momentum.moment_2").unwrap();
        let expected = format!("the optimiser's state of `{parameter}` is not whole");
        let mut other = optimizer(&recipe, &device);
        let error = other.restore(state, &weights, &device);
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
