//! The energies ([`crate::energy`]) of a batch as differentiable functions of tensors: what losses are made of.
//!
//! On a GPU (Burn's CubeCL backend) each is one kernel forward and one backward, of which all share the same: chains of
//! Burn's operations would compile one kernel for each operation and size.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "cubecl")]
pub(super) mod recorded;

use burn::tensor::{Int, Tensor, activation};

#[cfg(feature = "cubecl")]
use super::cube::is_single_on_cube;
#[cfg(feature = "cubecl")]
use recorded::Terms;

/// Joint energy, E(x, y) = −f(x)\[y\].
///
/// # Shapes
/// - `logits`: `[batch, classes]`, `y`: `[batch]`; returns `[batch]`
pub fn joint(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&logits) {
        return recorded::terms(logits, Some(y), Terms::JOINT);
    }
    logits
        .gather(1, y.unsqueeze_dim(1))
        .squeeze_dim::<1>(1)
        .neg()
}

/// Marginal energy, E(x) = −log Σ_y exp f(x)\[y\].
///
/// # Shapes
/// - `logits`: `[batch, classes]`; returns `[batch]`
pub fn marginal(logits: Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&logits) {
        return recorded::terms(logits, None, Terms::MARGINAL);
    }
    // The largest logit is subtracted as a constant: it changes rounding, not the derivative.
    let largest = logits.clone().detach().max_dim(1);
    let shifted = (logits - largest.clone()).exp().sum_dim(1).log() + largest;
    shifted.squeeze_dim::<1>(1).neg()
}

/// Conditional energy, E(x, y) − E(x) = −log p(y | x): the cross-entropy of each example.
///
/// # Shapes
/// - `logits`: `[batch, classes]`, `y`: `[batch]`; returns `[batch]`
pub fn conditional(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&logits) {
        return recorded::terms(logits, Some(y), Terms::CONDITIONAL);
    }
    joint(activation::log_softmax(logits, 1), y)
}

/// Expected conditional energy, Σ_y p\[y\] (E(x, y) − E(x)): the cross-entropy against a distribution.
///
/// # Shapes
/// - `logits` and `p`: `[batch, classes]`; returns `[batch]`
pub fn expected(logits: Tensor<2>, p: Tensor<2>) -> Tensor<1> {
    (activation::log_softmax(logits, 1) * p)
        .sum_dim(1)
        .squeeze_dim::<1>(1)
        .neg()
}

/// KL(p(y | x) ‖ p(y | x*)) of two images' logits f and f*. As energies (Mirza et al. 2024 (WEAT),
/// Proposition 1): Σ_y p(y | x) (E(x*, y) − E(x, y)) + E(x) − E(x*).
///
/// # Shapes
/// - both `[batch, classes]`; returns `[batch]`
pub fn kl_divergence(f: Tensor<2>, f_star: Tensor<2>) -> Tensor<1> {
    let log_p = activation::log_softmax(f, 1);
    let log_p_star = activation::log_softmax(f_star, 1);
    (log_p.clone().exp() * (log_p - log_p_star))
        .sum_dim(1)
        .squeeze_dim::<1>(1)
}

/// 1 for each image whose class has the largest logit, 0 for the others; without a derivative.
///
/// # Shapes
/// - `logits`: `[batch, classes]`, `y`: `[batch]`; returns `[batch]`, off the autodiff device
pub fn hits(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
    let logits = logits.inner();
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&logits) {
        return recorded::terms(logits, Some(y), Terms::HIT);
    }
    let best = logits.argmax(1).squeeze_dim::<1>(1);
    best.equal(y).float()
}

/// The mean over a batch, `[batch]` to `[1]`.
pub fn mean(values: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "cubecl")]
    if is_single_on_cube(&values) {
        return recorded::mean(values);
    }
    values.mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        energy::{EnergyKind, Expected, Objective},
        key::Key,
    };
    use burn::tensor::{Device, Tolerance};

    fn logits_and_labels() -> (Tensor<2>, Tensor<1, Int>) {
        let device = Device::flex();
        (
            Key::new(1).normal([4, 10], &device) * 3.0,
            Tensor::from_data([0, 9, 3, 3], &device),
        )
    }

    /// Losses and samplers mean the same energies.
    #[test]
    fn values_and_slopes_are_those_of_the_objectives() {
        let (logits, y) = logits_and_labels();
        let classes = vec![0, 9, 3, 3];
        let p = activation::softmax(Key::new(4).normal([4, 10], &logits.device()), 1);
        let probabilities: Vec<f32> = p.to_data().iter().collect();
        type OfTensors = Box<dyn Fn(Tensor<2>) -> Tensor<1>>;
        let (of_joint, of_conditional) = (y.clone(), y);
        let pairs: [(OfTensors, Box<dyn Objective>); 4] = [
            (
                Box::new(move |f| joint(f, of_joint.clone())),
                EnergyKind::Joint.of(classes.clone()),
            ),
            (Box::new(marginal), EnergyKind::Marginal.of(classes.clone())),
            (
                Box::new(move |f| conditional(f, of_conditional.clone())),
                EnergyKind::Conditional.of(classes),
            ),
            (
                Box::new(move |f| expected(f, p.clone())),
                Box::new(Expected { probabilities }),
            ),
        ];
        for (of_tensors, objective) in pairs {
            let f = logits.clone().autodiff().require_grad();
            let value = of_tensors(f.clone());
            let slope = f.grad(&value.clone().sum().backward()).unwrap();
            let numbers: Vec<f32> = logits.to_data().iter().collect();
            let mut slopes = vec![0.0; 40];
            for (image, slope) in slopes.chunks_exact_mut(10).enumerate() {
                objective.slope(image, &numbers[image * 10..][..10], slope);
            }
            let values = objective.values(&numbers, 4);
            close(
                value.inner(),
                Tensor::from_floats(values.as_slice(), &logits.device()),
            );
            close(
                slope.flatten::<1>(0, 1),
                Tensor::from_floats(slopes.as_slice(), &logits.device()),
            );
        }
    }

    fn close(a: Tensor<1>, b: Tensor<1>) {
        a.to_data()
            .assert_approx_eq::<f32>(&b.to_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn joint_minus_marginal_is_conditional() {
        let (logits, y) = logits_and_labels();
        close(
            joint(logits.clone(), y.clone()) - marginal(logits.clone()),
            conditional(logits, y),
        );
    }

    #[test]
    fn a_constant_lowers_joint_and_marginal_and_leaves_conditional() {
        let (logits, y) = logits_and_labels();
        let raised = logits.clone() + 2.5;
        close(
            joint(raised.clone(), y.clone()),
            joint(logits.clone(), y.clone()) - 2.5,
        );
        close(marginal(raised.clone()), marginal(logits.clone()) - 2.5);
        close(conditional(raised, y.clone()), conditional(logits, y));
    }

    /// WEAT Proposition 1 and, with cross-entropy added, Corollary 1: TRADES as energies.
    #[test]
    fn kl_divergence_and_trades_are_energies() {
        let (f, y) = logits_and_labels();
        let f_star = f.clone() + Key::new(2).normal([4, 10], &f.device());
        let p = activation::softmax(f.clone(), 1);
        let joints = (p.clone() * (f.clone() - f_star.clone())).sum_dim(1); // E(x*, ·) − E(x, ·)
        let joints: Tensor<1> = joints.squeeze_dim(1);
        let kl = joints.clone() + marginal(f.clone()) - marginal(f_star.clone());
        close(kl_divergence(f.clone(), f_star.clone()), kl.clone());
        // The entropy is what expected and KL differ by.
        let entropy = expected(f.clone(), p.clone());
        close(expected(f_star.clone(), p) - entropy, kl);
        let beta = 6.0;
        let trades =
            conditional(f.clone(), y.clone()) + kl_divergence(f.clone(), f_star.clone()) * beta;
        let energies = joint(f.clone(), y) + joints * beta + marginal(f) * (beta - 1.0)
            - marginal(f_star) * beta;
        close(trades, energies);
    }

    /// Z = Σ_x Σ_y exp −E(x, y) = Σ_x exp −E(x) on a toy of four images.
    #[test]
    fn both_energies_have_one_normaliser() {
        let (logits, _) = logits_and_labels();
        let over_both: f64 = logits.clone().into_data().iter::<f64>().map(f64::exp).sum();
        let energies = marginal(logits).into_data();
        let over_x: f64 = energies.iter::<f64>().map(|e| (-e).exp()).sum();
        assert!((over_both / over_x - 1.0).abs() < 1e-5);
    }

    #[test]
    fn marginal_lies_below_the_least_joint_by_at_most_log_classes() {
        let (logits, _) = logits_and_labels();
        let gap = logits.clone().max_dim(1).squeeze_dim::<1>(1).neg() - marginal(logits);
        for gap in gap.into_data().iter::<f32>() {
            assert!((0.0..=10f32.ln()).contains(&gap), "gap {gap}");
        }
    }

    #[test]
    fn marginal_is_finite_where_exp_overflows() {
        let logits = Tensor::<2>::from_data([[1000.0, 999.0], [-1000.0, -1001.0]], &Device::flex());
        let softplus = (1.0 + (-1f32).exp()).ln();
        let expected = Tensor::from_data([-1000.0 - softplus, 1000.0 - softplus], &Device::flex());
        close(marginal(logits), expected);
    }
}
