//! One vector of `f32` lanes for each instruction set that the kernels run on.
//!
//! A kernel is written once against [`Simd`] and marked `#[inline(always)]`; [`Isa::run`] enters it
//! through a function that carries the `target_feature`, so that the whole kernel is compiled for it.
//! All that a kernel calls must be inlined into that function: a closure that is left out of line has not
//! its `target_feature`, and every sum and product there becomes a call. A test looks for such calls.

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

/// AVX-512: 32 registers of 16 lanes, 24 of them accumulators.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[cfg(target_arch = "x86_64")]
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

/// AVX2 with fused multiply-add: 16 registers of 8 lanes, 12 of them accumulators.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
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

/// WebAssembly: 16 registers of 4 lanes on the usual host. A module with an instruction that the
/// browser does not know is refused whole, so relaxed SIMD, which has the fused multiply-add, is a
/// feature of the build and not of the moment; without it the product needs a register of its own.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
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
