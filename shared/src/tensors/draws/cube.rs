//! Draws by a kernel of Burn's CubeCL backend: the same Philox4x32-10 as on the host.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, Dispatch, DispatchDevice, backend_extension};
use burn::cubecl;
use burn::cubecl::prelude::*;
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::Law;
use crate::key::Key;

/// Units of a cube.
const UNITS: usize = 128;

/// `[count]` draws on a device of CubeCL, none on another or where gradients are recorded.
pub(super) fn draws(key: Key, law: Law, count: usize, device: &Device) -> Option<Tensor<1>> {
    if count == 0 || !matches!(device.as_dispatch(), DispatchDevice::Cube(_)) {
        return None;
    }
    // A backend is told by a tensor.
    let there = Tensor::<1>::empty([1], device).into_dispatch();
    let drawn = Dispatch::draws_beside(there, key.words(), law, count);
    Some(Tensor::from_dispatch(drawn))
}

/// Draws on the device of a tensor.
#[backend_extension(Cube)]
trait Draw: Backend {
    fn draws_beside(
        there: FloatTensor<Self>,
        key: [u32; 2],
        law: Law,
        count: usize,
    ) -> FloatTensor<Self>;
}

impl Draw for Cube {
    fn draws_beside(
        there: FloatTensor<Self>,
        key: [u32; 2],
        law: Law,
        count: usize,
    ) -> FloatTensor<Self> {
        let client = there.client.clone();
        let shape = Shape::from([count]);
        let drawn = empty_device_contiguous_dtype(there.client, there.device, shape, DType::F32);
        let blocks = count.div_ceil(4);
        // SAFETY: a draw beyond the count is not written.
        unsafe {
            draw::launch_unchecked(
                &client,
                CubeCount::new_1d(blocks.div_ceil(UNITS) as u32),
                CubeDim::new_1d(UNITS as u32),
                drawn.clone().into_buffer_arg(),
                key[0],
                key[1],
                count as u32,
                law,
            );
        }
        drawn
    }
}

/// A unit draws the four numbers of a block.
#[cube(launch_unchecked)]
fn draw(output: &mut [f32], key_0: u32, key_1: u32, count: u32, #[comptime] law: Law) {
    let block = CUBE_POS_X * comptime!(UNITS as u32) + UNIT_POS;
    let mut c0 = block;
    let mut c1 = 0u32;
    let mut c2 = 0u32;
    let mut c3 = 0u32;
    let mut k0 = key_0;
    let mut k1 = key_1;
    #[unroll]
    for _ in 0..10 {
        let high_0 = c0.mul_hi(0xD251_1F53u32);
        let low_0 = c0 * 0xD251_1F53u32;
        let high_2 = c2.mul_hi(0xCD9E_8D57u32);
        let low_2 = c2 * 0xCD9E_8D57u32;
        c0 = high_2 ^ c1 ^ k0;
        c1 = low_2;
        c2 = high_0 ^ c3 ^ k1;
        c3 = low_0;
        k0 += 0x9E37_79B9u32;
        k1 += 0xBB67_AE85u32;
    }
    let mut drawn = Array::<f32>::new(4usize);
    match comptime!(law) {
        Law::Uniform => {
            drawn[0] = fraction(c0);
            drawn[1] = fraction(c1);
            drawn[2] = fraction(c2);
            drawn[3] = fraction(c3);
        }
        Law::Normal => {
            box_muller(c0, c1, &mut drawn, 0usize);
            box_muller(c2, c3, &mut drawn, 2usize);
        }
    }
    #[unroll]
    for i in 0..4usize {
        let place = block * 4u32 + comptime!(i as u32);
        if place < count {
            output[place as usize] = drawn[i];
        }
    }
}

/// The 24 high bits of a word as a fraction in [0, 1).
#[cube]
fn fraction(word: u32) -> f32 {
    f32::cast_from(word >> 8u32) * comptime!(1.0f32 / 16_777_216.0)
}

/// r cos θ and r sin θ with r² = −2 ln u, u in (0, 1], θ in [0, 2π).
///
/// A device's own logarithm, sine and cosine may have three digits; these have seven.
#[cube]
fn box_muller(a: u32, b: u32, drawn: &mut Array<f32>, #[comptime] at: usize) {
    let radius = (-2.0f32 * logarithm(1.0f32 - fraction(a))).sqrt();
    let turn = fraction(b) * 4.0f32;
    // The nearest quarter of a turn, and a series of what is left of it.
    let quarter = (turn + 0.5f32).floor();
    let r = (turn - quarter) * 1.570_796_4f32;
    let r2 = r * r;
    let cosine = 1.0f32
        + r2 * (-0.5f32 + r2 * (1.0f32 / 24.0 + r2 * (-1.0f32 / 720.0 + r2 * (1.0f32 / 40_320.0))));
    let sine = r
        * (1.0f32
            + r2 * (-1.0f32 / 6.0
                + r2 * (1.0f32 / 120.0 + r2 * (-1.0f32 / 5040.0 + r2 * (1.0f32 / 362_880.0)))));
    let quarter = u32::cast_from(quarter);
    let swapped = (quarter & 1u32) == 1u32;
    let x = select(swapped, sine, cosine);
    let y = select(swapped, cosine, sine);
    let negative_x = ((quarter + 1u32) & 2u32) != 0u32;
    let negative_y = (quarter & 2u32) != 0u32;
    drawn[at] = radius * select(negative_x, -x, x);
    drawn[comptime!(at + 1)] = radius * select(negative_y, -y, y);
}

/// ln u of u > 0: of u = m 2^e with m in [√½, √2), as e ln 2 + 2 artanh((m − 1) / (m + 1)).
#[cube]
fn logarithm(u: f32) -> f32 {
    let bits = u32::reinterpret(u) - 0x3f35_04f3u32;
    let exponent = f32::cast_from(i32::reinterpret(bits) >> 23i32);
    let m = f32::reinterpret((bits & 0x007f_ffffu32) + 0x3f35_04f3u32);
    let s = (m - 1.0f32) / (m + 1.0f32);
    let s2 = s * s;
    let series =
        s2 * (1.0f32 / 3.0 + s2 * (1.0f32 / 5.0 + s2 * (1.0f32 / 7.0 + s2 * (1.0f32 / 9.0))));
    exponent * 0.693_147_2f32 + 2.0f32 * (s + s * series)
}
