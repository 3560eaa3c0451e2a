//! Sharpness-aware minimisation (Foret et al. 2021, Algorithm 1) and its adaptive form (Kwon et al.
//! 2021, ASAM): the gradient is taken where, within a small ball around the weights, the loss is about
//! highest.

use basin_shared::models::Network;
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
        model.clone().map(&mut Ascent {
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
