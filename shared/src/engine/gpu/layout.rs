//! How images lie in a device's memory.

use crate::engine::plan::Extent;

/// Rows and columns of the outputs that one thread computes.
pub(super) const TILE: usize = 4;

/// One image of a buffer: `[row][column][quad of channels]`, with a border of zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    extent: Extent,
    /// Vectors of four channels at each pixel.
    pub(super) quads: usize,
    /// Rows and columns.
    pub(super) size: usize,
    /// Rows and columns with the border, and with room for whole tiles.
    padded: usize,
}

impl Layout {
    pub(super) fn of(extent: Extent) -> Self {
        Self {
            extent,
            quads: extent.channels.div_ceil(4),
            size: extent.size,
            padded: extent.size.next_multiple_of(TILE) + 2,
        }
    }

    /// Vectors of one image.
    pub(super) fn len(&self) -> usize {
        self.padded * self.row()
    }

    /// Vectors of one row.
    pub(super) fn row(&self) -> usize {
        self.padded * self.quads
    }

    /// Tiles of one image.
    pub(super) fn tiles(&self) -> usize {
        self.size.div_ceil(TILE).pow(2)
    }

    /// Images `[image][channel][row][column]` in this layout; `change(channel, number)` is what is
    /// written.
    pub(super) fn pad(&self, images: &[f32], change: impl Fn(usize, f32) -> f32) -> Vec<f32> {
        let count = images.len() / (self.extent.channels * self.size * self.size);
        let mut padded = vec![0.0; count * self.len() * 4];
        self.each(count, |index, channel, place| {
            padded[place] = change(channel, images[index]);
        });
        padded
    }

    /// The images out of this layout.
    pub(super) fn unpad(&self, padded: &[f32]) -> Vec<f32> {
        let count = padded.len() / (self.len() * 4);
        let mut images = vec![0.0; count * self.extent.channels * self.size * self.size];
        self.each(count, |index, _, place| images[index] = padded[place]);
        images
    }

    /// Calls `body` for each number of `count` images: its index without border, its channel, and
    /// its place.
    fn each(&self, count: usize, mut body: impl FnMut(usize, usize, usize)) {
        let mut index = 0;
        for image in 0..count {
            for channel in 0..self.extent.channels {
                for row in 0..self.size {
                    for column in 0..self.size {
                        let pixel =
                            image * self.len() + (row + 1) * self.row() + (column + 1) * self.quads;
                        body(index, channel, (pixel + channel / 4) * 4 + channel % 4);
                        index += 1;
                    }
                }
            }
        }
    }
}
