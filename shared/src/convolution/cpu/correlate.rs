//! The kernel of the forward pass and of the data gradient: a sum of shifted planes.
//!
//! Both are the same sum with other taps, from `C` source channels to `O` output channels:
//!
//! ```text
//! out[o][p] = bias[o] + Σ_c Σ_t w[o][c][t] · source[c][p + offset(t)]
//! ```
//!
//! A register tile holds the sums of [`Simd::BLOCK`] output channels at [`Simd::VECTORS`] vectors of
//! positions; one step loads the vectors under one tap and adds their products with one weight of
//! each output channel. The order of the sum is that of the formula whatever the tile, so a result
//! does not depend on how the work is divided.

use super::planes::{Planes, Scratch, copy};
use crate::simd::{Isa, Kernel, Loop, Output, Simd, transpose};

/// Output positions computed before they are stored: what a block of output channels leaves in the
/// nearest caches.
const POSITIONS: usize = 1536;

/// The outputs `(first_row + step·row, first_column + step·column)` of every channel, and their taps.
pub(crate) struct Phase {
    pub(crate) first_row: usize,
    pub(crate) first_column: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Offset of each tap in the source planes.
    pub(crate) taps: Vec<usize>,
    /// Weights in the order of the kernel's loops: `[block][source channel][tap][channel of the block]`.
    pub(crate) weights: Vec<f32>,
}

/// Consecutive output channels of one register tile.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

impl Block {
    /// Divides `channels` into tiles of `largest`, then of smaller powers of two.
    pub(crate) fn divide(channels: usize, largest: usize) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut start = 0;
        while start < channels {
            let mut size = largest;
            while size > channels - start {
                size /= 2;
            }
            blocks.push(Self { start, size });
            start += size;
        }
        blocks
    }
}

/// Packs the weights of one phase; `weight(o, c, t)` is the weight from source channel `c` to output
/// channel `o` under tap `t`.
pub(crate) fn pack_weights(
    blocks: &[Block],
    channels: usize,
    taps: usize,
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let total: usize = blocks.iter().map(|block| block.size).sum();
    let mut packed = Vec::with_capacity(total * channels * taps);
    for block in blocks {
        for c in 0..channels {
            for t in 0..taps {
                packed.extend((0..block.size).map(|i| weight(block.start + i, c, t)));
            }
        }
    }
    packed
}

/// One batch to be correlated.
pub(crate) struct Correlation<'a> {
    /// `[batch, channels, planes.height, planes.width]`
    pub(crate) source: &'a [f32],
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) planes: Planes,
    /// `[batch, output_channels, height, width]`
    pub(crate) output: Output,
    pub(crate) output_channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Distance in the output of neighbouring positions of one phase.
    pub(crate) step: usize,
    pub(crate) phases: Vec<Phase>,
    pub(crate) blocks: Vec<Block>,
    /// One number for each output channel.
    pub(crate) bias: Vec<f32>,
    /// Parts that share one source, each with its own blocks of output channels.
    pub(crate) splits: usize,
}

impl Correlation<'_> {
    /// Computes all outputs.
    pub(crate) fn run(&self, isa: Isa) {
        isa.run(self, self.batch.div_ceil(self.planes.images) * self.splits);
    }
}

impl Kernel for Correlation<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let (group, split) = (index / self.splits, index % self.splits);
        let first = group * self.planes.images;
        let images = self.planes.images.min(self.batch - first);
        let blocks =
            split * self.blocks.len() / self.splits..(split + 1) * self.blocks.len() / self.splits;

        let image = self.channels * self.planes.height * self.planes.width;
        let mut sources: [&[f32]; 16] = [&[]; 16];
        for (n, source) in sources[..images].iter_mut().enumerate() {
            *source = &self.source[(first + n) * image..][..image];
        }
        let mut source = Scratch::take(self.channels * self.planes.channel());
        let source = source.numbers();
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            self.planes
                .pack::<S>(&sources[..images], self.channels, source)
        };

        let mut sums = Scratch::take(0);
        let mut vectors = Vec::new();
        for phase in &self.phases {
            // Rows at once: their positions side by side, or whole vectors of images.
            let positions = if self.planes.images == 1 {
                POSITIONS / self.planes.row
            } else {
                POSITIONS / (4 * phase.columns * self.planes.images)
            };
            let at_once = positions.max(1);
            let mut row = 0;
            while row < phase.rows {
                let rows = at_once.min(phase.rows - row);
                vectors.clear();
                if self.planes.images == 1 {
                    let start = row * self.planes.row;
                    let count = ((rows - 1) * self.planes.row + phase.columns).div_ceil(S::LANES);
                    vectors.extend((0..count).map(|v| start + v * S::LANES));
                } else {
                    for r in row..row + rows {
                        let start = r * self.planes.row;
                        vectors.extend((0..phase.columns).map(|p| (start + p) * S::LANES));
                    }
                }
                let length = vectors.len() * S::LANES;
                if sums.numbers().len() < S::BLOCK * length {
                    sums = Scratch::take(S::BLOCK * length);
                }
                let sums = sums.numbers();
                for block in &self.blocks[blocks.clone()] {
                    // SAFETY: the caller vouches for the instruction set. The planes are long
                    // enough for a vector at any position under any tap, and `sums` for the block.
                    unsafe { self.block::<S>(phase, *block, source, &vectors, sums) };
                    // SAFETY: no other part stores these images' channels of this block.
                    unsafe {
                        self.store::<S>(phase, *block, first, images, row, rows, sums, length)
                    };
                }
                row += rows;
            }
        }
    }
}

impl Correlation<'_> {
    /// Computes a block's sums at `vectors` into `sums`, `[channel of the block][vector][lane]`.
    #[inline(always)]
    unsafe fn block<S: Simd>(
        &self,
        phase: &Phase,
        block: Block,
        source: &[f32],
        vectors: &[usize],
        sums: &mut [f32],
    ) {
        let tile = Tiles {
            source: source.as_ptr(),
            channel: self.planes.channel(),
            channels: self.channels,
            taps: &phase.taps,
            weights: &phase.weights[block.start * self.channels * phase.taps.len()..],
            bias: &self.bias[block.start..],
            stride: vectors.len() * S::LANES,
        };
        let mut done = 0;
        while done < vectors.len() {
            let rest = vectors.len() - done;
            // A last tile of one vector would wait for its loads; two of two do not.
            let count = match rest {
                4 => 2,
                rest => rest.min(S::VECTORS),
            };
            let at = &vectors[done..done + count];
            let sums = sums[done * S::LANES..].as_mut_ptr();
            // SAFETY: as the caller vouches.
            unsafe {
                match (block.size, count) {
                    (8, 3) => S::run(&Tile::<8, 3> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (8, 2) => S::run(&Tile::<8, 2> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (8, _) => S::run(&Tile::<8, 1> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (4, 3) => S::run(&Tile::<4, 3> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (4, 2) => S::run(&Tile::<4, 2> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (4, _) => S::run(&Tile::<4, 1> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (2, 3) => S::run(&Tile::<2, 3> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (2, 2) => S::run(&Tile::<2, 2> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (2, _) => S::run(&Tile::<2, 1> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (_, 3) => S::run(&Tile::<1, 3> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (_, 2) => S::run(&Tile::<1, 2> {
                        of: &tile,
                        at,
                        sums,
                    }),
                    (_, _) => S::run(&Tile::<1, 1> {
                        of: &tile,
                        at,
                        sums,
                    }),
                }
            }
            done += count;
        }
    }

    /// Stores what [`Correlation::block`] computed, without the zero columns.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        phase: &Phase,
        block: Block,
        first: usize,
        images: usize,
        row: usize,
        rows: usize,
        sums: &[f32],
        length: usize,
    ) {
        let pixels = self.height * self.width;
        let start = (first * self.output_channels + block.start) * pixels;
        for channel in 0..block.size {
            let sums = &sums[channel * length..][..length];
            let start = start + channel * pixels;
            // SAFETY: (y, first_column + step·column) is a pixel of the image for every row and
            // column of the phase, and no other part writes to it.
            unsafe {
                if self.planes.images == 1 {
                    for r in 0..rows {
                        let y = phase.first_row + (row + r) * self.step;
                        let sums = &sums[r * self.planes.row..][..phase.columns];
                        let to = self
                            .output
                            .0
                            .add(start + y * self.width + phase.first_column);
                        if self.step == 1 {
                            copy::<S>(sums, std::slice::from_raw_parts_mut(to, phase.columns));
                        } else {
                            for (column, &sum) in sums.iter().enumerate() {
                                *to.add(column * self.step) = sum;
                            }
                        }
                    }
                } else if self.step == 1 && images == S::LANES && length >= S::LANES * S::LANES {
                    let to = self.output.at(start + row * self.width);
                    one_by_one::<S>(sums, to, self.output_channels * pixels);
                } else {
                    for (p, sums) in sums.chunks_exact(S::LANES).enumerate() {
                        let y = phase.first_row + (row + p / phase.columns) * self.step;
                        let x = phase.first_column + p % phase.columns * self.step;
                        for (image, &sum) in sums[..images].iter().enumerate() {
                            let image = image * self.output_channels * pixels;
                            *self.output.at(start + image + y * self.width + x) = sum;
                        }
                    }
                }
            }
        }
    }
}

/// Takes images that lie side by side apart: image n, one from each lane, goes to `to + n · image`.
///
/// # Safety
///
/// As for [`Simd`]; and `to` must be valid for as many numbers of each image as there are vectors.
#[inline(always)]
unsafe fn one_by_one<S: Simd>(from: &[f32], to: *mut f32, image: usize) {
    let positions = from.len() / S::LANES;
    let mut start = 0;
    loop {
        // SAFETY: as the caller vouches; the source has been checked for the square.
        unsafe {
            let rows = &from[start * S::LANES..(start + S::LANES) * S::LANES];
            let mut square = [S::splat(0.0); 16];
            for (i, row) in square.iter_mut().enumerate().take(S::LANES) {
                *row = S::load(rows.as_ptr().add(i * S::LANES));
            }
            transpose::<S>(&mut square);
            for (n, &row) in square.iter().enumerate().take(S::LANES) {
                S::store(to.add(n * image + start), row);
            }
        }
        if start + S::LANES == positions {
            break;
        }
        // The last square overlaps the one before it.
        start = (start + S::LANES).min(positions - S::LANES);
    }
}

/// What the register tiles of one block share.
struct Tiles<'a> {
    source: *const f32,
    channel: usize,
    channels: usize,
    taps: &'a [usize],
    weights: &'a [f32],
    bias: &'a [f32],
    /// Numbers in `sums` from one output channel to the next.
    stride: usize,
}

/// Sums of `O` output channels at the `V` vectors that start at the positions `at`.
struct Tile<'a, const O: usize, const V: usize> {
    of: &'a Tiles<'a>,
    at: &'a [usize],
    sums: *mut f32,
}

impl<const O: usize, const V: usize> Loop for Tile<'_, O, V> {
    // The indices are those of the formula, and of registers once the loops are unrolled.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let Self { of, at, sums } = self;
        assert!(at.len() == V && of.bias.len() >= O);
        assert!(of.weights.len() >= of.channels * of.taps.len() * O);
        // SAFETY: the weights were counted just now; for the others the caller vouches.
        unsafe {
            let mut total = [[S::splat(0.0); V]; O];
            let mut source = [of.source; V];
            for o in 0..O {
                total[o] = [S::splat(of.bias[o]); V];
            }
            for v in 0..V {
                source[v] = of.source.add(at[v]);
            }
            let mut weights = of.weights.as_ptr();
            for _ in 0..of.channels {
                for &tap in of.taps {
                    let mut x = [S::splat(0.0); V];
                    for v in 0..V {
                        x[v] = S::load(source[v].add(tap));
                    }
                    for o in 0..O {
                        let weight = S::splat(*weights.add(o));
                        for v in 0..V {
                            total[o][v] = S::mul_add(weight, x[v], total[o][v]);
                        }
                    }
                    weights = weights.add(O);
                }
                for pointer in &mut source {
                    *pointer = pointer.wrapping_add(of.channel);
                }
            }
            for o in 0..O {
                for v in 0..V {
                    S::store(sums.add(o * of.stride + v * S::LANES), total[o][v]);
                }
            }
        }
    }
}
