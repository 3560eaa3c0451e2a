//! Clipping by the L2 norm of the whole gradient (Pascanu et al. 2013). Burn clips each tensor by
//! itself, which changes the gradient's direction.

use basin_shared::tensors::Network;
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

/// Scales the gradients so that their joint norm is at most `largest`; returns them and the norm
/// before, `[1]`.
pub(crate) fn clip(
    gradients: GradientsParams,
    model: &Network,
    largest: f32,
) -> (GradientsParams, Tensor<1>) {
    let mut squares = Squares {
        gradients: &gradients,
        sum: None,
    };
    model.visit(&mut squares);
    let norm = squares.sum.expect("a model has parameters").sqrt();
    let factor = factor(&norm, largest);
    let mut scale = Scale {
        old: gradients,
        new: GradientsParams::new(),
        factor,
    };
    model.visit(&mut scale);
    (scale.new, norm)
}

/// What scales gradients of that norm to one of at most `largest`: min(1, largest / norm).
pub(super) fn factor(norm: &Tensor<1>, largest: f32) -> Tensor<1> {
    (norm.clone() / largest).clamp_min(1.0).recip()
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.powf_scalar(2.0).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale {
    old: GradientsParams,
    new: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.old.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.new.register(param.id, gradient * factor);
        }
    }
}
