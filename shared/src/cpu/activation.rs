//! Values and derivatives of the activation functions, of many numbers at once.

use crate::{
    activation::scalar::{self, LeakyRelu, Silu},
    models::Activation,
};

/// `value` ← a(y), `derivative` ← a′(y).
#[inline(always)]
pub(super) fn activate(
    activation: Activation,
    y: &[f32],
    value: &mut [f32],
    derivative: &mut [f32],
) {
    match activation {
        Activation::Silu => each(&Silu, y, value, derivative),
        Activation::LeakyRelu => each(&LeakyRelu { slope: 0.2 }, y, value, derivative),
    }
}

#[inline(always)]
fn each(a: &impl scalar::Activation, y: &[f32], value: &mut [f32], derivative: &mut [f32]) {
    for ((&y, value), derivative) in y.iter().zip(value).zip(derivative) {
        *value = a.value(y);
        *derivative = a.derivative(y);
    }
}
