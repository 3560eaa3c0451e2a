//! A convolution, or the gradient of its input, in the form that suits it.

use super::{
    amx::Amx, epilogue::Epilogue, gather::Gather, image::Layout, tiles::Tiles, winograd::Winograd,
};
use crate::engine::{
    plan::Convolution,
    simd::{Isa, Simd},
};

/// The weights of a convolution, 3×3 or 1×1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// 3 or 1.
    pub(crate) kernel: usize,
    /// 1 or 2.
    pub(crate) stride: usize,
    /// Zeros in front of the first row and column: half the kernel, or none.
    pub(crate) padding: usize,
    /// `[out, in, kernel, kernel]`
    pub(crate) weight: &'a [f32],
}

impl<'a> From<&'a Convolution> for Filter<'a> {
    fn from(convolution: &'a Convolution) -> Self {
        Self {
            channels_in: convolution.input.channels,
            channels_out: convolution.output.channels,
            kernel: convolution.kernel,
            stride: convolution.stride,
            padding: convolution.padding,
            weight: &convolution.weight,
        }
    }
}

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
