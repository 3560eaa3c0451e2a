//! A convolution's weights and shape, as the kernels' packers take them.

use crate::engine::plan::Convolution;

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
