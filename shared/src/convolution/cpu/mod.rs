//! Convolution kernels for the processor: forward pass, data gradient and weight gradient.
//!
//! All are direct: no matrix of patches is ever built. Images are laid out so that the pixels under
//! one tap of the kernel are neighbours ([`planes`]), and are then multiplied and added in
//! registers ([`correlate`], [`weight_gradient`]) with the best instruction set of the processor
//! ([`crate::simd`]).

mod correlate;
mod planes;
mod weight_gradient;

use crate::simd::{self, Isa, Output};
use correlate::{Block, Correlation, Phase, pack_weights};
use planes::Planes;
use weight_gradient::WeightGradient;

/// The sizes of one convolution: a square kernel of one or three with zero padding of a third of
/// it, so that stride one keeps the size of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl Sizes {
    /// Height of the output.
    pub(crate) fn height_out(&self) -> usize {
        self.height.div_ceil(self.stride)
    }

    /// Width of the output.
    pub(crate) fn width_out(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The planes of x under the forward kernel and the offset of each tap.
    ///
    /// y[i][j] = Σ w[a][b] · x[stride·i + a − 1][stride·j + b − 1] for a kernel of three. With
    /// stride two, tap 1 meets even rows, and taps 0 and 2 meet the odd rows before and behind.
    fn forward_planes(&self, images: usize, lanes: usize) -> (Planes, Vec<usize>) {
        let padding = self.kernel / 2;
        let row = self.width_out() + padding;
        let mut planes = Planes {
            height: self.height,
            width: self.width,
            step: self.stride,
            padding,
            row,
            phase: 0,
            images,
        };
        // The plane that the taps of one row or column meet, and how far behind the zero border.
        let met = |tap: usize| match (self.kernel, self.stride) {
            (3, 2) => [(1, 0), (0, 1), (1, 1)][tap],
            _ => (0, tap),
        };
        let farthest = if self.kernel == 3 {
            (3 - self.stride) * (row + 1)
        } else {
            0
        };
        planes.phase = phase_length(self.height_out(), row, farthest, images, lanes);
        let taps = (0..self.taps())
            .map(|tap| {
                let (a, row) = met(tap / self.kernel);
                let (b, column) = met(tap % self.kernel);
                planes.offset(a * self.stride + b, row, column)
            })
            .collect();
        (planes, taps)
    }
}

/// Positions of a plane in which a vector may start at any output position, under any tap.
fn phase_length(rows: usize, row: usize, farthest: usize, images: usize, lanes: usize) -> usize {
    let beyond = if images == 1 { lanes } else { 0 };
    // An odd length keeps planes of images side by side apart in the cache.
    (rows * row + beyond + farthest + 1) | 1
}

/// Images side by side that need the fewest vectors: one, or as many as a vector has lanes.
///
/// `pixels` are the output positions without the zero columns, `row` and `rows` with them.
fn images_side_by_side(
    batch: usize,
    rows: usize,
    columns: usize,
    row: usize,
    lanes: usize,
) -> usize {
    let apart = batch * ((rows.max(1) - 1) * row + columns).div_ceil(lanes);
    let together = batch.div_ceil(lanes) * rows * columns;
    // Laying images side by side takes longer than copying rows.
    if together * 10 < apart * 9 { lanes } else { 1 }
}

/// Parts that share the source of one image or group of images, so that all threads have work.
fn splits(groups: usize, blocks: usize) -> usize {
    let threads = simd::threads();
    if threads == 1 || groups >= 4 * threads {
        return 1;
    }
    (4 * threads).div_ceil(groups.max(1)).min(blocks).max(1)
}

/// Runs a correlation whose every output is stored, and returns the outputs.
fn collect(mut correlation: Correlation<'_>, isa: Isa) -> Vec<f32> {
    let len =
        correlation.batch * correlation.output_channels * correlation.height * correlation.width;
    let mut output: Vec<f32> = Vec::with_capacity(len);
    correlation.output = Output(output.as_mut_ptr());
    correlation.run(isa);
    // SAFETY: the phases cover every pixel, the blocks every channel and the parts every image.
    unsafe { output.set_len(len) };
    output
}

/// y = conv(x, weight) + bias.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - weight: `[channels_out, channels_in, kernel, kernel]`
/// - bias: `[channels_out]`
/// - output: `[batch, channels_out, height_out, width_out]`
pub(crate) fn forward(
    isa: Isa,
    sizes: &Sizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (rows, columns) = (sizes.height_out(), sizes.width_out());
    let lanes = isa.lanes();
    let images = images_side_by_side(
        sizes.batch,
        rows,
        columns,
        columns + sizes.kernel / 2,
        lanes,
    );
    let (planes, taps) = sizes.forward_planes(images, lanes);
    let blocks = Block::divide(sizes.channels_out, isa.block());
    let count = sizes.taps();
    let weights = pack_weights(&blocks, sizes.channels_in, count, |o, c, t| {
        weight[(o * sizes.channels_in + c) * count + t]
    });
    let correlation = Correlation {
        source: x,
        batch: sizes.batch,
        channels: sizes.channels_in,
        planes,
        output: Output(std::ptr::null_mut()),
        output_channels: sizes.channels_out,
        height: rows,
        width: columns,
        step: 1,
        phases: vec![Phase {
            first_row: 0,
            first_column: 0,
            rows,
            columns,
            taps,
            weights,
        }],
        splits: splits(sizes.batch.div_ceil(images), blocks.len()),
        blocks,
        bias: bias.map_or_else(|| vec![0.0; sizes.channels_out], <[f32]>::to_vec),
    };
    collect(correlation, isa)
}

/// The gradient of the loss with respect to x, from that with respect to y.
///
/// With y[i] = Σ_a w[a] · x[stride·i + a − 1] along one axis, dx[j] = Σ w[a] · dy[i] over the (a, i)
/// with stride·i + a − 1 = j. For stride two these are a = 1, i = j/2 for even j, and a = 0,
/// i = (j + 1)/2 with a = 2, i = (j − 1)/2 for odd j: four kinds of pixels, each with its own taps.
///
/// # Shapes
/// - gradient: `[batch, channels_out, height_out, width_out]`
/// - output: `[batch, channels_in, height, width]`
pub(crate) fn data_gradient(isa: Isa, sizes: &Sizes, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let (rows, columns) = (sizes.height_out(), sizes.width_out());
    let lanes = isa.lanes();
    let stride = sizes.stride;
    let row = columns + sizes.kernel / 2;
    let images = images_side_by_side(sizes.batch, rows, columns, row, lanes);
    let blocks = Block::divide(sizes.channels_in, isa.block());
    // For each pixel modulo the stride: taps a and how far behind the first position their dy is.
    let taps: &[&[(usize, usize)]] = match (sizes.kernel, stride) {
        (3, 1) => &[&[(0, 2), (1, 1), (2, 0)]],
        (3, _) => &[&[(1, 0)], &[(0, 1), (2, 0)]],
        (_, 1) => &[&[(0, 0)]],
        (_, _) => &[&[(0, 0)], &[]],
    };
    let farthest = if sizes.kernel == 3 {
        (3 - stride) * (row + 1)
    } else {
        0
    };
    let planes = Planes {
        height: rows,
        width: columns,
        step: 1,
        padding: if sizes.kernel == 3 && stride == 1 {
            1
        } else {
            0
        },
        row,
        phase: phase_length(rows, row, farthest, images, lanes),
        images,
    };
    let count = sizes.taps();
    let mut phases = Vec::new();
    for first_row in 0..stride {
        for first_column in 0..stride {
            let pairs: Vec<_> = taps[first_row]
                .iter()
                .flat_map(|&a| taps[first_column].iter().map(move |&b| (a, b)))
                .collect();
            let weights = pack_weights(&blocks, sizes.channels_out, pairs.len(), |c, o, t| {
                let ((a, _), (b, _)) = pairs[t];
                weight[(o * sizes.channels_in + c) * count + a * sizes.kernel + b]
            });
            phases.push(Phase {
                first_row,
                first_column,
                rows: (sizes.height - first_row).div_ceil(stride),
                columns: (sizes.width - first_column).div_ceil(stride),
                taps: pairs
                    .iter()
                    .map(|((_, i), (_, j))| planes.offset(0, *i, *j))
                    .collect(),
                weights,
            });
        }
    }
    phases.retain(|phase| phase.rows > 0 && phase.columns > 0);
    let correlation = Correlation {
        source: gradient,
        batch: sizes.batch,
        channels: sizes.channels_out,
        planes,
        output: Output(std::ptr::null_mut()),
        output_channels: sizes.channels_in,
        height: sizes.height,
        width: sizes.width,
        step: stride,
        phases,
        splits: splits(sizes.batch.div_ceil(images), blocks.len()),
        blocks,
        bias: vec![0.0; sizes.channels_in],
    };
    collect(correlation, isa)
}

/// The gradient of the loss with respect to the weight, from that with respect to y.
///
/// # Shapes
/// - x: `[batch, channels_in, height, width]`
/// - gradient: `[batch, channels_out, height_out, width_out]`
/// - output: `[channels_out, channels_in, kernel, kernel]`
pub(crate) fn weight_gradient(isa: Isa, sizes: &Sizes, x: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (height, width) = (sizes.height_out(), sizes.width_out());
    let lanes = isa.lanes();
    let images = images_side_by_side(sizes.batch, height, width, width + sizes.kernel / 2, lanes);
    let (planes, taps) = sizes.forward_planes(images, lanes);
    WeightGradient {
        x,
        channels: sizes.channels_in,
        planes,
        taps,
        gradient,
        output_channels: sizes.channels_out,
        height,
        width,
        batch: sizes.batch,
    }
    .run(isa)
}

/// The gradient of the loss with respect to the bias, from that with respect to y.
///
/// # Shapes
/// - gradient: `[batch, channels_out, height_out, width_out]`
/// - output: `[channels_out]`
pub(crate) fn bias_gradient(sizes: &Sizes, gradient: &[f32]) -> Vec<f32> {
    weight_gradient::bias_gradient(
        gradient,
        sizes.channels_out,
        sizes.height_out() * sizes.width_out(),
    )
}
