//! The energies of a classifier's logits (Grathwohl et al. 2020, "Your classifier is secretly an
//! energy based model"; Zhu et al. 2021 (JEAT), section 3).

use burn::tensor::{Int, Tensor, activation};

/// Joint energy, E(x, y) = −f(x)\[y\].
///
/// # Shapes
/// - `logits`: `[batch, classes]`, `y`: `[batch]`; returns `[batch]`
pub fn joint(logits: Tensor<2>, y: Tensor<1, Int>) -> Tensor<1> {
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

/// Which energy a sampler descends.
///
/// A function of the logits rather than of x, so that one forward pass serves the gradient, the
/// energy curve and the class probabilities that an observer wants to see.
#[derive(Clone, Debug)]
pub enum Energy {
    /// E(x, y): draws class y (JEAT eq. 10 and 17). `y`: `[batch]`.
    Joint(Tensor<1, Int>),
    /// E(x): draws any image (JEAT Algorithm 1).
    Marginal,
    /// E(x, y) − E(x): what makes x of class y rather than another (JEAT eq. 16). `y`: `[batch]`.
    Conditional(Tensor<1, Int>),
    /// Σ_y p\[y\] (E(x, y) − E(x)), which is KL(p ‖ p(y | x)) but for a constant. p: `[batch, classes]`.
    Expected(Tensor<2>),
}

impl Energy {
    /// The energy of each example. `logits`: `[batch, classes]`; returns `[batch]`.
    pub fn of_logits(&self, logits: Tensor<2>) -> Tensor<1> {
        match self {
            Self::Joint(y) => joint(logits, y.clone()),
            Self::Marginal => marginal(logits),
            Self::Conditional(y) => conditional(logits, y.clone()),
            Self::Expected(p) => expected(logits, p.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use burn::tensor::{Device, Tolerance};

    fn logits_and_labels() -> (Tensor<2>, Tensor<1, Int>) {
        let device = Device::flex();
        (
            Key::new(1).normal([4, 10], &device) * 3.0,
            Tensor::from_data([0, 9, 3, 3], &device),
        )
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
