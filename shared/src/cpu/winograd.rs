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
    image::{Layout, TILE},
    memory::Aligned,
    panel::{self, Product},
};
use crate::{
    plan::Convolution,
    simd::{Isa, Simd},
};

/// Rows and columns of the inputs of a tile, and positions of its transform.
const INPUTS: usize = TILE + 2;
const POSITIONS: usize = INPUTS * INPUTS;

/// Numbers of the transformed tiles that are worked on at once: they should stay in the cache next
/// to the processor's first.
const BLOCK: usize = 48 * 1024;

/// A convolution, or the gradient of one, with transformed weights.
#[derive(Debug)]
pub(super) struct Winograd {
    channels_in: usize,
    channels_out: usize,
    /// G g Gᵀ, for each position as [`panel::pack`] has it.
    weights: Aligned,
    /// Tiles worked on at once.
    tiles: usize,
}

impl Winograd {
    /// The convolution itself.
    pub(super) fn forward(convolution: &Convolution, isa: Isa) -> Self {
        let channels_in = convolution.input.channels;
        let at = |i, o, a, b| convolution.weight[((o * channels_in + i) * 3 + a) * 3 + b];
        Self::new(channels_in, convolution.output.channels, isa, at)
    }

    /// The gradient of its input: channels change places, and the kernel is turned by 180 degrees.
    pub(super) fn backward(convolution: &Convolution, isa: Isa) -> Self {
        let channels_in = convolution.input.channels;
        let at =
            |o, i, a, b| convolution.weight[((o * channels_in + i) * 3 + (2 - a)) * 3 + (2 - b)];
        Self::new(convolution.output.channels, channels_in, isa, at)
    }

    /// `weight(i, o, a, b)`: from channel i to channel o under row a and column b.
    fn new(
        channels_in: usize,
        channels_out: usize,
        isa: Isa,
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let transformed: Vec<[f32; POSITIONS]> = (0..channels_in * channels_out)
            .map(|pair| {
                let (i, o) = (pair / channels_out, pair % channels_out);
                transform_kernel(|a, b| weight(i, o, a, b))
            })
            .collect();
        let weights = (0..POSITIONS)
            .flat_map(|position| {
                panel::pack(channels_in, channels_out, isa.lanes(), |i, o| {
                    transformed[i * channels_out + o][position]
                })
            })
            .collect::<Vec<f32>>();
        let rows = panel::rows(isa.lanes(), panel::vectors(isa.lanes(), channels_out));
        let tiles = BLOCK / (POSITIONS * (channels_in + channels_out));
        Self {
            channels_in,
            channels_out,
            weights: weights.into(),
            tiles: tiles.next_multiple_of(rows).max(rows),
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
        let side = layout.size.div_ceil(TILE);
        let all = count * side * side;
        assert!(source.len() >= count * layout.len() && scratch.len() >= self.scratch());
        let (inputs, products) = scratch.split_at_mut(POSITIONS * self.tiles * self.channels_in);
        let mut first = 0;
        while first < all {
            let tiles = self.tiles.min(all - first);
            // Tile n of this block: its image, and its first row and column.
            let tile = |n: usize| {
                let (image, tile) = ((first + n) / (side * side), (first + n) % (side * side));
                (image, tile / side * TILE, tile % side * TILE)
            };
            // SAFETY: the caller vouches for the instruction set; the lengths were checked, and the
            // layout has a border as wide as the last tiles need.
            unsafe {
                for n in 0..tiles {
                    let (image, row, column) = tile(n);
                    let from = source.as_ptr().add(layout.padded_at(image, row, column));
                    let to = inputs.as_mut_ptr().add(n * self.channels_in);
                    self.transform_inputs::<S>(from, layout, to);
                }
                self.multiply::<S>(tiles, inputs.as_ptr(), products.as_mut_ptr());
                for n in 0..tiles {
                    let from = products.as_ptr().add(n * self.channels_out);
                    self.transform_outputs::<S>(from, tile(n), epilogue);
                }
            }
            first += tiles;
        }
    }

    /// Bᵀ d B of one tile, to `[position][tile][channel]`.
    #[inline(always)]
    unsafe fn transform_inputs<S: Simd>(&self, from: *const f32, layout: Layout, to: *mut f32) {
        let row = layout.padded * layout.channels;
        let position = self.tiles * self.channels_in;
        let mut channel = 0;
        while channel < self.channels_in {
            // SAFETY: as the caller vouches.
            unsafe {
                let from = from.add(channel);
                let to = to.add(channel);
                let mut half = [[S::splat(0.0); INPUTS]; INPUTS];
                for j in 0..INPUTS {
                    let column =
                        std::array::from_fn(|i| S::load(from.add(i * row + j * layout.channels)));
                    let column = input_transform::<S>(column);
                    for i in 0..INPUTS {
                        half[i][j] = column[i];
                    }
                }
                for (i, half) in half.into_iter().enumerate() {
                    for (j, value) in input_transform::<S>(half).into_iter().enumerate() {
                        S::store(to.add((i * INPUTS + j) * position), value);
                    }
                }
            }
            channel += S::LANES;
        }
    }

    /// The products of matrices, one for each position.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, tiles: usize, inputs: *const f32, products: *mut f32) {
        let vectors = panel::vectors(S::LANES, self.channels_out);
        // SAFETY: as the caller vouches.
        unsafe {
            match (S::LANES, vectors) {
                (16, 4) => self.multiply_by::<S, 6, 4>(tiles, inputs, products),
                (16, 2) => self.multiply_by::<S, 8, 2>(tiles, inputs, products),
                (16, _) => self.multiply_by::<S, 8, 1>(tiles, inputs, products),
                (8, _) => self.multiply_by::<S, 6, 2>(tiles, inputs, products),
                _ => self.multiply_by::<S, 4, 2>(tiles, inputs, products),
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply_by<S: Simd, const R: usize, const N: usize>(
        &self,
        tiles: usize,
        inputs: *const f32,
        products: *mut f32,
    ) {
        debug_assert_eq!(R, panel::rows(S::LANES, N));
        let width = N * S::LANES;
        for position in 0..POSITIONS {
            for block in 0..self.channels_out / width {
                // SAFETY: as the caller vouches; the scratch has room for whole rows of tiles.
                unsafe {
                    let weights = (position * self.channels_out + block * width) * self.channels_in;
                    S::run(&Product::<R, N> {
                        from: inputs.add(position * self.tiles * self.channels_in),
                        rows: tiles.next_multiple_of(R),
                        channels: self.channels_in,
                        weights: self.weights.as_ptr().add(weights),
                        to: products.add(position * self.tiles * self.channels_out + block * width),
                        pitch: self.channels_out,
                    });
                }
            }
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
        let Layout { size, .. } = epilogue.layout;
        let (rows, columns) = ((size - row).min(TILE), (size - column).min(TILE));
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

/// G g Gᵀ, in double precision.
fn transform_kernel(weight: impl Fn(usize, usize) -> f32) -> [f32; POSITIONS] {
    const G: [[f64; 3]; INPUTS] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    std::array::from_fn(|position| {
        let (i, j) = (position / INPUTS, position % INPUTS);
        let mut sum = 0.0;
        for a in 0..3 {
            for b in 0..3 {
                sum += G[i][a] * f64::from(weight(a, b)) * G[j][b];
            }
        }
        sum as f32
    })
}

/// Bᵀ d, with
///
/// ```text
///      4  0 -5  0  1  0
///      0 -4 -4  1  1  0
/// Bᵀ = 0  4 -4 -1  1  0
///      0 -2 -1  2  1  0
///      0  2 -1 -2  1  0
///      0  4  0 -5  0  1
/// ```
#[inline(always)]
unsafe fn input_transform<S: Simd>(d: [S::Vector; INPUTS]) -> [S::Vector; INPUTS] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Key,
        cpu::{epilogue::Store, gather::Gather, memory::Aligned},
        models::Activation,
        plan::Extent,
        simd::Kernel,
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
                store: Store::Forward {
                    raw: Some((output, false)),
                    active: None,
                    activation: Activation::LeakyRelu,
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
                weight: weight_key.normals(channels_in * channels_out * 9),
                bias: bias_key.normals(channels_out),
            };
            for isa in Isa::available() {
                for backward in [false, true] {
                    let (winograd, gather, from, to) = if backward {
                        (
                            Winograd::backward(&convolution, isa),
                            Gather::backward(&convolution, isa),
                            Layout::of(convolution.output),
                            Layout::of(convolution.input),
                        )
                    } else {
                        (
                            Winograd::forward(&convolution, isa),
                            Gather::forward(&convolution, isa),
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
