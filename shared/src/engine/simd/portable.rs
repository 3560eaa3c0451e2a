//! Any processor.

use super::{Loop, Simd, apart};

/// Plain arrays, for every other processor; compilers turn the loops into vectors where they can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for the pointer.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Vector) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        [
            a[0] * b[0] + c[0],
            a[1] * b[1] + c[1],
            a[2] * b[2] + c[2],
            a[3] * b[3] + c[3],
        ]
    }

    #[inline(always)]
    unsafe fn sum(value: Self::Vector) -> f32 {
        (value[0] + value[1]) + (value[2] + value[3])
    }

    #[inline(always)]
    unsafe fn zip(a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }

    #[inline(always)]
    unsafe fn run<L: Loop>(inner: &L) {
        unsafe fn enter<L: Loop>(inner: &L) {
            // SAFETY: as the caller vouches.
            unsafe { inner.run::<Portable>() }
        }
        // SAFETY: as the caller vouches.
        unsafe { apart(enter::<L>)(inner) }
    }
}
