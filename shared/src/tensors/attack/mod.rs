//! Attacks on a GPU (Burn's CubeCL backend): images, noise and steps stay there, and nothing is read back.

mod cube;

use burn::tensor::Tensor;

use super::sequence::Sequence;
use crate::{
    attacks::{Attack, GradientAt, Norm, Origin, Search},
    key::Key,
};
use cube::move_within;

/// x_adv of an L∞ attack of steps without momentum, from the start of `Attack::run` up to rounding; none of any other.
pub(super) fn run(
    attack: &Attack,
    network: &Sequence,
    x: Tensor<4>,
    key: Key,
) -> Option<Tensor<4>> {
    let (steps, size, gradient_at) = match attack.search {
        Search::OneStep(one) => (1, one.step_size, one.gradient_at),
        Search::Pgd(pgd) => (pgd.steps, pgd.step_size, GradientAt::Start),
        Search::Mim(_) => return None,
    };
    if attack.budget.norm != Norm::Linf {
        return None;
    }
    let epsilon = attack.budget.epsilon;
    let (shape, device) = (x.dims(), x.device());
    let mut x_adv = match attack.origin {
        Origin::Image => x.clone(),
        Origin::Ball => {
            // ε (2u − 1) = 2ε (u − ½)
            let drawn = key.uniform(shape, &device);
            move_within(x.clone(), &x, drawn, [-0.5, 2.0 * epsilon], epsilon, false)
        }
        Origin::Noise(std) => {
            let drawn = key.normal(shape, &device);
            move_within(x.clone(), &x, drawn, [0.0, std], epsilon, false)
        }
    };
    let size = if attack.targeted { -size } else { size };
    let descended = network.descended(attack.objective);
    for _ in 0..steps {
        let at = match gradient_at {
            GradientAt::Clean => &x,
            GradientAt::Start => &x_adv,
        };
        let (_, gradient) = network.evaluate(at.clone(), &descended);
        x_adv = move_within(x_adv, &x, gradient, [0.0, size], epsilon, true);
    }
    Some(x_adv)
}
