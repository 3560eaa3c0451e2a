//! The kernel of the weight gradient: products of two planes, summed over all positions.
//!
//! ```text
//! dw[o][k] = Σ_n Σ_p dy[n][o][p] · x[n][p + offset(k)],      k = (input channel, tap)
//! ```
//!
//! A register tile holds the sums of [`Simd::BLOCK`] output channels with three `k`, each sum spread
//! over the lanes of a vector; the lanes are added up at the end. So that this is rare, the loop
//! over positions runs through several images.
//!
//! The batch is divided into sections whose number depends on the shapes alone. Each section adds
//! up its own gradient, image after image, and the sections are added in order: the result has the
//! same bits whichever thread computes which section.

use super::correlate::Block;
use super::planes::{Planes, Scratch};
use crate::simd::{Isa, Kernel, Loop, Output, Simd, for_each};

/// Vectors of positions that a tile should see before its lanes are added up.
const VECTORS: usize = 112;

/// Numbers of laid-out images that may wait for their turn: half of a usual second-level cache.
const CACHE: usize = 128 * 1024;

/// Output channels of one part of the work.
const CHANNELS: usize = 32;

/// One batch whose weight gradient is wanted.
pub(crate) struct WeightGradient<'a> {
    /// `[batch, channels, planes.height, planes.width]`
    pub(crate) x: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) planes: Planes,
    /// Offset of each tap in the planes of `x`.
    pub(crate) taps: Vec<usize>,
    /// `[batch, output_channels, height, width]`
    pub(crate) gradient: &'a [f32],
    pub(crate) output_channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) batch: usize,
}

impl WeightGradient<'_> {
    /// Computes the gradient, `[output channel][input channel][tap]`.
    pub(crate) fn run(&self, isa: Isa) -> Vec<f32> {
        let images = self.planes.images;
        let lanes = isa.lanes();
        // In rows of the same length as those of x, so that one offset serves all positions; lanes
        // of different images need no zero column.
        let (row, phase) = if images == 1 {
            (
                self.planes.row,
                (self.height * self.planes.row).next_multiple_of(lanes),
            )
        } else {
            (self.width, self.height * self.width)
        };
        let gradient = Planes {
            height: self.height,
            width: self.width,
            step: 1,
            padding: 0,
            row,
            phase,
            images,
        };
        let runs = if images == 1 {
            Runs {
                count: 1,
                vectors: phase / lanes,
                x: 0,
                gradient: 0,
            }
        } else {
            Runs {
                count: self.height,
                vectors: self.width,
                x: self.planes.row * images,
                gradient: self.width * images,
            }
        };

        let groups = self.batch.div_ceil(images);
        let sections = (16 / self.output_channels.div_ceil(CHANNELS)).clamp(1, groups);
        let per_section = groups.div_ceil(sections);
        let sections = groups.div_ceil(per_section);
        let wanted = VECTORS.div_ceil(runs.count * runs.vectors);
        let allowed = CACHE / (self.channels * self.planes.channel());
        let at_once = wanted.min(allowed).clamp(1, per_section);

        let columns = self.channels * self.taps.len();
        let mut sums = vec![0.0; sections * self.output_channels * columns];
        let sectioned = Sectioned {
            of: self,
            gradient,
            runs,
            groups,
            per_section,
            at_once,
            blocks: Block::divide(self.output_channels, isa.block()),
            columns: (0..columns)
                .map(|k| {
                    k / self.taps.len() * self.planes.channel() + self.taps[k % self.taps.len()]
                })
                .collect(),
            splits: self.output_channels.div_ceil(CHANNELS),
            sums: Output(sums.as_mut_ptr()),
        };
        isa.run(&sectioned, sections * sectioned.splits);

        let (total, others) = sums.split_at_mut(self.output_channels * columns);
        for other in others.chunks(total.len()) {
            for (total, other) in total.iter_mut().zip(other) {
                *total += other;
            }
        }
        sums.truncate(self.output_channels * columns);
        sums
    }
}

/// The bias gradient, Σ_n Σ_p dy[n][o][p], of `gradient`, `[batch, channels, pixels]`.
pub(crate) fn bias_gradient(gradient: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    let output = Output(sums.as_mut_ptr());
    for_each(channels, |channel| {
        let mut total = 0.0_f64;
        for image in gradient.chunks(channels * pixels) {
            let plane = &image[channel * pixels..][..pixels];
            let mut lanes = [0.0_f32; 16];
            let mut chunks = plane.chunks_exact(16);
            for chunk in &mut chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane += value;
                }
            }
            let rest: f32 = chunks.remainder().iter().sum();
            total += f64::from(lanes.iter().sum::<f32>() + rest);
        }
        // SAFETY: each channel's sum is written once, and `sums` outlives the loop.
        unsafe { *output.at(channel) = total as f32 };
    });
    sums
}

/// The positions of an image as runs of vectors without a gap.
#[derive(Clone, Copy)]
struct Runs {
    count: usize,
    vectors: usize,
    /// Numbers from one run to the next, in `x` and in the gradient.
    x: usize,
    gradient: usize,
}

/// A weight gradient with its division into parts.
struct Sectioned<'a> {
    of: &'a WeightGradient<'a>,
    gradient: Planes,
    runs: Runs,
    /// Groups of images that lie side by side: all of them, of one section, in the cache at once.
    groups: usize,
    per_section: usize,
    at_once: usize,
    blocks: Vec<Block>,
    /// Offset of each `k` in the planes of `x`.
    columns: Vec<usize>,
    splits: usize,
    /// `[section][output channel][k]`
    sums: Output,
}

impl Kernel for Sectioned<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let of = self.of;
        let (section, split) = (index / self.splits, index % self.splits);
        let blocks = &self.blocks[split * self.blocks.len() / self.splits
            ..(split + 1) * self.blocks.len() / self.splits];
        let (Some(front), Some(back)) = (blocks.first(), blocks.last()) else {
            return;
        };
        let (start, end) = (front.start, back.start + back.size);
        let x_group = of.channels * of.planes.channel();
        let gradient_group = (end - start) * self.gradient.channel();
        let mut x = Scratch::take(self.at_once * x_group);
        let x = x.numbers();
        let mut gradient = Scratch::take(self.at_once * gradient_group);
        let gradient = gradient.numbers();

        let mut group = section * self.per_section;
        let last = self.groups.min(group + self.per_section);
        while group < last {
            let groups = self.at_once.min(last - group);
            for g in 0..groups {
                let first = (group + g) * of.planes.images;
                let images = of.planes.images.min(of.batch - first);
                let mut sources: [&[f32]; 16] = [&[]; 16];
                let image = of.channels * of.planes.height * of.planes.width;
                for (n, source) in sources[..images].iter_mut().enumerate() {
                    *source = &of.x[(first + n) * image..][..image];
                }
                let x = &mut x[g * x_group..];
                // SAFETY: the caller vouches for the instruction set.
                unsafe { of.planes.pack::<S>(&sources[..images], of.channels, x) };
                let pixels = of.height * of.width;
                for (n, source) in sources[..images].iter_mut().enumerate() {
                    let image = &of.gradient[(first + n) * of.output_channels * pixels..];
                    *source = &image[start * pixels..end * pixels];
                }
                let gradient = &mut gradient[g * gradient_group..];
                // SAFETY: the caller vouches for the instruction set.
                unsafe {
                    self.gradient
                        .pack::<S>(&sources[..images], end - start, gradient)
                };
            }
            for block in blocks {
                let tile = Tiles {
                    x: x.as_ptr(),
                    x_group,
                    gradient: gradient[(block.start - start) * self.gradient.channel()..].as_ptr(),
                    gradient_channel: self.gradient.channel(),
                    gradient_group,
                    groups,
                    runs: self.runs,
                    stride: self.columns.len(),
                };
                let row = (section * of.output_channels + block.start) * self.columns.len();
                for (first, at) in self.columns.chunks(3).enumerate() {
                    // SAFETY: the caller vouches for the instruction set, the planes were packed
                    // just now, and no other part adds to this section's sums of this block.
                    unsafe {
                        let sums = self.sums.at(row + first * 3);
                        match (block.size, at.len()) {
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
                }
            }
            group += groups;
        }
    }
}

/// What the register tiles of one block share.
struct Tiles {
    x: *const f32,
    x_group: usize,
    gradient: *const f32,
    gradient_channel: usize,
    gradient_group: usize,
    groups: usize,
    runs: Runs,
    /// Numbers in `sums` from one output channel to the next.
    stride: usize,
}

/// Adds the products of `O` output channels with the `K` planes at `at` to `sums`.
struct Tile<'a, const O: usize, const K: usize> {
    of: &'a Tiles,
    at: &'a [usize],
    sums: *mut f32,
}

impl<const O: usize, const K: usize> Loop for Tile<'_, O, K> {
    // The indices are those of the formula, and of registers once the loops are unrolled.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let Self { of, at, sums } = self;
        assert!(at.len() == K);
        // SAFETY: as the caller vouches.
        unsafe {
            let mut total = [[S::splat(0.0); K]; O];
            let mut offsets = [0; K];
            offsets.copy_from_slice(at);
            for group in 0..of.groups {
                for run in 0..of.runs.count {
                    let gradient = of
                        .gradient
                        .add(group * of.gradient_group + run * of.runs.gradient);
                    let x = of.x.add(group * of.x_group + run * of.runs.x);
                    for v in 0..of.runs.vectors {
                        let mut pixels = [S::splat(0.0); K];
                        for k in 0..K {
                            pixels[k] = S::load(x.add(offsets[k] + v * S::LANES));
                        }
                        for o in 0..O {
                            let slope =
                                S::load(gradient.add(o * of.gradient_channel + v * S::LANES));
                            for k in 0..K {
                                total[o][k] = S::mul_add(slope, pixels[k], total[o][k]);
                            }
                        }
                    }
                }
            }
            for o in 0..O {
                for k in 0..K {
                    *sums.add(o * of.stride + k) += S::sum(total[o][k]);
                }
            }
        }
    }
}
