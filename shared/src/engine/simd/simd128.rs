//! WebAssembly's SIMD, plain or relaxed.

use super::{Loop, Simd, apart};

/// WebAssembly: 16 registers of 4 lanes on the usual host. A module with an instruction that the
/// browser does not know is refused whole, so relaxed SIMD, which has the fused multiply-add, is a
/// feature of the build and not of the moment; without it the product needs a register of its own.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

impl Simd for Simd128 {
    type Vector = core::arch::wasm32::v128;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        core::arch::wasm32::f32x4_splat(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for the pointer.
        unsafe { core::arch::wasm32::v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Vector) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { core::arch::wasm32::v128_store(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        core::arch::wasm32::f32x4_add(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        core::arch::wasm32::f32x4_sub(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        #[cfg(feature = "relaxed-simd")]
        return core::arch::wasm32::f32x4_relaxed_madd(a, b, c);
        #[cfg(not(feature = "relaxed-simd"))]
        core::arch::wasm32::f32x4_add(core::arch::wasm32::f32x4_mul(a, b), c)
    }

    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        use core::arch::wasm32::f32x4_extract_lane as lane;
        (lane::<0>(value) + lane::<1>(value)) + (lane::<2>(value) + lane::<3>(value))
    }

    #[inline(always)]
    unsafe fn zip(a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector) {
        use core::arch::wasm32::i32x4_shuffle;
        (
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
        )
    }

    #[inline(always)]
    unsafe fn run<L: Loop>(inner: &L) {
        #[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
        unsafe fn enter<L: Loop>(inner: &L) {
            // SAFETY: as the caller vouches.
            unsafe { inner.run::<Simd128>() }
        }
        // SAFETY: as the caller vouches.
        unsafe { apart(enter::<L>)(inner) }
    }
}
