//! The inner loop of every convolution: rows of numbers times a matrix, in registers.

use super::memory::Aligned;
use crate::engine::simd::{Isa, Loop, Simd};

/// How many vectors of output channels are computed at once where there are `channels`.
const fn vectors(lanes: usize, channels: usize) -> usize {
    let all = channels / lanes;
    match lanes {
        16 if all.is_multiple_of(4) => 4,
        _ if all.is_multiple_of(2) => 2,
        _ => 1,
    }
}

/// How many rows are computed at once beside so many vectors; together, the sums fit the registers.
const fn rows_beside(lanes: usize, vectors: usize) -> usize {
    match (lanes, vectors) {
        (16, 4) => 6,
        (16, _) => 8,
        (8, _) => 6,
        _ => 4,
    }
}

/// How many rows are computed at once for so many output channels.
pub(super) fn rows(isa: Isa, channels: usize) -> usize {
    rows_beside(isa.lanes(), vectors(isa.lanes(), channels))
}

/// Work made of tiles of R rows and N vectors.
pub(super) trait Tiled {
    /// # Safety
    ///
    /// As for [`Simd`].
    unsafe fn run<S: Simd, const R: usize, const N: usize>(&self);
}

/// Runs the work with the tiles that suit so many output channels.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
pub(super) unsafe fn tiled<S: Simd>(channels: usize, work: &impl Tiled) {
    // SAFETY: as the caller vouches.
    unsafe {
        match (S::LANES, vectors(S::LANES, channels)) {
            (16, 4) => work.run::<S, { rows_beside(16, 4) }, 4>(),
            (16, 2) => work.run::<S, { rows_beside(16, 2) }, 2>(),
            (16, _) => work.run::<S, { rows_beside(16, 1) }, 1>(),
            (8, 2) => work.run::<S, { rows_beside(8, 2) }, 2>(),
            (8, _) => work.run::<S, { rows_beside(8, 1) }, 1>(),
            (_, 2) => work.run::<S, { rows_beside(4, 2) }, 2>(),
            (_, _) => work.run::<S, { rows_beside(4, 1) }, 1>(),
        }
    }
}

/// A matrix, or some of one size, in the order of [`Panel`]:
/// `[block of channels out][row of the matrix][channel of the block]`.
#[derive(Debug)]
pub(super) struct Packed {
    numbers: Aligned,
    rows: usize,
    channels: usize,
    /// Channels of a block.
    width: usize,
}

impl Packed {
    /// `count` matrices of zeros, with so many rows and channels out, a multiple of the lanes.
    pub(super) fn zeros(count: usize, rows: usize, channels: usize, isa: Isa) -> Self {
        Self {
            numbers: Aligned::zeros(count * rows * channels),
            rows,
            channels,
            width: vectors(isa.lanes(), channels) * isa.lanes(),
        }
    }

    /// Numbers of all matrices.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// A row's numbers from a channel to the end of its block.
    pub(super) fn row(&mut self, matrix: usize, row: usize, channel: usize) -> &mut [f32] {
        let Self { rows, width, .. } = *self;
        let block = (matrix * self.channels + channel / width * width) * rows;
        &mut self.numbers[block + row * width..][channel % width..width]
    }

    /// The start of the block of a matrix that begins with a channel.
    #[inline(always)]
    pub(super) fn block(&self, matrix: usize, channel: usize) -> *const f32 {
        self.numbers[(matrix * self.channels + channel) * self.rows..].as_ptr()
    }
}

/// Most rows of [`rows`].
pub(super) const MOST_ROWS: usize = 8;

/// `to`\[r\]\[o\] = Σ_t Σ_c `rows`\[r\]\[taps\[t\] + c\] · `weights`\[t\]\[c\]\[o\], for R rows and N vectors of o.
pub(super) struct Panel<'a, const R: usize, const N: usize> {
    pub(super) rows: [*const f32; R],
    pub(super) taps: &'a [usize],
    pub(super) channels: usize,
    pub(super) weights: *const f32,
    pub(super) to: *mut f32,
    /// From one row of `to` to the next.
    pub(super) pitch: usize,
}

impl<const R: usize, const N: usize> Panel<'_, R, N> {
    /// # Safety
    ///
    /// As for [`Simd`]; and all pointers must be valid for what the formula reads and writes.
    // The indices are those of the formula, and of registers once the loops are unrolled.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self) {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut total = [[S::splat(0.0); N]; R];
            let mut weights = self.weights;
            for &tap in self.taps {
                for c in 0..self.channels {
                    let mut w = [S::splat(0.0); N];
                    for n in 0..N {
                        w[n] = S::load(weights.add(n * S::LANES));
                    }
                    for r in 0..R {
                        let x = S::splat(*self.rows[r].add(tap + c));
                        for n in 0..N {
                            total[r][n] = S::mul_add(x, w[n], total[r][n]);
                        }
                    }
                    weights = weights.add(N * S::LANES);
                }
            }
            for r in 0..R {
                for n in 0..N {
                    S::store(self.to.add(r * self.pitch + n * S::LANES), total[r][n]);
                }
            }
        }
    }
}

/// The product of many rows that lie one behind the other with one block of a matrix.
pub(super) struct Product<const R: usize, const N: usize> {
    /// `[rows][channels]`
    pub(super) from: *const f32,
    /// A multiple of R.
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) weights: *const f32,
    pub(super) to: *mut f32,
    pub(super) pitch: usize,
}

impl<const R: usize, const N: usize> Loop for Product<R, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: as the caller vouches.
            unsafe {
                let panel = Panel::<R, N> {
                    rows: std::array::from_fn(|r| self.from.add((row + r) * self.channels)),
                    taps: &[0],
                    channels: self.channels,
                    weights: self.weights,
                    to: self.to.add(row * self.pitch),
                    pitch: self.pitch,
                };
                panel.run::<S>();
            }
            row += R;
        }
    }
}

impl<const R: usize, const N: usize> Loop for Panel<'_, R, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        // SAFETY: as the caller vouches.
        unsafe { Panel::run::<S>(self) }
    }
}
