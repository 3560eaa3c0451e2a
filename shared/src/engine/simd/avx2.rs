//! AVX2 with fused multiply-add.

use super::{Loop, Simd, apart};

/// AVX2 with fused multiply-add: 16 registers of 8 lanes, 12 of them accumulators.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

impl Simd for Avx2 {
    type Vector = core::arch::x86_64::__m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        // SAFETY: the caller has AVX2.
        unsafe { core::arch::x86_64::_mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller has AVX2 and vouches for the pointer.
        unsafe { core::arch::x86_64::_mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Vector) {
        // SAFETY: the caller has AVX2 and vouches for the pointer.
        unsafe { core::arch::x86_64::_mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has AVX2.
        unsafe { core::arch::x86_64::_mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has AVX2.
        unsafe { core::arch::x86_64::_mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has FMA.
        unsafe { core::arch::x86_64::_mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        use core::arch::x86_64::*;
        // SAFETY: the caller has AVX2.
        unsafe {
            let four = _mm_add_ps(
                _mm256_castps256_ps128(value),
                _mm256_extractf128_ps::<1>(value),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn zip(a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector) {
        use core::arch::x86_64::*;
        // SAFETY: the caller has AVX2.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            (
                _mm256_permute2f128_ps::<0x20>(low, high),
                _mm256_permute2f128_ps::<0x31>(low, high),
            )
        }
    }

    #[inline(always)]
    unsafe fn run<L: Loop>(inner: &L) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn enter<L: Loop>(inner: &L) {
            // SAFETY: the features of this function are those of the type.
            unsafe { inner.run::<Avx2>() }
        }
        // SAFETY: the caller has the features.
        unsafe { apart(enter::<L>)(inner) }
    }
}
