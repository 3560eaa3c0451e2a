//! A convolution, or the gradient of its input, in the form that suits it.

use super::{
    amx::Amx, epilogue::Epilogue, filter::Filter, gather::Gather, image::Layout, tiles::Tiles,
    winograd::Winograd,
};
use crate::engine::simd::{Isa, Simd};

/// A convolution with packed weights. The source has as many channels as the filter or, by
/// Winograd's algorithm, whole vectors of them; the output has whole vectors.
#[derive(Debug)]
pub(crate) enum Convolve {
    Winograd(Winograd),
    Gather(Gather),
    /// In bf16.
    Tiles(Tiles),
}

impl Convolve {
    /// The convolution itself.
    pub(crate) fn forward(filter: &Filter, isa: Isa) -> Self {
        if filter.by_winograd(filter.channels_in) {
            Self::Winograd(Winograd::forward(filter, isa))
        } else {
            Self::Gather(Gather::forward(filter, isa))
        }
    }

    /// The gradient of its input.
    pub(crate) fn backward(filter: &Filter, isa: Isa) -> Self {
        if filter.by_winograd(filter.channels_out) {
            Self::Winograd(Winograd::backward(filter, isa))
        } else {
            Self::Gather(Gather::backward(filter, isa))
        }
    }

    /// The convolution itself in bf16, of a source with so many numbers at each pixel.
    pub(crate) fn forward_in_bf16(filter: &Filter, channels: usize, amx: Amx) -> Self {
        Self::Tiles(Tiles::forward(filter, channels, amx))
    }

    /// The gradient of its input in bf16, likewise.
    pub(crate) fn backward_in_bf16(filter: &Filter, channels: usize, amx: Amx) -> Self {
        Self::Tiles(Tiles::backward(filter, channels, amx))
    }

    /// Numbers of scratch that [`Convolve::run`] needs.
    pub(crate) fn scratch(&self) -> usize {
        match self {
            Self::Winograd(winograd) => winograd.scratch(),
            Self::Gather(_) | Self::Tiles(_) => 0,
        }
    }

    /// Convolves `count` images of the layout.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; and what the epilogue points to must hold `count` images and not overlap
    /// `source`.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(
        &self,
        (source, layout): (&[f32], Layout),
        count: usize,
        epilogue: &Epilogue,
        scratch: &mut [f32],
    ) {
        // SAFETY: as the caller vouches.
        unsafe {
            match self {
                Self::Winograd(it) => it.run::<S>(source, layout, count, epilogue, scratch),
                Self::Gather(it) => it.run::<S>(source, layout, count, epilogue),
                Self::Tiles(it) => it.run::<S>(source, layout, count, epilogue),
            }
        }
    }
}

impl Filter<'_> {
    /// Whether Winograd's algorithm suits a source of so many channels: vectors of few would be mostly
    /// empty.
    pub(super) fn by_winograd(&self, channels: usize) -> bool {
        self.kernel == 3 && self.stride == 1 && channels >= 16
    }
}
