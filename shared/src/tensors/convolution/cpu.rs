//! The convolution of tensors by the kernels of [`crate::engine::cpu`]: forward pass, data gradient, and the
//! gradients of weight and bias.
//!
//! Tensors have their channels before their pixels, the kernels have them last. A part of the work
//! takes some images, lays them out for the kernels, and puts the results back: what lies between is
//! still in the caches.

use crate::{
    engine::{
        cpu::{
            activation::multiply_by_derivative,
            amx::Amx,
            convolve::Convolve,
            epilogue::{Epilogue, Store},
            filter::Filter,
            image::{self, Layout},
            memory::Scratch,
            tiles::as_bf16_mut,
        },
        simd::{self, Isa, Kernel, Output, Simd},
    },
    models::Activation,
};

/// Winograd tiles that the images of one part should have together: so often is a weight used.
const TILES: usize = 32;

/// The images of one convolution, or of the gradient of one.
struct Images<'a> {
    convolve: &'a Convolve,
    /// `[batch, channels, rows, columns]`
    from: &'a [f32],
    layout_from: Layout,
    /// `[batch, channels, rows, columns]`
    to: Output,
    channels_to: usize,
    layout_to: Layout,
    /// One number for each of the layout's channels.
    bias: Option<Vec<f32>>,
    activations: Activations<'a>,
    batch: usize,
    /// Images of one part.
    at_once: usize,
}

/// What in bf16 differs from single precision.
#[derive(Clone, Copy, Debug)]
pub(super) struct InBf16 {
    pub(super) amx: Amx,
    /// The convolution is one of a(x).
    pub(super) activation: Option<Activation>,
}

/// y = conv(x, weight) + bias.
///
/// # Shapes
/// - x: `[batch, channels_in, rows, columns]`
/// - bias: `[channels_out]`
/// - output: `[batch, channels_out, ⌈rows / stride⌉, ⌈columns / stride⌉]`
pub(super) fn forward(
    isa: Isa,
    in_bf16: Option<InBf16>,
    filter: &Filter,
    sizes: [usize; 2],
    x: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let convolve = match in_bf16 {
        Some(InBf16 { amx, .. }) => {
            let channels = filter.channels_in.next_multiple_of(isa.lanes());
            Convolve::forward_in_bf16(filter, channels, amx)
        }
        None => Convolve::forward(filter, isa),
    };
    let channels = [filter.channels_in, filter.channels_out];
    let sizes = [sizes, sizes.map(|size| size.div_ceil(filter.stride))];
    let activations = Activations {
        before: in_bf16.and_then(|it| it.activation),
        behind: None,
    };
    run(isa, &convolve, channels, sizes, x, bias, activations)
}

/// The gradient of the loss with respect to x, from that with respect to y. x itself is read where there
/// is an activation.
///
/// # Shapes
/// - gradient: `[batch, channels_out, ⌈rows / stride⌉, ⌈columns / stride⌉]`
/// - output: `[batch, channels_in, rows, columns]`
pub(super) fn data_gradient(
    isa: Isa,
    in_bf16: Option<InBf16>,
    filter: &Filter,
    sizes: [usize; 2],
    gradient: &[f32],
    x: Option<&[f32]>,
) -> Vec<f32> {
    let convolve = match in_bf16 {
        Some(InBf16 { amx, .. }) => {
            let channels = filter.channels_out.next_multiple_of(isa.lanes());
            Convolve::backward_in_bf16(filter, channels, amx)
        }
        None => Convolve::backward(filter, isa),
    };
    let channels = [filter.channels_out, filter.channels_in];
    let sizes = [sizes.map(|size| size.div_ceil(filter.stride)), sizes];
    let activation = in_bf16.and_then(|it| it.activation);
    let activations = Activations {
        before: None,
        behind: activation.map(|a| (a, x.expect("the derivative of an activation needs x"))),
    };
    run(isa, &convolve, channels, sizes, gradient, None, activations)
}

/// What is done to the images on their way, by the convolutions in bf16.
#[derive(Clone, Copy)]
struct Activations<'a> {
    /// The activation of the source.
    before: Option<Activation>,
    /// The result is multiplied by a′(x).
    behind: Option<(Activation, &'a [f32])>,
}

/// Channels and sizes are those of the source and of the result.
fn run(
    isa: Isa,
    convolve: &Convolve,
    [channels_from, channels_to]: [usize; 2],
    [size_from, size_to]: [[usize; 2]; 2],
    from: &[f32],
    bias: Option<&[f32]>,
    activations: Activations,
) -> Vec<f32> {
    let lanes = isa.lanes();
    let layout_from = Layout::new(channels_from.next_multiple_of(lanes), size_from);
    let layout_to = Layout::new(channels_to.next_multiple_of(lanes), size_to);
    let batch = from.len() / (channels_from * size_from[0] * size_from[1]);
    let tiles = size_from.map(|size| size.div_ceil(4)).iter().product();
    let at_once = TILES.div_ceil(tiles).min(batch.div_ceil(simd::threads()));
    let len = batch * channels_to * size_to[0] * size_to[1];
    let mut to: Vec<f32> = Vec::with_capacity(len);
    let images = Images {
        convolve,
        from,
        layout_from,
        to: Output(to.as_mut_ptr()),
        channels_to,
        layout_to,
        bias: bias.map(|bias| {
            let mut bias = bias.to_vec();
            bias.resize(channels_to.next_multiple_of(lanes), 0.0);
            bias
        }),
        activations,
        batch,
        at_once,
    };
    isa.run(&images, batch.div_ceil(at_once));
    // SAFETY: the parts together have written every image.
    unsafe { to.set_len(len) };
    to
}

impl Kernel for Images<'_> {
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, index: usize) {
        let first = index * self.at_once;
        let count = self.at_once.min(self.batch - first);
        let (len_from, len_to) = (self.layout_from.len(), self.layout_to.len());
        let mut result = Scratch::take(count * len_to);
        let numbers = self.from.len() / self.batch;
        let images = self.from[first * numbers..].chunks_exact(numbers);
        let pixels = self.layout_to.pixels();
        let epilogue = Epilogue {
            layout: self.layout_to,
            bias: self.bias.as_deref(),
            affine: None,
            store: Store::Backward {
                derivative: None,
                output: result.as_mut_ptr(),
                add: false,
            },
        };
        // SAFETY: the caller vouches for the instruction set. The layouts have whole vectors of
        // channels, and each part writes its own images.
        unsafe {
            if let Convolve::Tiles(tiles) = self.convolve {
                let len = (count * len_from + tiles.behind()).div_ceil(2);
                let mut source = Scratch::take(len);
                let source = as_bf16_mut(&mut source);
                for (image, to) in images.take(count).zip(source.chunks_exact_mut(len_from)) {
                    let activation = self.activations.before;
                    image::pack_rounded::<S>(image, activation, self.layout_from, to);
                }
                tiles.run_rounded::<S>(source, self.layout_from, count, &epilogue);
            } else {
                let mut source = Scratch::take(count * len_from);
                let mut scratch = Scratch::take(self.convolve.scratch());
                for (image, to) in images.take(count).zip(source.chunks_exact_mut(len_from)) {
                    image::pack::<S>(image, self.layout_from, to);
                }
                let from = (&*source, self.layout_from);
                self.convolve.run::<S>(from, count, &epilogue, &mut scratch);
            }
            for (n, from) in result.chunks_exact(len_to).take(count).enumerate() {
                let numbers = self.channels_to * pixels;
                let start = (first + n) * numbers;
                let to = std::slice::from_raw_parts_mut(self.to.at(start), numbers);
                image::unpack::<S>(from, self.layout_to, to);
                if let Some((activation, x)) = self.activations.behind {
                    multiply_by_derivative(activation, &x[start..][..numbers], to);
                }
            }
        }
    }
}

/// The gradient of the loss with respect to the bias, from that with respect to y: its sum over all
/// images and pixels.
///
/// # Shapes
/// - gradient: `[batch, channels, rows, columns]`
/// - output: `[channels]`
pub(super) fn bias_gradient(gradient: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    let output = Output(sums.as_mut_ptr());
    simd::for_each(channels, |channel| {
        let mut total = 0.0_f64;
        for image in gradient.chunks(channels * pixels) {
            let plane = &image[channel * pixels..][..pixels];
            let mut lanes = [0.0_f32; 16];
            let mut chunks = plane.chunks_exact(16);
            for chunk in &mut chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane += value;
                }
            }
            let rest: f32 = chunks.remainder().iter().sum();
            total += f64::from(lanes.iter().sum::<f32>() + rest);
        }
        // SAFETY: each channel's sum is written once, and `sums` outlives the loop.
        unsafe { *output.at(channel) = total as f32 };
    });
    sums
}
