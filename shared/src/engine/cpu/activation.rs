//! The activation functions of one number, and of many at once.

use crate::models;

/// A function of one number and its derivative.
///
/// Both are written without branches, so that a loop over them becomes vector instructions.
pub(crate) trait Activation: Clone + core::fmt::Debug + Send + Sync + 'static {
    fn value(&self, x: f32) -> f32;

    fn derivative(&self, x: f32) -> f32;
}

/// x · σ(x)
#[derive(Clone, Debug)]
pub(crate) struct Silu;

impl Activation for Silu {
    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        x * sigmoid(x)
    }

    /// (x · σ)′ = σ + x · σ · (1 − σ) = σ · (1 + x · (1 − σ))
    #[inline(always)]
    fn derivative(&self, x: f32) -> f32 {
        let sigmoid = sigmoid(x);
        sigmoid * (1.0 + x * (1.0 - sigmoid))
    }
}

/// The same to some 1e-5 of its value, for what is rounded to bf16: a thousandth of that rounding, and
/// two and a half times as fast. It wants an instruction for the fused multiply-add.
#[derive(Clone, Debug)]
struct RoughSilu;

impl Activation for RoughSilu {
    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        x * rough_sigmoid(x)
    }

    #[inline(always)]
    fn derivative(&self, x: f32) -> f32 {
        let sigmoid = rough_sigmoid(x);
        sigmoid * x.mul_add(1.0 - sigmoid, 1.0)
    }
}

/// 1 / (1 + exp(−x)), to some 1e-5 of its value.
///
/// exp(−x) = 2ⁿ · 2ᶠ with n the integer nearest to −x / ln 2 and |f| ≤ 1/2, where 2ᶠ is its Taylor
/// polynomial of degree five. The reciprocal begins with the exponent's bits negated, 12 % off, and
/// each of Newton's steps squares that.
#[inline(always)]
fn rough_sigmoid(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const ONE_OVER: u32 = 0x7ef3_11c7;

    let y = (x * -std::f32::consts::LOG2_E).clamp(-125.0, 125.0);
    let shifted = y + ROUND;
    let f = y - (shifted - ROUND);
    let p = 1.333_355_8e-3_f32;
    let p = p.mul_add(f, 9.618_129e-3);
    let p = p.mul_add(f, 5.550_411e-2);
    let p = p.mul_add(f, 2.402_265e-1);
    let p = p.mul_add(f, std::f32::consts::LN_2);
    let p = p.mul_add(f, 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let d = p.mul_add(power, 1.0);
    let mut reciprocal = f32::from_bits(ONE_OVER.wrapping_sub(d.to_bits()));
    for _ in 0..3 {
        reciprocal *= (-d).mul_add(reciprocal, 2.0);
    }
    reciprocal
}

/// x where x > 0, else slope · x.
#[derive(Clone, Debug)]
pub(crate) struct LeakyRelu {
    pub(crate) slope: f32,
}

impl Activation for LeakyRelu {
    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        x * self.derivative(x)
    }

    #[inline(always)]
    fn derivative(&self, x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { self.slope }
    }
}

/// 1 / (1 + exp(−x))
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exponential(-x))
}

/// exp(x), to about one unit in the last place, for x in [−87, 88]; beyond, exp of the nearer end.
///
/// exp(x) = 2ⁿ · exp(r) with n the integer nearest to x / ln 2 and r = x − n · ln 2, so that
/// |r| ≤ ln 2 / 2, where exp(r) = 1 + r + r² · p(r) with the polynomial p of degree five from the
/// Cephes library.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    // The largest part of ln 2 whose product with any n is exact, and the rest.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Added to a small number, it leaves the nearest integer in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;

    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.0e-1;
    let exp_r = p * (r * r) + r + 1.0;
    // n in the place of the exponent, whose zero is 127.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    exp_r * power
}

/// `value` ← a(y), `derivative` ← a′(y).
#[inline(always)]
pub(super) fn activate(
    activation: models::Activation,
    y: &[f32],
    value: &mut [f32],
    derivative: &mut [f32],
) {
    match activation {
        models::Activation::Silu => each(&Silu, y, value, derivative),
        models::Activation::Relu => each(&LeakyRelu { slope: 0.0 }, y, value, derivative),
        models::Activation::LeakyRelu => each(&LeakyRelu { slope: 0.2 }, y, value, derivative),
    }
}

/// x ← a(x), or x itself where there is no a; good enough for bf16.
#[inline(always)]
pub(super) fn apply(activation: Option<models::Activation>, x: &mut [f32]) {
    let numbers = x.iter_mut();
    match activation {
        Some(models::Activation::Silu) => numbers.for_each(|x| *x = RoughSilu.value(*x)),
        Some(models::Activation::Relu) => {
            numbers.for_each(|x| *x = LeakyRelu { slope: 0.0 }.value(*x));
        }
        Some(models::Activation::LeakyRelu) => {
            numbers.for_each(|x| *x = LeakyRelu { slope: 0.2 }.value(*x));
        }
        None => {}
    }
}

/// dy ← dy · a′(x), good enough where dy is a sum of products in bf16.
#[inline(always)]
pub(crate) fn multiply_by_derivative(activation: models::Activation, x: &[f32], dy: &mut [f32]) {
    let numbers = dy.iter_mut().zip(x);
    match activation {
        models::Activation::Silu => {
            numbers.for_each(|(dy, x)| *dy *= RoughSilu.derivative(*x));
        }
        models::Activation::Relu => {
            numbers.for_each(|(dy, x)| *dy *= LeakyRelu { slope: 0.0 }.derivative(*x));
        }
        models::Activation::LeakyRelu => {
            numbers.for_each(|(dy, x)| *dy *= LeakyRelu { slope: 0.2 }.derivative(*x));
        }
    }
}

#[inline(always)]
fn each(a: &impl Activation, y: &[f32], value: &mut [f32], derivative: &mut [f32]) {
    for ((&y, value), derivative) in y.iter().zip(value).zip(derivative) {
        *value = a.value(y);
        *derivative = a.derivative(y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rough_silu_is_good_enough_for_bf16() {
        for x in (-8800..8800).map(|i| i as f32 * 0.01 + 0.003) {
            let sigmoid = 1.0 / (1.0 + (-f64::from(x)).exp());
            let value = f64::from(x) * sigmoid;
            let derivative = sigmoid * (1.0 + f64::from(x) * (1.0 - sigmoid));
            let off = (f64::from(RoughSilu.value(x)) - value).abs();
            assert!(off <= 1e-5 * value.abs() + 1e-30, "silu({x}): {off:e} off");
            let off = (f64::from(RoughSilu.derivative(x)) - derivative).abs();
            assert!(off <= 1e-5, "silu\u{2032}({x}): {off:e} off");
        }
        assert!(RoughSilu.value(f32::NAN).is_nan());
        assert_eq!(RoughSilu.value(f32::INFINITY), f32::INFINITY);
        assert_eq!(RoughSilu.value(0.0), 0.0);
    }
}
