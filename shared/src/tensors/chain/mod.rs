//! Chains of Langevin dynamics on a GPU (Burn's CubeCL backend): images, velocities and noise stay there, and nothing is
//! read back.

mod cube;

use burn::tensor::Tensor;

use super::sequence::Sequence;
use crate::{
    energy::Objective,
    key::Key,
    samplers::{GradientScaling, Sgld},
};
use cube::Numbers;

/// The images after so many steps from rest, those of [`Sgld::step`] up to rounding.
pub(super) fn run(
    sgld: &Sgld,
    network: &Sequence,
    objective: &dyn Objective,
    mut x: Tensor<4>,
    key: Key,
    steps: usize,
) -> Tensor<4> {
    let descended = network.descended(objective);
    let numbers = Numbers {
        step_size: sgld.step_size,
        noise_std: sgld.noise_std,
        friction: sgld.friction,
        limit: match sgld.gradient {
            GradientScaling::Clamp(limit) => limit,
            GradientScaling::Raw | GradientScaling::Normalize => f32::MAX,
        },
        normalize: sgld.gradient == GradientScaling::Normalize,
        clamp: sgld.clamp,
    };
    let mut velocity = None;
    for step in 0..steps {
        let (_, gradient) = network.evaluate(x.clone(), &descended);
        let noise = (sgld.noise_std > 0.0).then(|| {
            let key = key.fold_in(step as u64);
            key.normal(x.dims(), &x.device())
        });
        let (moved, faster) = cube::step(x, velocity, gradient, noise, numbers);
        (x, velocity) = (moved, Some(faster));
    }
    x
}
