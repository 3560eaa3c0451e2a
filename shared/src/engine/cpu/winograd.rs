//! 3×3 convolution of stride one by Winograd's algorithm F(4×4, 3×3) (Lavin & Gray 2016, "Fast
//! algorithms for convolutional neural networks", section 4.3).
//!
//! A tile of 4×4 outputs needs 6×6 inputs d and is Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, summed over the input
//! channels before the last transform: 36 products for each pair of channels where the direct form
//! takes 144. For each of the 36 positions the sum over channels is a product of matrices, tiles
//! by channels in and channels in by channels out.
//!
//! The transforms multiply by up to 8 and subtract, which costs about one decimal digit: the tests
//! allow 2e-5 of the largest output where the direct form differs by some 1e-6.

#![allow(
    clippy::needless_range_loop,
    reason = "the indices are those of the formulas"
)]

use super::{
    epilogue::Epilogue,
    filter::Filter,
    image::{Layout, TILE},
    panel::{self, Packed, Product, Tiled},
};
use crate::engine::simd::{Isa, Simd};

/// Rows and columns of the inputs of a tile, and positions of its transform.
const INPUTS: usize = TILE + 2;
pub(crate) const POSITIONS: usize = INPUTS * INPUTS;

/// Numbers of the transformed tiles that are worked on at once: they should stay in the cache next
/// to the processor's first.
const BLOCK: usize = 48 * 1024;

/// Tiles that are worked on at once however many channels there are: weights fetched from far away
/// should be used so often.
const LEAST_TILES: usize = 16;

/// A convolution, or the gradient of one, with transformed weights. Channels are counted in whole
/// vectors.
#[derive(Debug)]
pub(crate) struct Winograd {
    channels_in: usize,
    channels_out: usize,
    /// G g Gᵀ, a matrix for each position.
    weights: Packed,
    /// Tiles worked on at once.
    tiles: usize,
}

impl Winograd {
    /// The convolution itself.
    pub(super) fn forward(filter: &Filter, isa: Isa) -> Self {
        let Filter {
            channels_in,
            channels_out,
            weight,
            ..
        } = *filter;
        Self::new(
            [channels_in, channels_out],
            isa,
            |i, o| &weight[(o * channels_in + i) * 9..],
            false,
        )
    }

    /// The gradient of its input: channels change places, and the kernel is turned by 180 degrees.
    pub(super) fn backward(filter: &Filter, isa: Isa) -> Self {
        let Filter {
            channels_in,
            channels_out,
            weight,
            ..
        } = *filter;
        Self::new(
            [channels_out, channels_in],
            isa,
            |o, i| &weight[(o * channels_in + i) * 9..],
            true,
        )
    }

    /// `kernel(i, o)` begins with the kernel from channel i to channel o, which may have to be
    /// turned.
    fn new<'a>(
        [channels_in, channels_out]: [usize; 2],
        isa: Isa,
        kernel: impl Fn(usize, usize) -> &'a [f32],
        turned: bool,
    ) -> Self {
        let lanes = isa.lanes();
        let [padded_in, padded_out] =
            [channels_in, channels_out].map(|channels| channels.next_multiple_of(lanes));
        let mut weights = Packed::zeros(POSITIONS, padded_in, padded_out, isa);
        for i in 0..channels_in {
            for first in (0..channels_out).step_by(lanes) {
                let count = lanes.min(channels_out - first);
                let mut kernels = [[0.0; 16]; 9];
                for n in 0..count {
                    let kernel = kernel(i, first + n);
                    for tap in 0..9 {
                        kernels[if turned { 8 - tap } else { tap }][n] = kernel[tap];
                    }
                }
                let transformed = transform_kernels(&kernels);
                for (position, numbers) in transformed.iter().enumerate() {
                    weights.row(position, i, first)[..lanes].copy_from_slice(&numbers[..lanes]);
                }
            }
        }
        let rows = panel::rows(isa, padded_out);
        let tiles = BLOCK / (POSITIONS * (padded_in + padded_out));
        Self {
            channels_in: padded_in,
            channels_out: padded_out,
            weights,
            tiles: tiles.max(LEAST_TILES).next_multiple_of(rows),
        }
    }

    /// Numbers of the transformed weights.
    pub(super) fn weights(&self) -> usize {
        self.weights.len()
    }

    /// Numbers of scratch that [`Winograd::run`] needs.
    pub(super) fn scratch(&self) -> usize {
        POSITIONS * self.tiles * (self.channels_in + self.channels_out)
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
        scratch: &mut [f32],
    ) {
        let [down, across] = layout.tiles();
        let all = count * down * across;
        assert!(source.len() >= count * layout.len() && scratch.len() >= self.scratch());
        let (inputs, products) = scratch.split_at_mut(POSITIONS * self.tiles * self.channels_in);
        let mut first = 0;
        while first < all {
            let tiles = self.tiles.min(all - first);
            // Tile n of this block: its image, and its first row and column.
            let tile = |n: usize| {
                let (image, tile) = ((first + n) / (down * across), (first + n) % (down * across));
                (image, tile / across * TILE, tile % across * TILE)
            };
            // SAFETY: the caller vouches for the instruction set; the lengths were checked, and the
            // layout has a border as wide as the last tiles need.
            unsafe {
                for n in 0..tiles {
                    let (image, row, column) = tile(n);
                    let from = source.as_ptr().add(layout.padded_at(image, row, column));
                    let to = inputs.as_mut_ptr().add(n * self.channels_in);
                    transform_inputs::<S>(from, layout, to, self.tiles * self.channels_in);
                }
                let products_of = Multiply {
                    of: self,
                    tiles,
                    inputs: inputs.as_ptr(),
                    products: products.as_mut_ptr(),
                };
                panel::tiled::<S>(self.channels_out, &products_of);
                for n in 0..tiles {
                    let from = products.as_ptr().add(n * self.channels_out);
                    self.transform_outputs::<S>(from, tile(n), epilogue);
                }
            }
            first += tiles;
        }
    }

    /// Aᵀ m A of one tile, to where the epilogue puts it.
    #[inline(always)]
    unsafe fn transform_outputs<S: Simd>(
        &self,
        from: *const f32,
        (image, row, column): (usize, usize, usize),
        epilogue: &Epilogue,
    ) {
        let Layout { rows, columns, .. } = epilogue.layout;
        let (rows, columns) = ((rows - row).min(TILE), (columns - column).min(TILE));
        let mut places = [0; TILE * TILE];
        for i in 0..rows {
            for j in 0..columns {
                places[i * columns + j] = epilogue.layout.at(image, row + i, column + j);
            }
        }
        let position = self.tiles * self.channels_out;
        let mut channel = 0;
        while channel < self.channels_out {
            // SAFETY: as the caller vouches.
            unsafe {
                let from = from.add(channel);
                let mut half = [[S::splat(0.0); INPUTS]; TILE];
                for j in 0..INPUTS {
                    let values =
                        std::array::from_fn(|i| S::load(from.add((i * INPUTS + j) * position)));
                    let values = output_transform::<S>(values);
                    for i in 0..TILE {
                        half[i][j] = values[i];
                    }
                }
                let mut sums = [0.0; TILE * TILE * 16];
                for (i, half) in half.into_iter().enumerate().take(rows) {
                    for (j, value) in output_transform::<S>(half)
                        .into_iter()
                        .enumerate()
                        .take(columns)
                    {
                        S::store(sums.as_mut_ptr().add((i * columns + j) * S::LANES), value);
                    }
                }
                let places = &places[..rows * columns];
                epilogue.apply::<S>(&mut sums, S::LANES, places, channel);
            }
            channel += S::LANES;
        }
    }
}

/// The products of matrices, one for each position.
struct Multiply<'a> {
    of: &'a Winograd,
    tiles: usize,
    inputs: *const f32,
    products: *mut f32,
}

impl Tiled for Multiply<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const N: usize>(&self) {
        let Winograd {
            channels_in,
            channels_out,
            ref weights,
            tiles,
        } = *self.of;
        for position in 0..POSITIONS {
            for channel in (0..channels_out).step_by(N * S::LANES) {
                // SAFETY: as the caller vouches; the scratch has room for whole rows of tiles.
                unsafe {
                    S::run(&Product::<R, N> {
                        from: self.inputs.add(position * tiles * channels_in),
                        rows: self.tiles.next_multiple_of(R),
                        channels: channels_in,
                        weights: weights.block(position, channel),
                        to: self.products.add(position * tiles * channels_out + channel),
                        pitch: channels_out,
                    });
                }
            }
        }
    }
}

/// Bᵀ d B of one tile, to `[position][..][channel]` with so many numbers from one position to the
/// next.
///
/// # Safety
///
/// As for [`Simd`]; and the pointers must be valid for the tile and for all positions.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd>(
    from: *const f32,
    layout: Layout,
    to: *mut f32,
    position: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe { transform::<S, Inputs, INPUTS>(from, layout, to, position) }
}

/// A dy Aᵀ of one tile, otherwise as [`transform_inputs`]; `from` is the tile's first number.
///
/// # Safety
///
/// As for [`transform_inputs`].
#[inline(always)]
pub(super) unsafe fn transform_gradients<S: Simd>(
    from: *const f32,
    layout: Layout,
    to: *mut f32,
    position: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe { transform::<S, Gradients, TILE>(from, layout, to, position) }
}

/// A matrix of a transform. A type and no closure: the compiler would leave a closure's function out of
/// line, and there, without the instruction set, a call for every sum and product.
trait Matrix<const N: usize> {
    /// The product of the matrix and `d`.
    ///
    /// # Safety
    ///
    /// As for [`Simd`].
    unsafe fn times<S: Simd>(d: [S::Vector; N]) -> [S::Vector; INPUTS];
}

/// M d Mᵀ of N×N numbers of each channel.
///
/// # Safety
///
/// As for [`transform_inputs`].
#[inline(always)]
unsafe fn transform<S: Simd, M: Matrix<N>, const N: usize>(
    from: *const f32,
    layout: Layout,
    to: *mut f32,
    position: usize,
) {
    let (channels, pitch) = (layout.channels, layout.pitch());
    let mut channel = 0;
    while channel < channels {
        // SAFETY: as the caller vouches.
        unsafe {
            let from = from.add(channel);
            let to = to.add(channel);
            let mut half = [[S::splat(0.0); N]; INPUTS];
            for j in 0..N {
                let column = std::array::from_fn(|i| S::load(from.add(i * pitch + j * channels)));
                let column = M::times::<S>(column);
                for i in 0..INPUTS {
                    half[i][j] = column[i];
                }
            }
            for (i, half) in half.into_iter().enumerate() {
                for (j, value) in M::times::<S>(half).into_iter().enumerate() {
                    S::store(to.add((i * INPUTS + j) * position), value);
                }
            }
        }
        channel += S::LANES;
    }
}

/// ```text
///      1/4   0     0
///     -1/6  -1/6  -1/6
/// G = -1/6   1/6  -1/6
///      1/24  1/12  1/6
///      1/24 -1/12  1/6
///      0     0     1
/// ```
const G: [[f32; 3]; INPUTS] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Numbers of as many channels as any vector has.
type Lanes = [f32; 16];

/// G g Gᵀ of kernels side by side.
fn transform_kernels(g: &[Lanes; 9]) -> [Lanes; POSITIONS] {
    let half: [Lanes; INPUTS * 3] = std::array::from_fn(|n| {
        let (i, b) = (n / 3, n % 3);
        sum(G[i], [&g[b], &g[3 + b], &g[6 + b]])
    });
    std::array::from_fn(|position| {
        let (i, j) = (position / INPUTS, position % INPUTS);
        sum(G[j], [&half[i * 3], &half[i * 3 + 1], &half[i * 3 + 2]])
    })
}

/// G g Gᵀ of one kernel.
pub(crate) fn transform_kernel(weight: impl Fn(usize, usize) -> f32) -> [f32; POSITIONS] {
    let g = std::array::from_fn(|tap| {
        let mut lanes = [0.0; 16];
        lanes[0] = weight(tap / 3, tap % 3);
        lanes
    });
    transform_kernels(&g).map(|lanes| lanes[0])
}

/// Gᵀ m G of kernels side by side: from the gradient of the transformed kernels to that of the
/// kernels themselves.
pub(super) fn transform_kernels_back(m: &[Lanes; POSITIONS]) -> [Lanes; 9] {
    let half: [Lanes; 3 * INPUTS] = std::array::from_fn(|n| {
        let (a, j) = (n / INPUTS, n % INPUTS);
        let column = std::array::from_fn::<_, INPUTS, _>(|i| &m[i * INPUTS + j]);
        sum(G.map(|row| row[a]), column)
    });
    std::array::from_fn(|tap| {
        let (a, b) = (tap / 3, tap % 3);
        let row = std::array::from_fn::<_, INPUTS, _>(|j| &half[a * INPUTS + j]);
        sum(G.map(|row| row[b]), row)
    })
}

/// Σ factors[n] · numbers[n], lane by lane.
fn sum<const N: usize>(factors: [f32; N], numbers: [&Lanes; N]) -> Lanes {
    let mut total = [0.0; 16];
    for (factor, numbers) in factors.into_iter().zip(numbers) {
        for (total, number) in total.iter_mut().zip(numbers) {
            *total += factor * number;
        }
    }
    total
}

/// The inputs' matrix:
///
/// ```text
///      4  0 -5  0  1  0
///      0 -4 -4  1  1  0
/// Bᵀ = 0  4 -4 -1  1  0
///      0 -2 -1  2  1  0
///      0  2 -1 -2  1  0
///      0  4  0 -5  0  1
/// ```
struct Inputs;

impl Matrix<INPUTS> for Inputs {
    #[inline(always)]
    unsafe fn times<S: Simd>(d: [S::Vector; INPUTS]) -> [S::Vector; INPUTS] {
        // SAFETY: as the caller vouches.
        unsafe {
            let times = |factor: f32, a, b| S::mul_add(S::splat(factor), a, b);
            let a = times(-4.0, d[2], d[4]);
            let b = times(-4.0, d[1], d[3]);
            let c = S::sub(d[4], d[2]);
            let e = S::sub(d[3], d[1]);
            [
                times(4.0, d[0], times(-5.0, d[2], d[4])),
                S::add(a, b),
                S::sub(a, b),
                times(2.0, e, c),
                times(-2.0, e, c),
                times(4.0, d[1], times(-5.0, d[3], d[5])),
            ]
        }
    }
}

/// Aᵀ m, with
///
/// ```text
///      1  1  1  1  1  0
/// Aᵀ = 0  1 -1  2 -2  0
///      0  1  1  4  4  0
///      0  1 -1  8 -8  1
/// ```
#[inline(always)]
unsafe fn output_transform<S: Simd>(m: [S::Vector; INPUTS]) -> [S::Vector; TILE] {
    // SAFETY: as the caller vouches.
    unsafe {
        let times = |factor: f32, a, b| S::mul_add(S::splat(factor), a, b);
        let p = S::add(m[1], m[2]);
        let q = S::sub(m[1], m[2]);
        let r = S::add(m[3], m[4]);
        let s = S::sub(m[3], m[4]);
        [
            S::add(m[0], S::add(p, r)),
            times(2.0, s, q),
            times(4.0, r, p),
            S::add(times(8.0, s, q), m[5]),
        ]
    }
}

/// The gradients' matrix, A: the transpose of that of [`output_transform`].
struct Gradients;

impl Matrix<TILE> for Gradients {
    #[inline(always)]
    unsafe fn times<S: Simd>(d: [S::Vector; TILE]) -> [S::Vector; INPUTS] {
        // SAFETY: as the caller vouches.
        unsafe {
            let times = |factor: f32, a, b| S::mul_add(S::splat(factor), a, b);
            let p = S::add(d[0], d[2]);
            let q = S::add(d[1], d[3]);
            let r = times(4.0, d[2], d[0]);
            let s = times(4.0, d[3], d[1]); // half of 2 d₁ + 8 d₃
            [
                d[0],
                S::add(p, q),
                S::sub(p, q),
                times(2.0, s, r),
                times(-2.0, s, r),
                d[3],
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key,
        engine::{
            cpu::{epilogue::Store, gather::Gather, memory::Aligned},
            plan::{Convolution, Extent},
            simd::Kernel,
        },
        models::Activation,
    };

    /// Both forms of one convolution on the same source.
    struct Both<'a> {
        winograd: &'a Winograd,
        gather: &'a Gather,
        source: &'a [f32],
        from: Layout,
        to: Layout,
        images: usize,
        outputs: [*mut f32; 2],
    }

    // SAFETY: there is one part, so one thread.
    unsafe impl Sync for Both<'_> {}

    impl Kernel for Both<'_> {
        #[inline(always)]
        unsafe fn part<S: Simd>(&self, _: usize) {
            let epilogue = |output| Epilogue {
                layout: self.to,
                bias: None,
                affine: None,
                store: Store::Forward {
                    raw: Some((output, false)),
                    active: None,
                    activation: Some(Activation::LeakyRelu),
                },
            };
            let [first, second] = self.outputs.map(epilogue);
            let mut scratch = Aligned::zeros(self.winograd.scratch());
            let (source, images) = (self.source, self.images);
            // SAFETY: `Isa::run` vouches for the instruction set, the buffers are of the layouts.
            unsafe {
                self.winograd
                    .run::<S>(source, self.from, images, &first, &mut scratch);
                self.gather.run::<S>(source, self.from, images, &second);
            }
        }
    }

    #[test]
    fn it_is_the_direct_convolution_to_2e_5() {
        for (channels_in, channels_out, size, images) in [
            (16, 16, 28, 1),
            (16, 32, 7, 3),
            (32, 16, 9, 2),
            (48, 48, 5, 5),
            (64, 128, 14, 1),
            (160, 16, 1, 2),
            (640, 16, 8, 1),
        ] {
            let extent = |channels| Extent { channels, size };
            let [weight_key, bias_key, x_key] = Key::new(size as u64).split();
            let convolution = Convolution {
                input: extent(channels_in),
                output: extent(channels_out),
                kernel: 3,
                stride: 1,
                padding: 1,
                affine: None,
                linear: false,
                weight: weight_key.normals(channels_in * channels_out * 9),
                bias: bias_key.normals(channels_out),
            };
            let filter = (&convolution).into();
            for isa in Isa::available() {
                for backward in [false, true] {
                    let (winograd, gather, from, to) = if backward {
                        (
                            Winograd::backward(&filter, isa),
                            Gather::backward(&filter, isa),
                            Layout::of(convolution.output),
                            Layout::of(convolution.input),
                        )
                    } else {
                        (
                            Winograd::forward(&filter, isa),
                            Gather::forward(&filter, isa),
                            Layout::of(convolution.input),
                            Layout::of(convolution.output),
                        )
                    };
                    let mut source = Aligned::zeros(images * from.len());
                    let pixels = x_key.normals(images * size * size * from.channels);
                    let mut pixels = pixels.chunks_exact(from.channels);
                    for image in 0..images {
                        for place in 0..size * size {
                            let start = from.at(image, place / size, place % size);
                            source[start..start + from.channels]
                                .copy_from_slice(pixels.next().unwrap());
                        }
                    }
                    let mut outputs = [0, 1].map(|_| Aligned::zeros(images * to.len()));
                    let both = Both {
                        winograd: &winograd,
                        gather: &gather,
                        source: &source,
                        from,
                        to,
                        images,
                        outputs: outputs.each_mut().map(|output| output.as_mut_ptr()),
                    };
                    isa.run(&both, 1);
                    let [found, expected] = &outputs;
                    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                    let pairs = found.iter().zip(expected.iter());
                    let error = pairs.fold(0.0f32, |e, (a, b)| e.max((a - b).abs()));
                    assert!(
                        largest > 0.0 && error <= 2e-5 * largest,
                        "{isa:?}, {channels_in} to {channels_out} channels, {size} pixels, \
                         backward {backward}: {error} where numbers reach {largest}"
                    );
                }
            }
        }
    }
}
