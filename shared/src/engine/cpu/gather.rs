//! Direct convolution: for each output pixel, the pixels under the taps times the weights. For
//! stride two, for 1×1, and between the images and the first layer.

use super::{
    epilogue::{self, Epilogue},
    filter::Filter,
    image::Layout,
    panel::{self, MOST_ROWS, Packed, Panel, Tiled},
};
use crate::engine::simd::{Isa, Simd};

/// Output pixels that meet the same taps: all of a convolution, or of the gradient of one with
/// stride two those whose row and column are both even, and so on.
#[derive(Debug)]
struct Phase {
    /// The first output row and column.
    first: [usize; 2],
    /// Row and column of each tap in the padded source, seen from a pixel's base.
    taps: Vec<[usize; 2]>,
    /// A row for each tap and channel in.
    weights: Packed,
}

/// A convolution, or the gradient of one.
#[derive(Debug)]
pub(crate) struct Gather {
    channels_in: usize,
    /// In whole vectors.
    channels_out: usize,
    /// From one base in the source to the next.
    source_step: usize,
    /// From one pixel of a phase to the next.
    output_step: usize,
    phases: Vec<Phase>,
}

impl Gather {
    /// The convolution itself: output pixel (i, j) meets stride · (i, j) and its neighbours.
    pub(super) fn forward(filter: &Filter, isa: Isa) -> Self {
        let Filter {
            channels_in,
            channels_out,
            kernel,
            stride,
            padding,
            weight,
        } = *filter;
        // The border is one pixel wide whatever the padding.
        let border = 1 - padding;
        let kernel_taps = (0..kernel * kernel).map(|tap| [tap / kernel, tap % kernel]);
        let phase = Phase::new(
            [0, 0],
            channels_in,
            channels_out,
            isa,
            kernel_taps,
            |[a, b]| {
                let weight = move |i, o| weight[((o * channels_in + i) * kernel + a) * kernel + b];
                ([a + border, b + border], weight)
            },
        );
        Self {
            channels_in,
            channels_out: channels_out.next_multiple_of(isa.lanes()),
            source_step: stride,
            output_step: 1,
            phases: vec![phase],
        }
    }

    /// The gradient of its input. Row y of it meets row (y + p − a) / stride of the output's
    /// gradient through tap a, with p the padding, where that division leaves no rest.
    pub(super) fn backward(filter: &Filter, isa: Isa) -> Self {
        // Channels of the gradient's source and result.
        let Filter {
            channels_in: channels_out,
            channels_out: channels_in,
            kernel,
            stride,
            padding,
            weight,
        } = *filter;
        // The taps of the rows (or columns) that leave `rest` when divided by the stride, and the
        // padded row that each meets.
        let met = |rest: usize| {
            (0..kernel).filter_map(move |a| {
                let ahead = rest + padding + stride - a;
                ahead.is_multiple_of(stride).then(|| (a, ahead / stride))
            })
        };
        let mut phases = Vec::new();
        for rest_y in 0..stride {
            for rest_x in 0..stride {
                let taps = met(rest_y).flat_map(|y| met(rest_x).map(move |x| (y, x)));
                let phase = Phase::new(
                    [rest_y, rest_x],
                    channels_in,
                    channels_out,
                    isa,
                    taps,
                    |((a, row), (b, column))| {
                        let weight =
                            move |i, o| weight[((i * channels_out + o) * kernel + a) * kernel + b];
                        ([row, column], weight)
                    },
                );
                phases.push(phase);
            }
        }
        Self {
            channels_in,
            channels_out: channels_out.next_multiple_of(isa.lanes()),
            source_step: 1,
            output_step: stride,
            phases,
        }
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
        assert!(source.len() >= count * layout.len());
        let pixels = Pixels {
            of: self,
            source,
            layout,
            count,
            epilogue,
        };
        // SAFETY: as the caller vouches.
        unsafe { panel::tiled::<S>(self.channels_out, &pixels) };
    }
}

/// All pixels of some images.
struct Pixels<'a> {
    of: &'a Gather,
    source: &'a [f32],
    layout: Layout,
    count: usize,
    epilogue: &'a Epilogue<'a>,
}

impl Tiled for Pixels<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const N: usize>(&self) {
        let Self {
            of,
            source,
            layout,
            count,
            epilogue,
        } = *self;
        let width = N * S::LANES;
        for phase in &of.phases {
            let of_phase = |size: usize, first| size.saturating_sub(first).div_ceil(of.output_step);
            let rows = of_phase(epilogue.layout.rows, phase.first[0]);
            let columns = of_phase(epilogue.layout.columns, phase.first[1]);
            let mut taps = [0; 9];
            let taps = &mut taps[..phase.taps.len()];
            for (tap, &[row, column]) in taps.iter_mut().zip(&phase.taps) {
                *tap = layout.padded_at(0, row, column);
            }
            let all = count * rows * columns;
            let mut first = 0;
            while first < all {
                let pixels = R.min(all - first);
                let mut places = [0; MOST_ROWS];
                // Rows past the last repeat it and are not stored.
                let from = std::array::from_fn(|r| {
                    let n = first + r.min(pixels - 1);
                    let (image, row, column) =
                        (n / (rows * columns), n / columns % rows, n % columns);
                    places[r] = epilogue.layout.at(
                        image,
                        phase.first[0] + row * of.output_step,
                        phase.first[1] + column * of.output_step,
                    );
                    let base =
                        layout.padded_at(image, row * of.source_step, column * of.source_step);
                    // SAFETY: the base is a pixel of the padded source.
                    unsafe { source.as_ptr().add(base) }
                });
                let mut sums = [0.0; epilogue::MOST * 2];
                for channel in (0..of.channels_out).step_by(width) {
                    // SAFETY: the caller vouches for the instruction set; a base and a tap together
                    // are a pixel of the padded source, and the weights are as many.
                    unsafe {
                        S::run(&Panel::<R, N> {
                            rows: from,
                            taps,
                            channels: of.channels_in,
                            weights: phase.weights.block(0, channel),
                            to: sums.as_mut_ptr(),
                            pitch: width,
                        });
                        // Half of the pixels at a time, where that is what the epilogue takes.
                        let at_once = (epilogue::MOST / width).min(pixels);
                        let mut done = 0;
                        while done < pixels {
                            let some = at_once.min(pixels - done);
                            epilogue.apply::<S>(
                                &mut sums[done * width..],
                                width,
                                &places[done..done + some],
                                channel,
                            );
                            done += some;
                        }
                    }
                }
                first += pixels;
            }
        }
    }
}

impl Phase {
    /// `tap` gives the place of each tap and its weight from a channel in to a channel out.
    fn new<T: Copy, W: Fn(usize, usize) -> f32>(
        first: [usize; 2],
        channels_in: usize,
        channels_out: usize,
        isa: Isa,
        taps: impl Iterator<Item = T>,
        tap: impl Fn(T) -> ([usize; 2], W),
    ) -> Self {
        let (taps, weights): (Vec<_>, Vec<_>) = taps.map(tap).unzip();
        let padded = channels_out.next_multiple_of(isa.lanes());
        let mut packed = Packed::zeros(1, taps.len() * channels_in, padded, isa);
        for (tap, weight) in weights.iter().enumerate() {
            for i in 0..channels_in {
                for o in 0..channels_out {
                    packed.row(0, tap * channels_in + i, o)[0] = weight(i, o);
                }
            }
        }
        Self {
            first,
            taps,
            weights: packed,
        }
    }
}

/// The gradient of the images: a convolution to few channels, so that vectors run along the
/// channels in and are summed at the end.
#[derive(Debug)]
pub(super) struct ToImage {
    channels_in: usize,
    channels_out: usize,
    /// `[channel out][tap][channel in]`, divided by the deviation of the channel out.
    weights: Vec<f32>,
}

impl ToImage {
    /// The gradient of the input of the first convolution, through the normalisation before it.
    pub(super) fn new(filter: &Filter, std: &[f32]) -> Self {
        let Filter {
            channels_in: channels_out,
            channels_out: channels_in,
            weight,
            ..
        } = *filter;
        let mut weights = Vec::with_capacity(weight.len());
        for (o, std) in std.iter().enumerate() {
            for tap in (0..9).rev() {
                weights.extend(
                    (0..channels_in).map(|i| weight[(i * channels_out + o) * 9 + tap] / std),
                );
            }
        }
        Self {
            channels_in,
            channels_out,
            weights,
        }
    }

    /// To `[image][channel][row][column]`.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, source: &[f32], layout: Layout, output: &mut [f32]) {
        let Layout { rows, columns, .. } = layout;
        let pixels = rows * columns;
        assert!(source.len() * self.channels_out * pixels >= output.len() * layout.len());
        for (plane, output) in output.chunks_exact_mut(pixels).enumerate() {
            let (image, channel) = (plane / self.channels_out, plane % self.channels_out);
            let weights = &self.weights[channel * 9 * self.channels_in..];
            for (pixel, output) in output.iter_mut().enumerate() {
                // SAFETY: the caller vouches for the instruction set; the border is as wide as the
                // kernel reaches.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for tap in 0..9 {
                        let (row, column) = (pixel / columns + tap / 3, pixel % columns + tap % 3);
                        let from = layout.padded_at(image, row, column);
                        let mut c = 0;
                        while c < self.channels_in {
                            let g = S::load(source.as_ptr().add(from + c));
                            let w = S::load(weights.as_ptr().add(tap * self.channels_in + c));
                            sum = S::mul_add(g, w, sum);
                            c += S::LANES;
                        }
                    }
                    *output = S::sum(sum);
                }
            }
        }
    }
}
