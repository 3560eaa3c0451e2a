//! How images lie in memory: channels last, in a border of zeros.

use super::activation;
use crate::{
    engine::{
        plan::Extent,
        simd::{Simd, round_to_bf16, transpose},
    },
    models::{Activation, Normalization},
};

/// Rows and columns of an output tile of [`super::winograd`].
pub(super) const TILE: usize = 4;

/// One image of a buffer: `[row][column][channel]`, with one row and column of zeros before it, and
/// behind it as many as whole tiles need and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) channels: usize,
    /// Rows and columns of the image itself.
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Layout {
    pub(crate) fn new(channels: usize, [rows, columns]: [usize; 2]) -> Self {
        Self {
            channels,
            rows,
            columns,
        }
    }

    pub(super) fn of(Extent { channels, size }: Extent) -> Self {
        Self::new(channels, [size, size])
    }

    /// Pixels of the image itself.
    pub(crate) fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Rows of [`TILE`] tiles and tiles in each.
    pub(super) fn tiles(&self) -> [usize; 2] {
        [self.rows.div_ceil(TILE), self.columns.div_ceil(TILE)]
    }

    /// Rows and columns with the border.
    pub(super) fn padded(&self) -> [usize; 2] {
        self.tiles().map(|tiles| tiles * TILE + 2)
    }

    /// Numbers from one row to the next.
    pub(super) fn pitch(&self) -> usize {
        self.padded()[1] * self.channels
    }

    /// Numbers of one image.
    pub(crate) fn len(&self) -> usize {
        self.padded()[0] * self.pitch()
    }

    /// The place of a pixel's first number, with the first row and column of the border as zero.
    #[inline(always)]
    pub(super) fn padded_at(&self, image: usize, row: usize, column: usize) -> usize {
        image * self.len() + row * self.pitch() + column * self.channels
    }

    /// The place of a pixel's first number.
    #[inline(always)]
    pub(super) fn at(&self, image: usize, row: usize, column: usize) -> usize {
        self.padded_at(image, row + 1, column + 1)
    }

    /// The places of `count` pixels of an image, in rows one after the other, from number `first`.
    #[inline(always)]
    fn places(self, first: usize, count: usize) -> impl Iterator<Item = usize> {
        let (mut row, mut column) = (first / self.columns, first % self.columns);
        (0..count).map(move |_| {
            let place = self.at(0, row, column);
            column += 1;
            if column == self.columns {
                (row, column) = (row + 1, 0);
            }
            place
        })
    }
}

/// (x − mean) / std, from `[image][channel][row][column]` to the layout.
pub(super) fn normalize(
    x: &[f32],
    Normalization { mean, std }: &Normalization,
    layout: Layout,
    output: &mut [f32],
) {
    let Layout {
        channels,
        rows,
        columns,
    } = layout;
    for (plane, x) in x.chunks_exact(rows * columns).enumerate() {
        let (image, channel) = (plane / channels, plane % channels);
        for (row, x) in x.chunks_exact(columns).enumerate() {
            let start = layout.at(image, row, 0) + channel;
            let output = output[start..].iter_mut().step_by(channels);
            for (output, x) in output.zip(x) {
                *output = (x - mean[channel]) / std[channel];
            }
        }
    }
}

/// From `[channel][row][column]` of one image to the layout, whose further channels become zero, as
/// does the border.
///
/// # Safety
///
/// As for [`Simd`]; and the layout's channels must be a multiple of the lanes.
#[inline(always)]
pub(crate) unsafe fn pack<S: Simd>(planes: &[f32], layout: Layout, to: &mut [f32]) {
    let Layout {
        channels,
        rows,
        columns,
    } = layout;
    let to = &mut to[..layout.len()];
    for (row, line) in to.chunks_exact_mut(layout.pitch()).enumerate() {
        if row == 0 || row > rows {
            line.fill(0.0);
        } else {
            line[..channels].fill(0.0);
            line[(columns + 1) * channels..].fill(0.0);
        }
    }
    let pixels = layout.pixels();
    for (block, planes) in planes.chunks(pixels * S::LANES).enumerate() {
        let first = block * S::LANES;
        if pixels < S::LANES {
            for (pixel, place) in layout.places(0, pixels).enumerate() {
                let lanes = &mut to[place + first..][..S::LANES];
                lanes.fill(0.0);
                for (lane, plane) in lanes.iter_mut().zip(planes.chunks_exact(pixels)) {
                    *lane = plane[pixel];
                }
            }
            continue;
        }
        for pixel in squares::<S>(pixels) {
            // SAFETY: the caller vouches for the instruction set; the planes hold a vector from
            // this pixel on, and the places lie in `to`, which was measured above.
            unsafe {
                let mut square = [S::splat(0.0); 16];
                let start = planes.as_ptr().add(pixel);
                if planes.len() == pixels * S::LANES {
                    for (n, row) in square.iter_mut().enumerate().take(S::LANES) {
                        *row = S::load(start.add(n * pixels));
                    }
                } else {
                    for (n, row) in square.iter_mut().enumerate().take(planes.len() / pixels) {
                        *row = S::load(start.add(n * pixels));
                    }
                }
                transpose::<S>(&mut square);
                for (row, place) in square.iter().zip(layout.places(pixel, S::LANES)) {
                    S::store(to.as_mut_ptr().add(place + first), *row);
                }
            }
        }
    }
}

/// As [`pack`], of a(x) where there is an activation, rounded to bf16.
///
/// # Safety
///
/// As for [`pack`].
#[inline(always)]
pub(crate) unsafe fn pack_rounded<S: Simd>(
    planes: &[f32],
    activation: Option<Activation>,
    layout: Layout,
    to: &mut [u16],
) {
    let Layout {
        channels,
        rows,
        columns,
    } = layout;
    let to = &mut to[..layout.len()];
    for (row, line) in to.chunks_exact_mut(layout.pitch()).enumerate() {
        if row == 0 || row > rows {
            line.fill(0);
        } else {
            line[..channels].fill(0);
            line[(columns + 1) * channels..].fill(0);
        }
    }
    let pixels = layout.pixels();
    for (block, planes) in planes.chunks(pixels * S::LANES).enumerate() {
        let first = block * S::LANES;
        if pixels < S::LANES {
            for (pixel, place) in layout.places(0, pixels).enumerate() {
                let lanes = &mut to[place + first..][..S::LANES];
                lanes.fill(0);
                for (lane, plane) in lanes.iter_mut().zip(planes.chunks_exact(pixels)) {
                    let mut number = [plane[pixel]];
                    activation::apply(activation, &mut number);
                    *lane = round_to_bf16(number[0]);
                }
            }
            continue;
        }
        for pixel in squares::<S>(pixels) {
            // SAFETY: as for `pack`.
            unsafe {
                let mut square = [S::splat(0.0); 16];
                let start = planes.as_ptr().add(pixel);
                if planes.len() == pixels * S::LANES {
                    for (n, row) in square.iter_mut().enumerate().take(S::LANES) {
                        *row = S::load(start.add(n * pixels));
                    }
                } else {
                    for (n, row) in square.iter_mut().enumerate().take(planes.len() / pixels) {
                        *row = S::load(start.add(n * pixels));
                    }
                }
                if activation.is_some() {
                    for row in square.iter_mut().take(S::LANES) {
                        let mut numbers = [0.0; 16];
                        S::store(numbers.as_mut_ptr(), *row);
                        activation::apply(activation, &mut numbers[..S::LANES]);
                        *row = S::load(numbers.as_ptr());
                    }
                }
                transpose::<S>(&mut square);
                for (row, place) in square.iter().zip(layout.places(pixel, S::LANES)) {
                    S::store_bf16(to.as_mut_ptr().add(place + first), *row);
                }
            }
        }
    }
}

/// From the layout to `[channel][row][column]` of one image, without the channels that are too many.
///
/// # Safety
///
/// As for [`pack`].
#[inline(always)]
pub(crate) unsafe fn unpack<S: Simd>(from: &[f32], layout: Layout, planes: &mut [f32]) {
    let from = &from[..layout.len()];
    let pixels = layout.pixels();
    for (block, planes) in planes.chunks_mut(pixels * S::LANES).enumerate() {
        let first = block * S::LANES;
        if pixels < S::LANES {
            for (pixel, place) in layout.places(0, pixels).enumerate() {
                for (plane, number) in planes.chunks_exact_mut(pixels).zip(&from[place + first..]) {
                    plane[pixel] = *number;
                }
            }
            continue;
        }
        for pixel in squares::<S>(pixels) {
            // SAFETY: as above.
            unsafe {
                let mut square = [S::splat(0.0); 16];
                for (row, place) in square.iter_mut().zip(layout.places(pixel, S::LANES)) {
                    *row = S::load(from.as_ptr().add(place + first));
                }
                transpose::<S>(&mut square);
                let start = planes.as_mut_ptr().add(pixel);
                if planes.len() == pixels * S::LANES {
                    for (n, row) in square.iter().enumerate().take(S::LANES) {
                        S::store(start.add(n * pixels), *row);
                    }
                } else {
                    for (n, row) in square.iter().enumerate().take(planes.len() / pixels) {
                        S::store(start.add(n * pixels), *row);
                    }
                }
            }
        }
    }
}

/// Where each run of as many pixels as lanes starts; the last one overlaps the one before it.
#[inline(always)]
fn squares<S: Simd>(pixels: usize) -> impl Iterator<Item = usize> {
    let last = pixels - S::LANES;
    (0..pixels.div_ceil(S::LANES)).map(move |square| (square * S::LANES).min(last))
}
