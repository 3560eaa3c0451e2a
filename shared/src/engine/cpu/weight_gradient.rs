//! The gradient of a convolution's weights: products of what it read and of what its output's
//! gradient is, summed over all pixels of all images.
//!
//! ```text
//! dw[a][b][i][o] = Σ_n Σ_p x[n][stride · p + (a, b) − padding][i] · dy[n][p][o]
//! ```
//!
//! 3×3 kernels of stride one take the transpose of [`super::winograd`]: with the transformed tiles
//! V = Bᵀ x B and U = A dy Aᵀ, dw = Gᵀ (Σ_tiles V ⊙ U) G, a quarter of the products. It costs about
//! a decimal digit, as forward. The others are summed tap by tap.
//!
//! The batch is divided into sections whose number depends on the sizes alone. Each adds up its own
//! gradient, image after image, and the sections are added in order: the result has the same bits
//! whichever thread computes which section.

use super::{
    filter::Filter,
    image::{self, Layout, TILE},
    memory::{Aligned, Scratch},
    winograd::{self, POSITIONS},
};
use crate::engine::simd::{Isa, Kernel, Loop, Output, Simd};

/// Channels out of one part of the work.
const CHANNELS: usize = 64;

/// Parts of the work, where there are images enough: divided evenly among up to as many threads.
const PARTS: usize = 16;

/// Tiles that should be worked on at once: so often is a sum added to before it is put away.
const TILES: usize = 32;

/// The gradient of `filter.weight`, whose numbers are not read, in its order.
///
/// # Shapes
/// - x: `[batch, channels_in, rows, columns]`
/// - gradient: `[batch, channels_out, ⌈rows / stride⌉, ⌈columns / stride⌉]`
pub(crate) fn weight_gradient(
    isa: Isa,
    filter: &Filter,
    [rows, columns]: [usize; 2],
    x: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let lanes = isa.lanes();
    let Filter {
        channels_in,
        channels_out,
        kernel,
        stride,
        ..
    } = *filter;
    let source = Layout::new(channels_in.next_multiple_of(lanes), [rows, columns]);
    let output = [rows, columns].map(|size| size.div_ceil(stride));
    let batch = x.len() / (channels_in * rows * columns);
    let splits = channels_out.div_ceil(CHANNELS);
    let sections = (PARTS / splits).clamp(1, batch);
    let per_section = batch.div_ceil(sections);
    let sections = batch.div_ceil(per_section);
    let by_winograd = filter.by_winograd(channels_in);
    let tiles: usize = source.tiles().iter().product();
    let at_once = if by_winograd {
        TILES.div_ceil(tiles).min(per_section)
    } else {
        1
    };
    let matrices = if by_winograd {
        POSITIONS
    } else {
        kernel * kernel
    };
    let width = CHANNELS.min(channels_out.next_multiple_of(lanes));
    let part = matrices * source.channels * width;
    let mut sums = Aligned::zeros(sections * splits * part);
    let sectioned = Sectioned {
        filter,
        x,
        source,
        gradient,
        output: Layout::new(width, output),
        batch,
        splits,
        per_section,
        at_once,
        by_winograd,
        part,
        sums: Output(sums.as_mut_ptr()),
    };
    isa.run(&sectioned, sections * splits);

    let (total, others) = sums.split_at_mut(splits * part);
    for other in others.chunks(total.len()) {
        for (total, other) in total.iter_mut().zip(other) {
            *total += other;
        }
    }
    let mut weight = vec![0.0; channels_out * channels_in * kernel * kernel];
    for o in (0..channels_out).step_by(lanes) {
        let part = &total[o / CHANNELS * part..][..part];
        let count = lanes.min(channels_out - o);
        for i in 0..channels_in {
            let at = |matrix: usize| {
                let row = (matrix * source.channels + i) * width;
                let mut numbers = [0.0; 16];
                numbers[..lanes].copy_from_slice(&part[row + o % CHANNELS..][..lanes]);
                numbers
            };
            let mut taps = [[0.0; 16]; 9];
            if by_winograd {
                taps = winograd::transform_kernels_back(&std::array::from_fn(at));
            } else {
                for (tap, numbers) in taps.iter_mut().enumerate().take(matrices) {
                    *numbers = at(tap);
                }
            }
            for lane in 0..count {
                let kernel = kernel * kernel;
                let weight = &mut weight[((o + lane) * channels_in + i) * kernel..][..kernel];
                for (weight, numbers) in weight.iter_mut().zip(&taps) {
                    *weight = numbers[lane];
                }
            }
        }
    }
    weight
}

/// A weight gradient with its division into parts.
struct Sectioned<'a> {
    filter: &'a Filter<'a>,
    x: &'a [f32],
    /// How x lies in memory.
    source: Layout,
    gradient: &'a [f32],
    /// How the gradient's channels of one part lie in memory.
    output: Layout,
    batch: usize,
    /// Parts that share a section's images, each with its own channels out.
    splits: usize,
    per_section: usize,
    /// Images worked on at once.
    at_once: usize,
    by_winograd: bool,
    /// Numbers of one part's sums, `[position or tap][channel in][channel out]`.
    part: usize,
    sums: Output,
}

impl Kernel for Sectioned<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let (section, split) = (index / self.splits, index % self.splits);
        let first = section * self.per_section;
        let images = first..self.batch.min(first + self.per_section);
        let mut x = Scratch::take(self.at_once * self.source.len());
        let mut dy = Scratch::take(self.at_once * self.output.len());
        for first in images.clone().step_by(self.at_once) {
            let count = self.at_once.min(images.end - first);
            // SAFETY: the caller vouches for the instruction set; the layouts have whole vectors of
            // channels; and each part has its own sums.
            unsafe {
                for n in 0..count {
                    self.pack::<S>(first + n, split, n, &mut x, &mut dy);
                }
                let sums = self.sums.at(index * self.part);
                if self.by_winograd {
                    self.add_tiles::<S>(count, &x, &dy, sums);
                } else {
                    self.add_taps::<S>(&x, &dy, sums);
                }
            }
        }
    }
}

impl Sectioned<'_> {
    /// Lays an image out, and its gradient's channels of the split, as number n of those at once.
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        image: usize,
        split: usize,
        n: usize,
        x: &mut [f32],
        dy: &mut [f32],
    ) {
        let Filter {
            channels_in,
            channels_out,
            ..
        } = *self.filter;
        let planes = |layout: Layout, first: usize, count: usize| {
            let pixels = layout.pixels();
            first * pixels..(first + count) * pixels
        };
        let of_x = planes(self.source, image * channels_in, channels_in);
        let skipped = split * CHANNELS;
        let channels = CHANNELS.min(channels_out - skipped);
        let of_dy = planes(self.output, image * channels_out + skipped, channels);
        // SAFETY: as the caller vouches.
        unsafe {
            let x = &mut x[n * self.source.len()..];
            image::pack::<S>(&self.x[of_x], self.source, x);
            let dy = &mut dy[n * self.output.len()..];
            image::pack::<S>(&self.gradient[of_dy], self.output, dy);
        }
    }

    /// Adds the products of the transformed tiles of `count` images.
    #[inline(always)]
    unsafe fn add_tiles<S: Simd>(&self, count: usize, x: &[f32], dy: &[f32], sums: *mut f32) {
        let [down, across] = self.source.tiles();
        let tiles = count * down * across;
        let (inputs, outputs) = (self.source.channels, self.output.channels);
        let mut v = Scratch::take(POSITIONS * tiles * inputs);
        let mut u = Scratch::take(POSITIONS * tiles * outputs);
        // SAFETY: the caller vouches for the instruction set; tiles lie in the padded images, and
        // the scratch has room for all.
        unsafe {
            for n in 0..tiles {
                let (image, tile) = (n / (down * across), n % (down * across));
                let (row, column) = (tile / across * TILE, tile % across * TILE);
                let from = x.as_ptr().add(self.source.padded_at(image, row, column));
                let to = v.as_mut_ptr().add(n * inputs);
                winograd::transform_inputs::<S>(from, self.source, to, tiles * inputs);
                let from = dy.as_ptr().add(self.output.at(image, row, column));
                let to = u.as_mut_ptr().add(n * outputs);
                winograd::transform_gradients::<S>(from, self.output, to, tiles * outputs);
            }
            for position in 0..POSITIONS {
                let outer = Outer {
                    x: v.as_ptr().add(position * tiles * inputs),
                    x_steps: [0, inputs],
                    dy: u.as_ptr().add(position * tiles * outputs),
                    dy_steps: [0, outputs],
                    counts: [1, tiles],
                    channels: [inputs, outputs],
                    sums: sums.add(position * inputs * outputs),
                };
                outer.add::<S>();
            }
        }
    }

    /// Adds the products of one image under each tap.
    #[inline(always)]
    unsafe fn add_taps<S: Simd>(&self, x: &[f32], dy: &[f32], sums: *mut f32) {
        let Filter {
            kernel,
            stride,
            padding,
            ..
        } = *self.filter;
        let (inputs, outputs) = (self.source.channels, self.output.channels);
        // The border is one pixel wide whatever the padding.
        let border = 1 - padding;
        for tap in 0..kernel * kernel {
            let from = (tap / kernel + border, tap % kernel + border);
            // SAFETY: as above.
            unsafe {
                let outer = Outer {
                    x: x.as_ptr().add(self.source.padded_at(0, from.0, from.1)),
                    x_steps: [stride * self.source.pitch(), stride * inputs],
                    dy: dy.as_ptr().add(self.output.at(0, 0, 0)),
                    dy_steps: [self.output.pitch(), outputs],
                    counts: [self.output.rows, self.output.columns],
                    channels: [inputs, outputs],
                    sums: sums.add(tap * inputs * outputs),
                };
                outer.add::<S>();
            }
        }
    }
}

/// `sums`\[i\]\[o\] += Σ_p Σ_q x\[p\]\[q\]\[i\] · dy\[p\]\[q\]\[o\], in whole vectors of channels.
#[derive(Clone, Copy)]
struct Outer {
    x: *const f32,
    /// From one p, and one q, to the next.
    x_steps: [usize; 2],
    dy: *const f32,
    dy_steps: [usize; 2],
    /// How many p there are, and q.
    counts: [usize; 2],
    /// How many i there are, and o.
    channels: [usize; 2],
    sums: *mut f32,
}

impl Outer {
    /// # Safety
    ///
    /// As for [`Simd`]; and the pointers must be valid for what the formula reads and writes.
    #[inline(always)]
    unsafe fn add<S: Simd>(self) {
        let vectors = self.channels[1] / S::LANES;
        // SAFETY: as the caller vouches.
        unsafe {
            match (S::LANES, vectors.is_multiple_of(2)) {
                (16, true) => S::run(&OuterTiles::<8, 2>(self)),
                (16, false) => S::run(&OuterTiles::<8, 1>(self)),
                (_, true) => S::run(&OuterTiles::<4, 2>(self)),
                (_, false) => S::run(&OuterTiles::<4, 1>(self)),
            }
        }
    }
}

/// The same, R channels i and N vectors of o at a time.
struct OuterTiles<const R: usize, const N: usize>(Outer);

impl<const R: usize, const N: usize> Loop for OuterTiles<R, N> {
    // The indices are those of the formula, and of registers once the loops are unrolled.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn run<S: Simd>(&self) {
        let Outer {
            x,
            x_steps,
            dy,
            dy_steps,
            counts,
            channels: [inputs, outputs],
            sums,
        } = self.0;
        for o in (0..outputs).step_by(N * S::LANES) {
            for i in (0..inputs).step_by(R) {
                // SAFETY: as the caller vouches; there are whole vectors of both channels, and R
                // divides the lanes.
                unsafe {
                    let mut total = [[S::splat(0.0); N]; R];
                    let sums = sums.add(i * outputs + o);
                    for r in 0..R {
                        for n in 0..N {
                            total[r][n] = S::load(sums.add(r * outputs + n * S::LANES));
                        }
                    }
                    for p in 0..counts[0] {
                        let mut x = x.add(p * x_steps[0] + i);
                        let mut dy = dy.add(p * dy_steps[0] + o);
                        for _ in 0..counts[1] {
                            let mut slopes = [S::splat(0.0); N];
                            for n in 0..N {
                                slopes[n] = S::load(dy.add(n * S::LANES));
                            }
                            for r in 0..R {
                                let pixel = S::splat(*x.add(r));
                                for n in 0..N {
                                    total[r][n] = S::mul_add(pixel, slopes[n], total[r][n]);
                                }
                            }
                            x = x.wrapping_add(x_steps[1]);
                            dy = dy.wrapping_add(dy_steps[1]);
                        }
                    }
                    for r in 0..R {
                        for n in 0..N {
                            S::store(sums.add(r * outputs + n * S::LANES), total[r][n]);
                        }
                    }
                }
            }
        }
    }
}
