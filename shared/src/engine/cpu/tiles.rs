//! Direct convolution by products of tiles ([`super::amx`]): 16 output pixels of a row at a time, 32
//! channels of each.
//!
//! The source is rounded to bf16 and otherwise stays as it is, channels last. Beside each other, the
//! pixels under the taps of one row of the kernel are then one run of numbers, and the runs of
//! the next output pixels are the next rows of the same tile. The run is cut into pieces of 32
//! numbers, however few channels there are; the last piece may reach past the run, where weights are zero.

use super::{
    amx::{Amx, Configured, NUMBERS, Product, ROWS},
    epilogue::{self, Epilogue},
    filter::Filter,
    image::Layout,
    memory::{Aligned, Scratch},
};
use crate::engine::simd::{self, Output, Simd, round_all, round_to_bf16};

/// Bytes of a tile.
const TILE: usize = ROWS * 64;

/// A convolution, or the gradient of one.
#[derive(Debug)]
pub(crate) struct Tiles {
    amx: Amx,
    /// Numbers at each pixel of the source, at least as many as the filter has channels.
    channels_in: usize,
    /// In whole vectors.
    channels_out: usize,
    /// From one output pixel of a phase to the next, in the source.
    source_step: usize,
    /// The same in the output.
    output_step: usize,
    phases: Vec<Phase>,
}

/// Output pixels that meet the same taps, as in [`super::gather`].
#[derive(Debug)]
struct Phase {
    /// The first output row and column.
    first: [usize; 2],
    /// The padded row of each run, seen from a pixel's base.
    rows: Vec<usize>,
    /// The padded column where the runs begin.
    column: usize,
    /// Pieces of a run.
    pieces: usize,
    /// `[block of channels out][run][piece][tile][16 pairs of numbers][16 channels out][2]`, in bf16.
    weights: Aligned,
}

/// A row or column of the kernel, and the padded row or column of the source that it meets.
type Met = (usize, usize);

impl Tiles {
    /// The convolution itself, of a source with so many numbers at each pixel.
    pub(super) fn forward(filter: &Filter, channels_in: usize, amx: Amx) -> Self {
        let Filter {
            kernel,
            stride,
            padding,
            weight,
            ..
        } = *filter;
        let mut tiles = Self {
            amx,
            channels_in,
            channels_out: filter.channels_out.next_multiple_of(ROWS),
            source_step: stride,
            output_step: 1,
            phases: Vec::new(),
        };
        // The border is one pixel wide whatever the padding.
        let met: Vec<Met> = (0..kernel).map(|tap| (tap, tap + 1 - padding)).collect();
        let channels = [filter.channels_in, filter.channels_out];
        let kernel_of = |i: usize, o: usize| {
            let start = (o * filter.channels_in + i) * kernel * kernel;
            &weight[start..][..kernel * kernel]
        };
        let phase = tiles.phase([0, 0], [&met, &met], kernel, channels, kernel_of);
        tiles.phases.push(phase);
        tiles
    }

    /// The gradient of its input, from a source with so many numbers at each pixel. Which taps meet which
    /// rows is told at [`super::gather`].
    pub(super) fn backward(filter: &Filter, channels_in: usize, amx: Amx) -> Self {
        let Filter {
            kernel,
            stride,
            padding,
            weight,
            ..
        } = *filter;
        let mut tiles = Self {
            amx,
            channels_in,
            channels_out: filter.channels_in.next_multiple_of(ROWS),
            source_step: 1,
            output_step: stride,
            phases: Vec::new(),
        };
        let met = |rest: usize| -> Vec<Met> {
            let taps = (0..kernel).rev().filter_map(|tap| {
                let ahead = rest + padding + stride - tap;
                ahead.is_multiple_of(stride).then(|| (tap, ahead / stride))
            });
            taps.collect()
        };
        let channels = [filter.channels_out, filter.channels_in];
        let kernel_of = |i: usize, o: usize| {
            let start = (i * filter.channels_in + o) * kernel * kernel;
            &weight[start..][..kernel * kernel]
        };
        for rest_y in 0..stride {
            for rest_x in 0..stride {
                let met = [&*met(rest_y), &*met(rest_x)];
                let phase = tiles.phase([rest_y, rest_x], met, kernel, channels, kernel_of);
                tiles.phases.push(phase);
            }
        }
        tiles
    }

    /// The phase whose rows and columns meet these, columns in ascending order. `kernel_of(i, o)` is the
    /// kernel from channel i to channel o.
    fn phase<'a>(
        &self,
        first: [usize; 2],
        [rows, columns]: [&[Met]; 2],
        kernel: usize,
        [channels_in, channels_out]: [usize; 2],
        kernel_of: impl Fn(usize, usize) -> &'a [f32] + Sync + Send,
    ) -> Phase {
        let rows = if columns.is_empty() { &[] } else { rows };
        let pieces = (columns.len() * self.channels_in).div_ceil(NUMBERS);
        let width = self.width();
        let len = rows.len() * pieces * NUMBERS * self.channels_out;
        let mut weights = Aligned::zeros(len / 2);
        let packed = Output(weights.as_mut_ptr());
        let of_block = rows.len() * pieces * NUMBERS * width / 2;
        let blocks = if of_block == 0 {
            0
        } else {
            channels_out.div_ceil(width)
        };
        simd::for_each(blocks, |block| {
            // SAFETY: each block has its own numbers, and `weights` outlives the loop.
            let packed = unsafe {
                let start = packed.at(block * of_block);
                as_bf16_mut(std::slice::from_raw_parts_mut(start, of_block))
            };
            let first = block * width;
            for o in first..channels_out.min(first + width) {
                for i in 0..channels_in {
                    let kernel_of = kernel_of(i, o);
                    for (n, (b, _)) in columns.iter().enumerate() {
                        let number = n * self.channels_in + i;
                        let tile = number / NUMBERS * (width / ROWS) + (o - first) / ROWS;
                        let pair = tile * ROWS + number % NUMBERS / 2;
                        let place = (pair * ROWS + o % ROWS) * 2 + number % 2;
                        for (run, (a, _)) in rows.iter().enumerate() {
                            packed[place + run * pieces * NUMBERS * width] =
                                round_to_bf16(kernel_of[a * kernel + b]);
                        }
                    }
                }
            }
        });
        Phase {
            first,
            rows: rows.iter().map(|&(_, row)| row).collect(),
            column: columns.first().map_or(0, |&(_, column)| column),
            pieces,
            weights,
        }
    }

    /// Channels out of one block.
    fn width(&self) -> usize {
        match self.channels_out.is_multiple_of(2 * ROWS) {
            true => 2 * ROWS,
            false => ROWS,
        }
    }

    /// Numbers of the packed weights, as many as would fill the same memory in single precision.
    pub(super) fn weights(&self) -> usize {
        self.phases.iter().map(|phase| phase.weights.len()).sum()
    }

    /// Numbers that must be readable behind the images: rows of tiles that no pixel of the output needs, and
    /// the rest of a run's last piece, may reach there.
    pub(crate) fn behind(&self) -> usize {
        (ROWS * self.source_step + 3) * self.channels_in + 2 * NUMBERS
    }

    /// Convolves `count` images.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; and the places of the epilogue's layout must lie in its buffers.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(
        &self,
        source: &[f32],
        layout: Layout,
        count: usize,
        epilogue: &Epilogue,
    ) {
        let numbers = count * layout.len();
        let mut rounded = Scratch::take((numbers + self.behind()).div_ceil(2));
        let rounded = as_bf16_mut(&mut rounded);
        // SAFETY: as the caller vouches.
        unsafe {
            round_all::<S>(rounded, &source[..numbers]);
            self.run_rounded::<S>(rounded, layout, count, epilogue);
        }
    }

    /// The same of images that are rounded already, with [`Tiles::behind`] numbers of any value behind
    /// them.
    ///
    /// # Safety
    ///
    /// As for [`Tiles::run`].
    #[inline(always)]
    pub(crate) unsafe fn run_rounded<S: Simd>(
        &self,
        source: &mut [u16],
        layout: Layout,
        count: usize,
        epilogue: &Epilogue,
    ) {
        assert_eq!(layout.channels, self.channels_in, "numbers at each pixel");
        source[count * layout.len()..][..self.behind()].fill(0);
        for phase in &self.phases {
            // SAFETY: as the caller vouches.
            unsafe {
                match self.width() / ROWS {
                    1 => self.of_phase::<S, 1>(phase, source, layout, count, epilogue),
                    _ => self.of_phase::<S, 2>(phase, source, layout, count, epilogue),
                }
            }
        }
    }

    /// N tiles of channels out at a time.
    #[inline(always)]
    unsafe fn of_phase<S: Simd, const N: usize>(
        &self,
        phase: &Phase,
        source: &[u16],
        layout: Layout,
        count: usize,
        epilogue: &Epilogue,
    ) {
        let of_phase = |size: usize, first| size.saturating_sub(first).div_ceil(self.output_step);
        let rows = of_phase(epilogue.layout.rows, phase.first[0]);
        let columns = of_phase(epilogue.layout.columns, phase.first[1]);
        if rows * columns == 0 {
            return;
        }
        let cut = Cut::of([rows, columns], self.source_step, layout);
        let tiles = count * cut.tiles;
        let mut offsets = Vec::with_capacity(phase.rows.len() * phase.pieces);
        for &row in &phase.rows {
            for piece in 0..phase.pieces {
                let number = layout.padded_at(0, row, phase.column) + piece * NUMBERS;
                offsets.push(2 * number);
            }
        }
        let configured: Configured = self.amx.configure(cut.height);
        let mut sums = [const { Sums([0.0; ROWS * 2 * ROWS]) }; 4];
        let pairs = tiles.div_ceil(2);
        for block in 0..self.channels_out / (N * ROWS) {
            let weights = phase.weights.as_ptr().cast::<u16>();
            // One behind the products comes the epilogue: it would have to wait for the sums.
            for pair in 0..=pairs {
                let (before, now) = sums.split_at_mut(2);
                let (before, now) = match pair % 2 {
                    0 => (before, now),
                    _ => (now, before),
                };
                // SAFETY: the bases, with offsets and rows, lie in the rounded images or in what is behind
                // them; the weights have a tile for every offset; and the sums have room.
                unsafe {
                    if pair < pairs {
                        // Behind the last tile comes itself, and is not stored again.
                        let a = [2 * pair, (2 * pair + 1).min(tiles - 1)].map(|tile| {
                            let (image, row, column) = cut.start(tile);
                            let step = self.source_step;
                            source
                                .as_ptr()
                                .add(layout.padded_at(image, row * step, column * step))
                        });
                        let [first, second] = now else {
                            unreachable!("there are four, cut in the middle")
                        };
                        let product = Product::<N> {
                            a,
                            a_pitch: 2 * self.source_step * self.channels_in,
                            offsets: &offsets,
                            b: weights.add(block * offsets.len() * N * TILE / 2),
                            b_pitch: 64,
                            b_step: N * TILE,
                            c: [first.0.as_mut_ptr(), second.0.as_mut_ptr()],
                        };
                        product.run::<TILE>(&configured, false);
                    }
                    if pair > 0 {
                        for (tile, sums) in (2 * pair - 2..tiles).zip(before) {
                            self.store::<S, N>(&cut, tile, phase, &mut sums.0, block, epilogue);
                        }
                    }
                }
            }
        }
    }

    /// Gives the epilogue the sums of one tile.
    #[inline(always)]
    unsafe fn store<S: Simd, const N: usize>(
        &self,
        cut: &Cut,
        tile: usize,
        phase: &Phase,
        sums: &mut [f32],
        block: usize,
        epilogue: &Epilogue,
    ) {
        let width = N * ROWS;
        let at_once = epilogue::MOST / width;
        let (image, mut row, mut column) = cut.start(tile);
        let mut done = 0;
        while done < cut.height && row < cut.rows {
            if column < cut.columns {
                let some = (cut.height - done).min(cut.columns - column).min(at_once);
                let mut places = [0; ROWS];
                for (n, place) in places.iter_mut().enumerate().take(some) {
                    *place = epilogue.layout.at(
                        image,
                        phase.first[0] + row * self.output_step,
                        phase.first[1] + (column + n) * self.output_step,
                    );
                }
                let sums = &mut sums[done * width..];
                // SAFETY: as the caller vouches.
                unsafe { epilogue.apply::<S>(sums, width, &places[..some], block * width) };
                done += some;
                column += some;
            } else {
                let border = (cut.height - done).min(cut.pitch - column);
                done += border;
                column += border;
                if column == cut.pitch {
                    (row, column) = (row + 1, 0);
                }
            }
        }
    }
}

/// How the output pixels of a phase are cut into tiles.
struct Cut {
    rows: usize,
    columns: usize,
    /// Tiles of one image.
    tiles: usize,
    /// Pixels of a tile.
    height: usize,
    /// Tiles of one row; one where tiles run across the rows.
    across: usize,
    /// Pixels from one row to the next, as tiles see it: of the padded source where tiles run across the
    /// rows and the border, whose sums are dropped.
    pitch: usize,
}

impl Cut {
    /// A row's pixels are divided evenly among as few tiles as hold them, or, where that takes fewer, tiles
    /// run across the rows.
    fn of([rows, columns]: [usize; 2], source_step: usize, source: Layout) -> Self {
        let across = columns.div_ceil(ROWS);
        let pitch = source.padded()[1];
        let all = ((rows - 1) * pitch + columns).div_ceil(ROWS);
        if source_step == 1 && all < rows * across {
            return Self {
                rows,
                columns,
                tiles: all,
                height: ROWS,
                across: 1,
                pitch,
            };
        }
        Self {
            rows,
            columns,
            tiles: rows * across,
            height: columns.div_ceil(across),
            across,
            pitch: usize::MAX,
        }
    }

    /// Image, row and column of a tile's first pixel.
    #[inline(always)]
    fn start(&self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) = (tile / self.tiles, tile % self.tiles);
        if self.pitch == usize::MAX {
            let (row, part) = (tile / self.across, tile % self.across);
            (image, row, part * self.height)
        } else {
            let first = tile * ROWS;
            (image, first / self.pitch, first % self.pitch)
        }
    }
}

/// Sums of up to two tiles, from the start of a cache line on.
#[repr(align(64))]
struct Sums([f32; ROWS * 2 * ROWS]);

/// The same memory, as the bits of bf16 numbers.
pub(crate) fn as_bf16_mut(numbers: &mut [f32]) -> &mut [u16] {
    // SAFETY: a number of single precision is as large as two of the others, and all bits are valid.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), 2 * numbers.len()) }
}
