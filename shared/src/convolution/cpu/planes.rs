//! The layout in which the kernels read images.
//!
//! A kernel computes many output positions at once, one per vector lane. It sees an image channel
//! as one run of positions, row after row, with a zero column between two rows and zero rows above
//! and below. Then the input of output position `p` under one tap of the kernel is always at
//! `p + offset`, whichever row `p` is in, and a vector of neighbouring positions is one load. What
//! is computed at the zero column is never stored.
//!
//! Two variations:
//!
//! * Every second pixel (stride 2): even and odd rows and columns go to four planes, one behind
//!   the other, so that the pixels under one tap are neighbours again.
//! * Images side by side: for small images in a large batch, the lanes of a vector are the same
//!   pixel of several images, so that no lane falls on the zero column.

use crate::simd::{Simd, transpose};

/// How one channel of an image, or of several images side by side, is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Size of the image.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Distance of neighbouring pixels in one plane: plane (a, b) holds the pixels (a + step·row,
    /// b + step·column).
    pub(crate) step: usize,
    /// Zero rows above and zero columns before the pixels of a plane.
    pub(crate) padding: usize,
    /// Positions from one row to the next.
    pub(crate) row: usize,
    /// Positions from one plane to the next.
    pub(crate) phase: usize,
    /// Images side by side: position `p` of image `n` is at `p · images + n`.
    pub(crate) images: usize,
}

impl Planes {
    /// Numbers from one channel to the next: whole cache lines, and an odd number of them, because
    /// powers of two make channels compete for the same few places in the cache.
    pub(crate) fn channel(&self) -> usize {
        let lines = (self.step * self.step * self.phase * self.images).div_ceil(16);
        (lines | 1) * 16
    }

    /// Where position (row, column) of a plane lies in its channel; rows and columns count from
    /// the zero border.
    pub(crate) fn offset(&self, phase: usize, row: usize, column: usize) -> usize {
        (phase * self.phase + row * self.row + column) * self.images
    }

    /// Where the pixel of an image in row `y` and column `x` lies in its channel.
    fn place(&self, y: usize, x: usize) -> usize {
        let phase = y % self.step * self.step + x % self.step;
        let (row, column) = (y / self.step + self.padding, x / self.step + self.padding);
        self.offset(phase, row, column)
    }

    /// Lays out `channels` channels of the images that start at `sources` into `target`.
    ///
    /// Fewer `sources` than [`Planes::images`] leave the lanes of the others zero.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    #[inline(always)]
    pub(crate) unsafe fn pack<S: Simd>(
        &self,
        sources: &[&[f32]],
        channels: usize,
        target: &mut [f32],
    ) {
        let pixels = self.height * self.width;
        let images = self.images;
        if images > 1 && sources.len() == images && pixels >= S::LANES {
            let places: Vec<_> = (0..pixels)
                .map(|pixel| self.place(pixel / self.width, pixel % self.width))
                .collect();
            for channel in 0..channels {
                let target = &mut target[channel * self.channel()..][..self.channel()];
                target.fill(0.0);
                let sources: [&[f32]; 16] = std::array::from_fn(|image| {
                    &sources[image.min(images - 1)][channel * pixels..][..pixels]
                });
                // SAFETY: as the caller vouches.
                unsafe { side_by_side::<S>(&sources, &places, target) };
            }
            return;
        }
        for channel in 0..channels {
            let target = &mut target[channel * self.channel()..][..self.channel()];
            target.fill(0.0);
            for (image, source) in sources.iter().enumerate() {
                let source = &source[channel * pixels..][..pixels];
                for (y, source) in source.chunks_exact(self.width).enumerate() {
                    let phase = y % self.step * self.step;
                    let start = self.offset(phase, y / self.step + self.padding, self.padding);
                    if images == 1 && self.step == 1 {
                        // SAFETY: as the caller vouches.
                        unsafe { copy::<S>(source, &mut target[start..][..self.width]) };
                    } else if images == 1 {
                        let (even, odd) = target[start..].split_at_mut(self.phase);
                        split(source, even, odd);
                    } else {
                        for (x, &pixel) in source.iter().enumerate() {
                            target[self.place(y, x) + image] = pixel;
                        }
                    }
                }
            }
        }
    }
}

/// Puts pixel p of every source, one from each of [`Simd::LANES`], at `places[p]` of `target`.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn side_by_side<S: Simd>(sources: &[&[f32]; 16], places: &[usize], target: &mut [f32]) {
    let mut start = 0;
    loop {
        let pixels = &places[start..start + S::LANES];
        // SAFETY: as the caller vouches; the slices have been checked for the vector's length.
        unsafe {
            let mut square = [S::splat(0.0); 16];
            for (row, source) in square.iter_mut().zip(sources).take(S::LANES) {
                *row = S::load(source[start..start + S::LANES].as_ptr());
            }
            transpose::<S>(&mut square);
            for (&place, &row) in pixels.iter().zip(&square) {
                S::store(target[place..place + S::LANES].as_mut_ptr(), row);
            }
        }
        if start + S::LANES == places.len() {
            break;
        }
        // The last square overlaps the one before it.
        start = (start + S::LANES).min(places.len() - S::LANES);
    }
}

/// Copies a row. Rows are too short for a call of `memcpy`: whole vectors, the last of which
/// overlaps the one before it.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
pub(crate) unsafe fn copy<S: Simd>(from: &[f32], to: &mut [f32]) {
    #[inline(always)]
    fn by<const N: usize>(from: &[f32], to: &mut [f32]) {
        to[..N].copy_from_slice(&from[..N]);
        let last = from.len() - N;
        to[last..].copy_from_slice(&from[last..]);
    }
    assert_eq!(from.len(), to.len());
    if from.len() >= S::LANES {
        let last = from.len() - S::LANES;
        let mut start = 0;
        loop {
            // SAFETY: `start` is never behind `last`, where a whole vector is left.
            unsafe {
                S::store(
                    to.as_mut_ptr().add(start),
                    S::load(from.as_ptr().add(start)),
                )
            };
            if start == last {
                break;
            }
            start = (start + S::LANES).min(last);
        }
    } else if from.len() >= 8 {
        by::<8>(from, to);
    } else if from.len() >= 4 {
        by::<4>(from, to);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// Copies the numbers at even places of a row to the start of `even`, the others to that of `odd`.
#[inline(always)]
fn split(from: &[f32], even: &mut [f32], odd: &mut [f32]) {
    const N: usize = 4;
    let pairs = from.len() / 2;
    if from.len() % 2 == 1 {
        even[pairs] = from[from.len() - 1];
    }
    if pairs < N {
        for i in 0..pairs {
            (even[i], odd[i]) = (from[2 * i], from[2 * i + 1]);
        }
        return;
    }
    let mut start = 0;
    loop {
        let eight: &[f32; 2 * N] = from[2 * start..][..2 * N]
            .try_into()
            .expect("eight numbers");
        even[start..start + N].copy_from_slice(&[eight[0], eight[2], eight[4], eight[6]]);
        odd[start..start + N].copy_from_slice(&[eight[1], eight[3], eight[5], eight[7]]);
        if start == pairs - N {
            break;
        }
        start = (start + N).min(pairs - N);
    }
}

/// Memory of one thread that outlives a call, so that it is neither asked for nor cleared again.
pub(crate) struct Scratch(Vec<f32>);

thread_local! {
    static FREE: std::cell::RefCell<Vec<Vec<f32>>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Scratch {
    /// At least `len` numbers of any value.
    pub(crate) fn take(len: usize) -> Self {
        let mut memory = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        if memory.len() < len + 16 {
            memory.resize(len + 16, 0.0);
        }
        Self(memory)
    }

    /// The numbers, from a cache line's start.
    pub(crate) fn numbers(&mut self) -> &mut [f32] {
        let start = self.0.as_ptr().align_offset(64).min(16);
        &mut self.0[start..]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.0);
        FREE.with_borrow_mut(|free| free.push(memory));
    }
}
