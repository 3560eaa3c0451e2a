//! AVX-512.

use super::{Loop, Simd, apart};

/// AVX-512: 32 registers of 16 lanes, 24 of them accumulators.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

impl Simd for Avx512 {
    type Vector = core::arch::x86_64::__m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        // SAFETY: the caller has AVX-512.
        unsafe { core::arch::x86_64::_mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller has AVX-512 and vouches for the pointer.
        unsafe { core::arch::x86_64::_mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Vector) {
        // SAFETY: the caller has AVX-512 and vouches for the pointer.
        unsafe { core::arch::x86_64::_mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: Self::Vector) {
        use core::arch::x86_64::*;
        // SAFETY: the caller has AVX-512 and vouches for the pointer.
        unsafe {
            let bits = _mm512_castps_si512(value);
            let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
            let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
            let rounded = _mm512_mask_mov_epi32(rounded, none, _mm512_set1_epi32(0x7fc0));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(rounded));
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has AVX-512.
        unsafe { core::arch::x86_64::_mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has AVX-512.
        unsafe { core::arch::x86_64::_mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: the caller has AVX-512.
        unsafe { core::arch::x86_64::_mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        // SAFETY: the caller has AVX-512.
        unsafe { core::arch::x86_64::_mm512_reduce_add_ps(value) }
    }

    #[inline(always)]
    unsafe fn zip(a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector) {
        use core::arch::x86_64::*;
        // SAFETY: the caller has AVX-512.
        unsafe {
            let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let second =
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (
                _mm512_permutex2var_ps(a, first, b),
                _mm512_permutex2var_ps(a, second, b),
            )
        }
    }

    #[inline(always)]
    unsafe fn run<L: Loop>(inner: &L) {
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn enter<L: Loop>(inner: &L) {
            // SAFETY: the features of this function are those of the type.
            unsafe { inner.run::<Avx512>() }
        }
        // SAFETY: the caller has the features.
        unsafe { apart(enter::<L>)(inner) }
    }
}
