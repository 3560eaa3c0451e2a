//! How images lie in memory: channels last, in a border of zeros.

use crate::{models::Normalization, plan::Extent};

/// Rows and columns of an output tile of [`super::winograd`].
pub(super) const TILE: usize = 4;

/// One image of a buffer: `[row][column][channel]`, with one row and column of zeros before it, and
/// behind it as many as whole tiles need and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) channels: usize,
    /// Rows and columns of the image itself.
    pub(super) size: usize,
    /// Rows and columns with the border.
    pub(super) padded: usize,
}

impl Layout {
    pub(super) fn of(Extent { channels, size }: Extent) -> Self {
        Self {
            channels,
            size,
            padded: size.next_multiple_of(TILE) + 2,
        }
    }

    /// Numbers of one image.
    pub(super) fn len(&self) -> usize {
        self.padded * self.padded * self.channels
    }

    /// The place of a pixel's first number, with the first row and column of the border as zero.
    #[inline(always)]
    pub(super) fn padded_at(&self, image: usize, row: usize, column: usize) -> usize {
        ((image * self.padded + row) * self.padded + column) * self.channels
    }

    /// The place of a pixel's first number.
    #[inline(always)]
    pub(super) fn at(&self, image: usize, row: usize, column: usize) -> usize {
        self.padded_at(image, row + 1, column + 1)
    }
}

/// (x − mean) / std, from `[image][channel][row][column]` to the layout.
pub(super) fn normalize(
    x: &[f32],
    Normalization { mean, std }: &Normalization,
    layout: Layout,
    output: &mut [f32],
) {
    let Layout { channels, size, .. } = layout;
    for (plane, x) in x.chunks_exact(size * size).enumerate() {
        let (image, channel) = (plane / channels, plane % channels);
        for (row, x) in x.chunks_exact(size).enumerate() {
            let start = layout.at(image, row, 0) + channel;
            let output = output[start..].iter_mut().step_by(channels);
            for (output, x) in output.zip(x) {
                *output = (x - mean[channel]) / std[channel];
            }
        }
    }
}
