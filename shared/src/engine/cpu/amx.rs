//! Advanced Matrix Extensions: registers that hold tiles of 16 rows of 64 bytes, and an instruction
//! that multiplies two tiles of bf16 numbers and adds the products to a tile of single precision.
//!
//! One instruction does the work of 32 of AVX-512's. Factors are rounded to bf16, to the nearest and
//! ties to even; sums are single precision.
//!
//! Rust has no stable functions for these instructions, so they are written in assembly, which the
//! compiler passes on whatever features it was told. No code that it makes itself uses the tile
//! registers, so that they keep their content from one block of assembly to the next.

/// Rows of a tile, and numbers of single precision in each.
pub(crate) const ROWS: usize = 16;

/// bf16 numbers in a row of a tile.
pub(crate) const NUMBERS: usize = 32;

/// That this processor has the extensions, and that the system lets this process use them.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(());

/// Elsewhere there is none, and what would need it is not compiled.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amx {}

impl Amx {
    /// The proof, where it is true.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn get() -> Option<Self> {
        static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        FOUND.get_or_init(permitted).then_some(Self(()))
    }

    /// The proof, where it is true.
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    pub(crate) fn get() -> Option<Self> {
        None
    }

    /// Makes the tile registers of this thread ready for left factors and sums of so many rows, at
    /// most [`ROWS`].
    pub(super) fn configure(self, rows: usize) -> Configured {
        assert!((1..=ROWS).contains(&rows), "a tile of {rows} rows");
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..6].fill(rows as u8);
        configuration.rows[6..8].fill(ROWS as u8);
        // SAFETY: the instruction exists, as `self` says, and the configuration is a valid one.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        unsafe {
            std::arch::asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                options(nostack, preserves_flags, readonly),
            );
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        let _ = configuration;
        Configured(std::marker::PhantomData)
    }
}

/// That the tile registers of this thread are ready. In the end they are given back, or the system would
/// save them at every change of threads.
pub(super) struct Configured(std::marker::PhantomData<*const ()>);

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the instruction exists, or there would be no `Configured`.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        unsafe {
            std::arch::asm!("tilerelease", options(nostack, preserves_flags, nomem));
        }
    }
}

/// Sums of products: `c`\[m\]\[r\]\[16 n + o\] = Σ_k Σ_p a\[m\]\[k\]\[r\]\[p\] · b\[k\]\[n\]\[p\]\[o\], for two tiles m
/// of the left factor and N tiles n of the right one, 1 or 2.
///
/// A tile of the right factor has a row for every two p: the numbers of p = 0 and p = 1 for o = 0,
/// then for o = 1, and so on.
pub(super) struct Product<'a, const N: usize> {
    /// Both tiles of the left factor for an offset of zero.
    pub(super) a: [*const u16; 2],
    /// Bytes from one row to the next.
    pub(super) a_pitch: usize,
    /// For each k, how many bytes behind `a` its tiles begin.
    pub(super) offsets: &'a [usize],
    /// The first tile of the right factor.
    pub(super) b: *const u16,
    /// Bytes from one row to the next.
    pub(super) b_pitch: usize,
    /// Bytes from the tile of one k to that of the next.
    pub(super) b_step: usize,
    /// Rows of N · 16 numbers, one behind the other.
    pub(super) c: [*mut f32; 2],
}

impl<const N: usize> Product<'_, N> {
    /// Computes the sums, and adds them to what is at `c` or puts them there. `NEXT` is how many bytes
    /// the second tile of the right factor begins behind the first.
    ///
    /// # Safety
    ///
    /// All pointers must be valid for what the formula reads and writes.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(super) unsafe fn run<const NEXT: usize>(&self, _: &Configured, add: bool) {
        use std::arch::asm;
        const { assert!(N == 1 || N == 2) };
        let [c0, c1] = self.c;
        let c_pitch = N * ROWS * 4;
        let away = (self.a[1] as usize).wrapping_sub(self.a[0] as usize);
        let end = self.offsets.as_ptr_range().end;
        // SAFETY: as the caller vouches; `Configured` says that the registers are ready, and the first
        // block of assembly gives those of the sums their content.
        unsafe {
            match (add, N) {
                (false, _) => asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    options(nostack, preserves_flags, nomem),
                ),
                (true, 1) => asm!(
                    "tileloadd tmm0, [{c0} + {pitch}]",
                    "tileloadd tmm2, [{c1} + {pitch}]",
                    c0 = in(reg) c0, c1 = in(reg) c1, pitch = in(reg) c_pitch,
                    options(nostack, preserves_flags, readonly),
                ),
                (true, _) => asm!(
                    "tileloadd tmm0, [{c0} + {pitch}]",
                    "tileloadd tmm1, [{c0} + {pitch} + 64]",
                    "tileloadd tmm2, [{c1} + {pitch}]",
                    "tileloadd tmm3, [{c1} + {pitch} + 64]",
                    c0 = in(reg) c0, c1 = in(reg) c1, pitch = in(reg) c_pitch,
                    options(nostack, preserves_flags, readonly),
                ),
            }
            if self.offsets.is_empty() {
            } else if N == 1 {
                asm!(
                    "2:",
                    "mov {at}, [{offset}]",
                    "add {at}, {a}",
                    "tileloadd tmm6, [{b} + {b_pitch}]",
                    "tileloadd tmm4, [{at} + {a_pitch}]",
                    "add {at}, {away}",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{at} + {a_pitch}]",
                    "add {b}, {b_step}",
                    "add {offset}, 8",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "cmp {offset}, {end}",
                    "jne 2b",
                    at = out(reg) _,
                    offset = inout(reg) self.offsets.as_ptr() => _,
                    end = in(reg) end,
                    a = in(reg) self.a[0],
                    a_pitch = in(reg) self.a_pitch,
                    away = in(reg) away,
                    b = inout(reg) self.b => _,
                    b_pitch = in(reg) self.b_pitch,
                    b_step = in(reg) self.b_step,
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "2:",
                    "mov {at}, [{offset}]",
                    "add {at}, {a}",
                    "tileloadd tmm6, [{b} + {b_pitch}]",
                    "tileloadd tmm4, [{at} + {a_pitch}]",
                    "tileloadd tmm7, [{b} + {b_pitch} + {next}]",
                    "add {at}, {away}",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{at} + {a_pitch}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {b}, {b_step}",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "add {offset}, 8",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "cmp {offset}, {end}",
                    "jne 2b",
                    at = out(reg) _,
                    offset = inout(reg) self.offsets.as_ptr() => _,
                    end = in(reg) end,
                    a = in(reg) self.a[0],
                    a_pitch = in(reg) self.a_pitch,
                    away = in(reg) away,
                    b = inout(reg) self.b => _,
                    b_pitch = in(reg) self.b_pitch,
                    b_step = in(reg) self.b_step,
                    next = const NEXT,
                    options(nostack, readonly),
                );
            }
            if N == 1 {
                asm!(
                    "tilestored [{c0} + {pitch}], tmm0",
                    "tilestored [{c1} + {pitch}], tmm2",
                    c0 = in(reg) c0, c1 = in(reg) c1, pitch = in(reg) c_pitch,
                    options(nostack, preserves_flags),
                );
            } else {
                asm!(
                    "tilestored [{c0} + {pitch}], tmm0",
                    "tilestored [{c0} + {pitch} + 64], tmm1",
                    "tilestored [{c1} + {pitch}], tmm2",
                    "tilestored [{c1} + {pitch} + 64], tmm3",
                    c0 = in(reg) c0, c1 = in(reg) c1, pitch = in(reg) c_pitch,
                    options(nostack, preserves_flags),
                );
            }
        }
    }

    /// Never called: there is no [`Amx`] here.
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    pub(super) unsafe fn run<const NEXT: usize>(&self, _: &Configured, _: bool) {
        unreachable!("tiles are multiplied only where there are some");
    }
}

/// Asks the processor, and then the system, which has to make room for the registers.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;

    let has = AMX_BF16 | AMX_TILE;
    if !is_x86_feature_detected!("avx512f")
        || __cpuid(0).eax < 7
        || __cpuid_count(7, 0).edx & has != has
    {
        return false;
    }
    let answer: i64;
    // SAFETY: a system call that reads and writes no memory; x86-64 destroys rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}
