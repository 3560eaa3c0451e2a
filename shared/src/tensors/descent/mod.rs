//! A step of the optimiser on a GPU (Burn's CubeCL backend): one launch for the numbers of a parameter, of the same
//! kernel for all of them. As chains of Burn's operations it would be some twenty kernels, which differ by the sizes.
//!
//! The rules are those of `burn::optim`, to its rounding.

mod cube;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use cube::Descend;

/// How a weight w with the gradient g makes its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013): g ← g + λ w, m ← μ m + g, then
    /// w ← w − r m, or w − r (g + μ m) where it is Nesterov's.
    Sgd {
        /// μ
        momentum: f32,
        /// Whether the step looks ahead.
        nesterov: bool,
        /// λ
        weight_decay: f32,
    },
    /// Adam (Kingma and Ba 2015): m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − r m̂ / (√v̂ + ε), with
    /// m̂ and v̂ corrected for having begun at zero.
    Adam {
        /// β₁
        beta_1: f32,
        /// β₂
        beta_2: f32,
        /// ε
        epsilon: f32,
        /// λ: g + λ w is in the place of g, or w ← (1 − r λ) w comes first where it is decoupled.
        weight_decay: f32,
        /// Whether it is AdamW (Loshchilov and Hutter 2019).
        decoupled: bool,
    },
}

/// A step of all parameters.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// r
    pub rate: f32,
    /// Which one it is, from 1.
    pub time: u64,
    /// Gradients are scaled so that their joint norm is at most this.
    pub largest_norm: f32,
}

/// The joint L2 norm of gradients on one device, `[1]`.
///
/// # Panics
/// If there is none.
pub fn norm(gradients: &[Tensor<1>]) -> Tensor<1> {
    let device = gradients[0].device();
    let sums = Tensor::<1>::empty([gradients.len() * cube::PARTS], &device);
    let mut sums = sums.into_dispatch();
    for (place, gradient) in gradients.iter().enumerate() {
        sums = Dispatch::add_squares(gradient.clone().into_dispatch(), sums, place);
    }
    Tensor::from_dispatch(Dispatch::root_of_sum(sums))
}

/// The weights after a step, and their moments m and v, of which there are none before the first step; where the rule
/// has no v, it is m again. `norm` is [`norm`].
///
/// # Shapes
/// - `weight`, `gradient`, moments: `[count]`
pub fn step(
    step: &Step,
    weight: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<[Tensor<1>; 2]>,
    norm: &Tensor<1>,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let first = moments.is_none();
    // What is not read may be anything.
    let moments = moments.unwrap_or_else(|| [gradient.clone(), gradient.clone()]);
    let [m, v] = moments.map(Tensor::into_dispatch);
    let (weight, gradient) = (weight.into_dispatch(), gradient.into_dispatch());
    let norm = norm.clone().into_dispatch();
    let (weight, m, v) = Dispatch::descend(weight, gradient, m, v, norm, *step, first);
    let [weight, m, v] = [weight, m, v].map(Tensor::from_dispatch);
    (weight, [m, v])
}

/// d · average + (1 − d) · value, with the decay d. All `[count]`
pub fn blend(average: Tensor<1>, value: Tensor<1>, decay: f32) -> Tensor<1> {
    let (average, value) = (average.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::blend(average, value, decay))
}
