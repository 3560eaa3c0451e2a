//! The optimisers on a GPU, by Basin's own kernels ([`basin_shared::tensors::descent`]).

use std::collections::BTreeMap;

use basin_shared::{
    arrays::{Array, Weights},
    tensors::{
        Network,
        descent::{self, Rule, Step},
        parameters::Path,
    },
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};

use super::optimizer::{Incomplete, Optimizer, OptimizerState};
use crate::recipe::OptimizerRecipe;

/// A rule and its state for each parameter.
pub(super) struct Descent {
    rule: Rule,
    states: BTreeMap<String, State>,
}

#[derive(Clone)]
struct State {
    /// Steps so far.
    time: u64,
    /// Flat; one of them twice where the rule has one.
    moments: [Tensor<1>; 2],
}

impl Descent {
    pub(super) fn new(recipe: &OptimizerRecipe) -> Self {
        let rule = match *recipe {
            OptimizerRecipe::Sgd {
                momentum,
                nesterov,
                weight_decay,
                ..
            } => Rule::Sgd {
                momentum: momentum as f32,
                nesterov,
                weight_decay,
            },
            OptimizerRecipe::Adam {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                ..
            }
            | OptimizerRecipe::AdamW {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                ..
            } => Rule::Adam {
                beta_1,
                beta_2,
                epsilon,
                weight_decay,
                decoupled: matches!(recipe, OptimizerRecipe::AdamW { .. }),
            },
        };
        Self {
            rule,
            states: BTreeMap::new(),
        }
    }

    /// The moments' names, as Burn's optimisers have them in their states.
    fn fields(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Sgd { .. } => &["momentum.velocity"],
            Rule::Adam { .. } => &["momentum.moment_1", "momentum.moment_2"],
        }
    }

    /// The name of the count of steps; the rule may do without.
    fn count(&self) -> Option<&'static str> {
        matches!(self.rule, Rule::Adam { .. }).then_some("momentum.time")
    }
}

impl Optimizer for Descent {
    fn step(
        &mut self,
        rate: f64,
        model: Network,
        gradients: GradientsParams,
        largest: f32,
    ) -> (Network, Tensor<1>) {
        let mut flat = Flat {
            gradients,
            path: Path::default(),
            of: BTreeMap::new(),
        };
        model.visit(&mut flat);
        let gradients: Vec<_> = flat.of.values().cloned().collect();
        let norm = descent::norm(&gradients);
        let step = Step {
            rule: self.rule,
            rate: rate as f32,
            time: 0,
            largest_norm: largest,
        };
        let model = model.map(&mut Descend {
            descent: self,
            step,
            gradients: flat.of,
            norm: norm.clone(),
            path: Path::default(),
        });
        (model, norm)
    }

    fn state(&self) -> OptimizerState {
        let mut all = OptimizerState::default();
        for (parameter, State { time, moments }) in &self.states {
            for (field, moment) in self.fields().iter().zip(moments) {
                let array = Array::from(moment.to_data());
                all.arrays.insert(format!("{parameter}.{field}"), array);
            }
            if let Some(count) = self.count() {
                all.counts.insert(format!("{parameter}.{count}"), *time);
            }
        }
        all
    }

    fn restore(
        &mut self,
        mut state: OptimizerState,
        parameters: &Weights,
        device: &Device,
    ) -> Result<(), Incomplete> {
        for parameter in parameters.keys() {
            let fields = self.fields().iter();
            let moments: Vec<_> = fields
                .filter_map(|field| state.arrays.remove(&format!("{parameter}.{field}")))
                .map(|array| Tensor::<1>::from_data(array.to_data(), device))
                .collect();
            let time = self
                .count()
                .map(|count| state.counts.remove(&format!("{parameter}.{count}")));
            match (moments.as_slice(), time) {
                // One that has had no gradient has none, running statistics never.
                ([], None | Some(None)) => continue,
                (moments, time) if moments.len() == self.fields().len() && time != Some(None) => {
                    let [first, last] = [0, moments.len() - 1].map(|at| moments[at].clone());
                    let state = State {
                        time: time.flatten().unwrap_or_default(),
                        moments: [first, last],
                    };
                    self.states.insert(parameter.clone(), state);
                }
                _ => return Err(Incomplete::of(parameter)),
            }
        }
        Ok(())
    }
}

/// The gradients, flat, by the names of their parameters.
struct Flat {
    gradients: GradientsParams,
    path: Path,
    of: BTreeMap<String, Tensor<1>>,
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
            self.of.insert(self.path.name(), gradient.flatten(0, D - 1));
        }
    }
}

/// Has each parameter that has a gradient make its step.
struct Descend<'a> {
    descent: &'a mut Descent,
    /// Without its time, which is the parameter's own.
    step: Step,
    gradients: BTreeMap<String, Tensor<1>>,
    norm: Tensor<1>,
    path: Path,
}

impl ModuleMapper for Descend<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(gradient) = self.gradients.remove(&name) else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let (shape, tracked) = (tensor.dims(), tensor.is_require_grad());
        let (time, moments) = match self.descent.states.remove(&name) {
            Some(State { time, moments }) => (time, Some(moments)),
            None => (0, None),
        };
        let step = Step {
            time: time + 1,
            ..self.step
        };
        let weight = tensor.inner().flatten(0, D - 1);
        let (weight, moments) = descent::step(&step, weight, gradient, moments, &self.norm);
        let time = step.time;
        self.descent.states.insert(name, State { time, moments });
        let tensor = Tensor::from_inner(weight.reshape(shape)).set_require_grad(tracked);
        Param::from_mapped_value(id, tensor, mapper)
    }
}
