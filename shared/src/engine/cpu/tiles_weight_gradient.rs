//! The gradient of a convolution's weights by products of tiles ([`super::amx`]); the formula is at
//! [`super::weight_gradient`].
//!
//! The pixels are what is summed over, so both factors have them side by side: x in planes, as tensors
//! have it, and dy as the right factor wants it, in pairs. Both are rounded to bf16 on the way, in a
//! frame whose rows are one zero longer than the image's and whose images are one row of zeros apart:
//! there, a tap is no more than an offset, the same for every pixel, and runs of 32 pixels go
//! across rows and images. With stride two, dy has zeros between its pixels.

use super::{
    activation,
    amx::{Amx, NUMBERS, Product, ROWS},
    filter::Filter,
    memory::Scratch,
    tiles::as_bf16_mut,
};
use crate::{
    engine::simd::{self, Isa, Kernel, Output, Simd, round_all, round_to_bf16, transpose},
    models::Activation,
};

/// Parts of the work, where there are images enough.
const PARTS: usize = 8;

/// Pixels of the frame that there should be at once: so often is a sum added to before it is put away.
const PIXELS: usize = 1024;

/// Runs of pixels after which it is the next tap's turn: what they read stays in the nearest cache.
const RUNS: usize = 9;

/// Pixels of x that are activated at once.
const RUN: usize = 32;

/// Channels in, and out, of a block of sums.
const BLOCK: usize = 2 * ROWS;

/// The gradient of `filter.weight`, whose numbers are not read, in its order, where the convolution was one
/// of a(x).
///
/// # Shapes
/// - x: `[batch, channels_in, rows, columns]`
/// - gradient: `[batch, channels_out, ⌈rows / stride⌉, ⌈columns / stride⌉]`
pub(crate) fn weight_gradient(
    amx: Amx,
    filter: &Filter,
    [rows, columns]: [usize; 2],
    activation: Option<Activation>,
    x: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let Filter {
        channels_in,
        channels_out,
        kernel,
        ..
    } = *filter;
    let batch = x.len() / (channels_in * rows * columns);
    let per_section = batch.div_ceil(PARTS.min(batch));
    let sections = batch.div_ceil(per_section);
    let frame = (rows + 1) * (columns + 1);
    let taps = kernel * kernel;
    let [blocks_in, blocks_out] =
        [channels_in, channels_out].map(|channels| channels.div_ceil(BLOCK));
    let part = blocks_in * blocks_out * taps * BLOCK * BLOCK;
    let mut sums = Scratch::take(sections * part);
    let sectioned = Sectioned {
        amx,
        filter,
        size: [rows, columns],
        activation,
        x,
        gradient,
        batch,
        per_section,
        at_once: (PIXELS / frame).clamp(1, per_section),
        blocks: [blocks_in, blocks_out],
        part,
        sums: Output(sums.as_mut_ptr()),
    };
    Isa::best().run(&sectioned, sections);

    let mut weight = vec![0.0; channels_out * channels_in * taps];
    let output = Output(weight.as_mut_ptr());
    let sums = &sums[..sections * part];
    simd::for_each(blocks_in * blocks_out, |block| {
        let numbers = taps * BLOCK * BLOCK;
        let of_section = |section: &'_ [f32]| section[block * numbers..][..numbers].to_vec();
        let mut sections = sums.chunks_exact(part);
        let mut total = sections.next().map_or_else(Vec::new, of_section);
        for section in sections {
            for (total, other) in total.iter_mut().zip(&section[block * numbers..]) {
                *total += other;
            }
        }
        let (first_in, first_out) = (block / blocks_out * BLOCK, block % blocks_out * BLOCK);
        for o in first_out..channels_out.min(first_out + BLOCK) {
            for i in first_in..channels_in.min(first_in + BLOCK) {
                for tap in 0..taps {
                    let place = (tap * BLOCK + i - first_in) * BLOCK + o - first_out;
                    // SAFETY: each weight belongs to one block, and `weight` outlives the loop.
                    unsafe { *output.at((o * channels_in + i) * taps + tap) = total[place] };
                }
            }
        }
    });
    weight
}

/// A weight gradient with its division into parts.
struct Sectioned<'a> {
    amx: Amx,
    filter: &'a Filter<'a>,
    /// Rows and columns of x.
    size: [usize; 2],
    activation: Option<Activation>,
    x: &'a [f32],
    gradient: &'a [f32],
    batch: usize,
    per_section: usize,
    /// Images worked on at once.
    at_once: usize,
    /// How many blocks of channels in there are, and out.
    blocks: [usize; 2],
    /// Numbers of one part's sums,
    /// `[block in][block out][tap][channel in of the block][channel out of the block]`.
    part: usize,
    sums: Output,
}

impl Kernel for Sectioned<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let first = index * self.per_section;
        let images = first..self.batch.min(first + self.per_section);
        let [rows, columns] = self.size;
        let [blocks_in, blocks_out] = self.blocks;
        let pitch = columns + 1;
        let runs = (self.at_once * (rows + 1) * pitch).div_ceil(NUMBERS);
        let pixels = runs * NUMBERS;
        // A tap is at most two rows and two columns away.
        let plane = (pixels + 2 * pitch + 2).next_multiple_of(NUMBERS);
        let (inputs, outputs) = (blocks_in * BLOCK, blocks_out * BLOCK);
        let mut x = Scratch::take(inputs * plane / 2);
        let mut dy = Scratch::take(outputs * pixels / 2);
        let mut pairs = Scratch::take(outputs * pixels / 2);
        let x = &mut as_bf16_mut(&mut x)[..inputs * plane];
        let dy = &mut as_bf16_mut(&mut dy)[..outputs * pixels];
        x.fill(0);
        dy.fill(0);
        let offsets: [usize; RUNS] = std::array::from_fn(|run| run * 2 * NUMBERS);
        let taps = self.taps(pitch);
        let configured = self.amx.configure(ROWS);
        for first in images.clone().step_by(self.at_once) {
            let count = self.at_once.min(images.end - first);
            if count < self.at_once {
                dy.fill(0);
            }
            // SAFETY: the caller vouches for the instruction set, which has as many lanes as a tile has
            // rows wherever there are tiles; runs and taps lie in the frames; and each part has its own
            // sums.
            unsafe {
                for n in 0..count {
                    let place = n * (rows + 1) * pitch;
                    self.round_x::<S>(first + n, &mut x[place..], plane);
                    self.round_dy::<S>(first + n, &mut dy[place..], pixels);
                }
                for block in 0..outputs / ROWS {
                    for run in 0..runs {
                        let from = dy.as_ptr().add(block * ROWS * pixels + run * NUMBERS);
                        let start = (block / 2 * runs + run) * ROWS * BLOCK + block % 2 * ROWS;
                        let to = pairs.as_mut_ptr().add(start);
                        pair_up::<S>(from.cast(), pixels / 2, to, BLOCK);
                    }
                }
                let sums = self.sums.at(index * self.part);
                let new = first == images.start;
                for run in (0..runs).step_by(RUNS) {
                    let some = RUNS.min(runs - run);
                    for block in 0..blocks_in * blocks_out {
                        let (block_in, block_out) = (block / blocks_out, block % blocks_out);
                        let a = x.as_ptr().add(block_in * BLOCK * plane + run * NUMBERS);
                        let b = pairs.as_ptr().add((block_out * runs + run) * ROWS * BLOCK);
                        for (n, tap) in taps.iter().enumerate() {
                            let a = a.add(*tap);
                            let c = sums.add((block * taps.len() + n) * BLOCK * BLOCK);
                            let product = Product::<2> {
                                a: [a, a.add(ROWS * plane)],
                                a_pitch: 2 * plane,
                                offsets: &offsets[..some],
                                b: b.cast(),
                                b_pitch: 4 * BLOCK,
                                b_step: 4 * BLOCK * ROWS,
                                c: [c, c.add(ROWS * BLOCK)],
                            };
                            product.run::<64>(&configured, !new || run > 0);
                        }
                    }
                }
            }
        }
    }
}

impl Sectioned<'_> {
    /// How far each tap is from the pixel of dy, in a frame with so many numbers to a row.
    #[inline(always)]
    fn taps(&self, pitch: usize) -> Vec<usize> {
        match self.filter.kernel {
            1 => vec![pitch + 1],
            _ => (0..9).map(|tap| tap / 3 * pitch + tap % 3).collect(),
        }
    }

    /// a of image `image` of x to its place in the planes, behind a row and a column of zeros.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    #[inline(always)]
    unsafe fn round_x<S: Simd>(&self, image: usize, to: &mut [u16], plane: usize) {
        let [rows, columns] = self.size;
        let channels = self.filter.channels_in;
        let numbers = rows * columns * channels;
        let from = &self.x[image * numbers..][..numbers];
        for (from, to) in from.chunks_exact(rows * columns).zip(to.chunks_mut(plane)) {
            let lines = to[columns + 1..].chunks_exact_mut(columns + 1);
            for (from, to) in from.chunks_exact(columns).zip(lines) {
                for (to, from) in to[1..].chunks_mut(RUN).zip(from.chunks(RUN)) {
                    let mut numbers = [0.0; RUN];
                    let numbers = &mut numbers[..from.len()];
                    numbers.copy_from_slice(from);
                    activation::apply(self.activation, numbers);
                    // SAFETY: the caller vouches for the instruction set.
                    unsafe { round_all::<S>(to, numbers) };
                }
            }
        }
    }

    /// The gradient of image `image` to its place in the planes: a pixel where its first tap's is in
    /// those of x.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    #[inline(always)]
    unsafe fn round_dy<S: Simd>(&self, image: usize, to: &mut [u16], plane: usize) {
        let [rows, columns] = self.size;
        let Filter {
            channels_out,
            kernel,
            stride,
            padding,
            ..
        } = *self.filter;
        let pitch = columns + 1;
        let [down, across] = self.size.map(|size| size.div_ceil(stride));
        debug_assert!(rows >= down);
        let numbers = down * across * channels_out;
        let from = &self.gradient[image * numbers..][..numbers];
        // Without zeros in front, a kernel of 3×3 begins at the first pixel itself.
        let first = if kernel == 3 { 1 - padding } else { 0 };
        for (from, to) in from.chunks_exact(down * across).zip(to.chunks_mut(plane)) {
            for (row, from) in from.chunks_exact(across).enumerate() {
                let to = &mut to[(row * stride + first) * pitch + first..];
                if stride == 1 {
                    // SAFETY: the caller vouches for the instruction set.
                    unsafe { round_all::<S>(to, from) };
                } else {
                    for (to, from) in to.iter_mut().step_by(stride).zip(from) {
                        *to = round_to_bf16(*from);
                    }
                }
            }
        }
    }
}

/// A run of pixels of 16 planes as tile: row by row the pairs of a plane become column by column those of
/// the tile. Steps are counted in pairs.
///
/// # Safety
///
/// As for [`Simd`]; and the pointers must be valid for 16 rows of 16 pairs.
#[inline(always)]
unsafe fn pair_up<S: Simd>(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
    debug_assert!(S::LANES <= ROWS);
    // SAFETY: as the caller vouches.
    unsafe {
        let mut first = 0;
        while first < ROWS {
            let mut second = 0;
            while second < ROWS {
                let mut square = [S::splat(0.0); 16];
                for (n, row) in square.iter_mut().enumerate().take(S::LANES) {
                    *row = S::load(from.add((first + n) * from_step + second));
                }
                transpose::<S>(&mut square);
                for (n, row) in square.iter().enumerate().take(S::LANES) {
                    S::store(to.add((second + n) * to_step + first), *row);
                }
                second += S::LANES;
            }
            first += S::LANES;
        }
    }
}
