//! Sharpness-aware minimisation (Foret et al. 2021, Algorithm 1) and its adaptive form (Kwon et al.
//! 2021, ASAM): the gradient is taken where, within a small ball around the weights, the loss is about
//! highest.

use basin_shared::tensors::Network;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sam {
    /// ρ, the radius of the ball.
    pub rho: f32,
    /// Whether the ball's axes are as long as the weights themselves (ASAM).
    pub adaptive: bool,
}

impl Sam {
    /// The weights w + ε with ε = ρ g / ‖g‖ or, adaptive, ρ w² g / ‖w g‖.
    pub(crate) fn ascend(&self, model: &Network, gradients: &GradientsParams) -> Network {
        let mut squares = Squares {
            gradients,
            adaptive: self.adaptive,
            sum: None,
        };
        model.visit(&mut squares);
        let norm = squares.sum.expect("a model has parameters").sqrt();
        // Not a clone, which would share the running statistics: the second pass leaves those of the
        // model as the first has made them (SADA-JEM's code).
        model.valid().train().map(&mut Ascent {
            gradients,
            adaptive: self.adaptive,
            factor: norm.clamp_min(1e-12).recip() * self.rho,
        })
    }
}

/// ‖g‖² or ‖w g‖².
struct Squares<'a> {
    gradients: &'a GradientsParams,
    adaptive: bool,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(mut gradient) = self.gradients.get::<D>(param.id) {
            if self.adaptive {
                gradient = gradient * param.val().inner();
            }
            let square = gradient.powf_scalar(2.0).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Ascent<'a> {
    gradients: &'a GradientsParams,
    adaptive: bool,
    /// ρ divided by the norm, `[1]`.
    factor: Tensor<1>,
}

impl ModuleMapper for Ascent<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mut step) = self.gradients.get::<D>(param.id) else {
            return param;
        };
        let (adaptive, factor) = (self.adaptive, self.factor.clone().reshape([1; D]));
        param.map(|weight| {
            if adaptive {
                step = step.clone() * weight.clone().inner().powf_scalar(2.0);
            }
            Tensor::from_inner(weight.inner() + step.clone() * factor.clone()).require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{
        arrays::Weights,
        models::is_statistic,
        tensors::{Mode, energy, parameters},
    };
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    #[test]
    fn the_second_pass_leaves_the_running_statistics_as_the_first_has_made_them() {
        let model = fixture::network_with_batch_norm(&Device::flex().autodiff());
        let x = fixture::batch().x;
        let gradients = |model: &Network| {
            let f = model.forward(x.clone().autodiff(), Mode::Train);
            GradientsParams::from_grads(energy::marginal(f).mean().backward(), model)
        };
        let weights = |model: &Network| parameters::collect(&model.valid());
        let moved = |before: &Weights, after: &Weights, name: &String| before[name] != after[name];

        let at_first = weights(&model);
        let first = gradients(&model);
        let after_first = weights(&model);
        for adaptive in [false, true] {
            let sam = Sam { rho: 0.5, adaptive };
            let sharpest = sam.ascend(&model, &first);
            let second = gradients(&sharpest);
            assert_eq!(second.len(), first.len());
            assert_eq!(weights(&model), after_first);
            // The first pass has moved the statistics alone, and the second its own.
            let after_second = weights(&sharpest);
            for name in after_first.keys().filter(|name| is_statistic(name)) {
                assert!(moved(&at_first, &after_first, name), "{name}");
                assert!(moved(&after_first, &after_second, name), "{name}");
            }
        }
    }
}
