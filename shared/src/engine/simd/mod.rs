//! One vector of `f32` lanes for each instruction set that the kernels run on.
//!
//! A kernel is written once against [`Simd`] and marked `#[inline(always)]`; [`Isa::run`] enters it
//! through a function that carries the `target_feature`, so that the whole kernel is compiled for it.
//! All that a kernel calls must be inlined into that function: a closure that is left out of line has not
//! its `target_feature`, and every sum and product there becomes a call. A test looks for such calls.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use simd128::Simd128;

/// A vector of [`Simd::LANES`] single-precision numbers and the few operations the kernels need.
///
/// # Safety
///
/// Every method must only be called on a processor that has the instruction set of the
/// implementing type, and from code compiled for it. Pointers need no alignment, but must be valid
/// for [`Simd::LANES`] numbers.
pub(crate) trait Simd: Copy {
    /// The vector.
    type Vector: Copy;

    /// Numbers in one vector.
    const LANES: usize;

    /// Every lane the same number.
    unsafe fn splat(value: f32) -> Self::Vector;

    /// [`Simd::LANES`] numbers from memory.
    unsafe fn load(from: *const f32) -> Self::Vector;

    /// [`Simd::LANES`] numbers to memory.
    unsafe fn store(to: *mut f32, value: Self::Vector);

    /// [`Simd::LANES`] numbers to memory, each rounded to the nearest bf16 number as [`round_to_bf16`] does.
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: Self::Vector) {
        let mut numbers = [0.0; 16];
        // SAFETY: no vector has more lanes; the caller vouches for the rest.
        unsafe {
            Self::store(numbers.as_mut_ptr(), value);
            for (n, number) in numbers.into_iter().enumerate().take(Self::LANES) {
                *to.add(n) = round_to_bf16(number);
            }
        }
    }

    /// a + b
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// a − b
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a · b + c`, in one rounding where the instruction set has it.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The sum of all lanes, in a fixed order.
    unsafe fn sum(value: Self::Vector) -> f32;

    /// The lanes of both in turn, a₀ b₀ a₁ b₁ …: the first half, and the second.
    unsafe fn zip(a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector);

    /// Runs an inner loop as a function of its own, compiled for the instruction set: the registers
    /// then belong to it alone.
    unsafe fn run<L: Loop>(inner: &L);
}

/// The bits of the nearest bf16 number, the even one of two.
#[inline(always)]
pub(crate) fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // A number that is none would otherwise become one.
    if x.is_nan() { 0x7fc0 } else { rounded as u16 }
}

/// Rounds numbers to bf16, as many as both slices have at the least.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn round_all<S: Simd>(to: &mut [u16], from: &[f32]) {
    let len = to.len().min(from.len());
    let (to, from) = (to.as_mut_ptr(), from.as_ptr());
    let mut n = 0;
    // SAFETY: the caller vouches for the instruction set; both slices have so many numbers.
    unsafe {
        while n + S::LANES <= len {
            S::store_bf16(to.add(n), S::load(from.add(n)));
            n += S::LANES;
        }
        while n < len {
            *to.add(n) = round_to_bf16(*from.add(n));
            n += 1;
        }
    }
}

/// Transposes a square of [`Simd::LANES`] vectors, the first ones of `rows`.
///
/// To zip row i with row i + LANES/2, for every i, moves the highest bit of the row's number to the
/// lowest place of the lane's number and the other bits up by one; after log₂ LANES times, row and
/// lane have changed places.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(rows: &mut [S::Vector; 16]) {
    let half = S::LANES / 2;
    for _ in 0..S::LANES.ilog2() {
        let before = *rows;
        for i in 0..half {
            // SAFETY: as the caller vouches.
            let (first, second) = unsafe { S::zip(before[i], before[i + half]) };
            rows[2 * i] = first;
            rows[2 * i + 1] = second;
        }
    }
}

/// An inner loop for [`Simd::run`].
pub(crate) trait Loop {
    /// Runs the loop.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    unsafe fn run<S: Simd>(&self);
}

/// Work that can be done with any instruction set, in independent numbered parts.
pub(crate) trait Kernel: Sync {
    /// Does part `index`.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; and two threads must not do the same part at once.
    unsafe fn part<S: Simd>(&self, index: usize);
}

/// The instruction sets, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
    Portable,
}

impl Isa {
    /// Those that this processor has, best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        found.push(Self::Simd128);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx512);
            }
        }
        found.reverse();
        found
    }

    /// The best one of this processor.
    pub(crate) fn best() -> Self {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// [`Simd::LANES`] of the instruction set.
    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 => Simd128::LANES,
            Self::Portable => Portable::LANES,
        }
    }

    /// Does all `parts` of a kernel, on all threads of the pool where there is one.
    pub(crate) fn run<K: Kernel>(self, kernel: &K, parts: usize) {
        for_each(parts, |index| {
            // SAFETY: `available` checked the instruction set, and each part is done once.
            unsafe {
                match self {
                    #[cfg(target_arch = "x86_64")]
                    Self::Avx512 => part_avx512(kernel, index),
                    #[cfg(target_arch = "x86_64")]
                    Self::Avx2 => part_avx2(kernel, index),
                    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                    Self::Simd128 => part_simd128(kernel, index),
                    Self::Portable => kernel.part::<Portable>(index),
                }
            }
        });
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn part_avx512<K: Kernel>(kernel: &K, index: usize) {
    // SAFETY: the features of this function are those of `Avx512`.
    unsafe { kernel.part::<Avx512>(index) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn part_avx2<K: Kernel>(kernel: &K, index: usize) {
    // SAFETY: the features of this function are those of `Avx2`.
    unsafe { kernel.part::<Avx2>(index) }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
unsafe fn part_simd128<K: Kernel>(kernel: &K, index: usize) {
    // SAFETY: the features of this function are those of `Simd128`.
    unsafe { kernel.part::<Simd128>(index) }
}

/// A function that the compiler cannot inline. With `target_feature`, Rust 1.95 forgets
/// `#[inline(never)]`, and among a dozen inlined tiles the accumulators do not stay in registers.
#[inline(always)]
fn apart<L>(function: unsafe fn(&L)) -> unsafe fn(&L) {
    std::hint::black_box(function)
}

/// A pointer that the parts of one kernel write through, each its own numbers.
#[derive(Clone, Copy)]
pub(crate) struct Output(pub(crate) *mut f32);

impl Output {
    /// The place of number `index`.
    ///
    /// # Safety
    ///
    /// It has to lie in the memory behind the pointer.
    pub(crate) unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: as the caller vouches.
        unsafe { self.0.add(index) }
    }
}

// SAFETY: the parts of a kernel write disjoint numbers, and nothing reads them before all are done.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// Calls `body` with `0..count`, each once, in any order and on any thread.
pub(crate) fn for_each(count: usize, body: impl Fn(usize) + Sync + Send) {
    #[cfg(feature = "rayon")]
    if count > 1 {
        use rayon::prelude::*;
        (0..count).into_par_iter().with_max_len(1).for_each(body);
        return;
    }
    (0..count).for_each(body);
}

/// Threads that [`for_each`] can use.
pub(crate) fn threads() -> usize {
    #[cfg(feature = "rayon")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "rayon"))]
    1
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn vectors_round_to_bf16_as_numbers_do() {
        struct Round<'a>(&'a [f32], Output16);
        struct Output16(*mut u16);
        // SAFETY: there is one part, on one thread.
        unsafe impl Sync for Output16 {}
        impl Kernel for Round<'_> {
            #[inline(always)]
            unsafe fn part<S: Simd>(&self, _: usize) {
                // SAFETY: the caller vouches for the instruction set; there is room for as many.
                unsafe {
                    let to = std::slice::from_raw_parts_mut(self.1.0, self.0.len());
                    round_all::<S>(to, self.0);
                }
            }
        }
        let bits = (0..70_001_u32).map(|n| n.wrapping_mul(2_654_435_761));
        let special = [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::MAX,
            1.0,
            -0.0,
            1e-40,
        ];
        let numbers: Vec<f32> = special
            .into_iter()
            .chain(bits.map(f32::from_bits))
            .collect();
        for isa in Isa::available() {
            let mut found = vec![0; numbers.len()];
            isa.run(&Round(&numbers, Output16(found.as_mut_ptr())), 1);
            for (&number, found) in numbers.iter().zip(found) {
                let (found, expected) =
                    (half::bf16::from_bits(found), half::bf16::from_f32(number));
                let same = found == expected || found.is_nan() && expected.is_nan();
                assert!(same, "{isa:?}: {number:e} became {found:e}");
            }
        }
    }

    /// A function of that name means that an instruction has become a call, which costs half the speed.
    #[test]
    #[cfg_attr(debug_assertions, ignore = "only an optimised build inlines")]
    fn no_instruction_is_a_call() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // In two parts, so that the name itself is not in the program.
        for width in ["256_", "512_"] {
            let name = ["_mm", width].concat();
            let found = program
                .windows(name.len())
                .position(|part| part == name.as_bytes());
            let around = found.map(|at| {
                String::from_utf8_lossy(&program[at.saturating_sub(30)..at + 30]).into_owned()
            });
            assert_eq!(around, None);
        }
    }
}
