//! The convolution on a GPU: Basin's own kernels on tensors of Burn's CubeCL backend (CUDA, Vulkan, Metal,
//! WebGPU).
//!
//! Each computation is a product of two matrices that are never written down ("implicit GEMM", Chetlur et al.
//! 2014, <https://arxiv.org/abs/1410.0759>):
//!
//! | computes | rows | columns | sums over |
//! |---|---|---|---|
//! | y | channels out | pixels of y of all images | channels in and the kernel's taps |
//! | ∂/∂x | channels in | pixels of x of all images | channels out and taps |
//! | ∂/∂weight | channels out | channels in and taps | pixels of y of all images, in [`slices`] |
//!
//! Nothing is searched for and nothing depends on the batch: which kernel is compiled follows from the size of the
//! kernel, the stride, whether there is a bias and how many rows there are ([`Tile`]). Burn would compile some
//! thirteen candidates for each shape of each computation to find the fastest, which takes minutes, or without
//! that search take a direct convolution.
//!
//! Factors are read in the tensors' precision; products and sums are single precision, each sum in an order
//! that depends on the shapes alone, so that a run repeats to the bit.

use burn::backend::{Cube, TensorMetadata, cubecl::dtype_to_storage_type};
use burn::cubecl;
use burn::cubecl::{ir::ElemType, prelude::*};
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::cpu::InBf16;
use super::recorded::{Kernels, Shapes};
use crate::tensors::cube::{CubeTensor, UNITS, empty, sum_of_units};

/// Numbers of a vector, of which memory is read and summed.
const VECTOR: usize = 4;
/// How much of the sum is fetched at a time.
const DEPTH: usize = 8;
/// Columns of a unit, two vectors.
const COLUMNS_OF_UNIT: usize = 8;
/// Most cubes along one axis of a launch, by WebGPU's least limit.
const CUBES: usize = 65_535;

/// The part of a product that one cube computes, as rows by columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tile {
    /// 16 by 256: few channels are no waste.
    Narrow,
    /// 64 by 128, four times the products for each number that is fetched.
    Wide,
}

impl Tile {
    /// For a product of so many rows.
    fn of(rows: usize) -> Self {
        match rows <= 16 {
            true => Self::Narrow,
            false => Self::Wide,
        }
    }

    const fn rows(self) -> usize {
        match self {
            Self::Narrow => 16,
            Self::Wide => 64,
        }
    }

    const fn columns(self) -> usize {
        UNITS * COLUMNS_OF_UNIT * self.rows_of_unit() / self.rows()
    }

    /// Rows of a unit.
    const fn rows_of_unit(self) -> usize {
        match self {
            Self::Narrow => 4,
            Self::Wide => 8,
        }
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct How {
    tile: Tile,
    /// Rows and columns of the convolution's kernel.
    kernel: usize,
    stride: usize,
    /// Whether the images are gathered backward, from y's to x's.
    backward: bool,
    bias: bool,
}

/// Sizes that a kernel is told when it runs: of the images that are read and of those that are written.
#[derive(CubeLaunch, CubeType)]
struct Sizes {
    images: u32,
    channels_in: u32,
    rows_in: u32,
    columns_in: u32,
    channels_out: u32,
    rows_out: u32,
    columns_out: u32,
    padding: u32,
}

/// Images gathered by a kernel's taps, times the weights: y, or backward ∂/∂x.
///
/// Cubes: columns of the product along x and y, rows along z.
#[cube(launch_unchecked)]
fn gather<E: Float, V: Size>(
    images: &[E],
    weight: &[E],
    bias: &[E],
    output: &mut [E],
    sizes: Sizes,
    #[comptime] how: How,
    #[define(E)] _element: ElemType,
) {
    let rows = comptime!(how.tile.rows());
    let columns = comptime!(how.tile.columns());
    let rows_of_unit = comptime!(how.tile.rows_of_unit());
    let across = comptime!(columns / COLUMNS_OF_UNIT);
    let taps = comptime!((how.kernel * how.kernel) as u32);
    let kernel = comptime!(how.kernel as u32);
    let stride = comptime!(how.stride as u32);

    let pixels_in = sizes.rows_in * sizes.columns_in;
    let pixels_out = sizes.rows_out * sizes.columns_out;
    let all_pixels = sizes.images * pixels_out;
    let depth = sizes.channels_in * taps;
    let first_column = (CUBE_POS_X + CUBE_POS_Y * CUBE_COUNT_X) * comptime!(columns as u32);
    let first_row = CUBE_POS_Z * comptime!(rows as u32);

    let mut left = Shared::<[Vector<f32, V>]>::new_slice(comptime!(DEPTH * rows / VECTOR));
    let mut right = Shared::<[Vector<f32, V>]>::new_slice(comptime!(DEPTH * columns / VECTOR));
    let mut sums = Array::<Vector<f32, V>>::new(comptime!(rows_of_unit * COLUMNS_OF_UNIT / VECTOR));
    #[unroll]
    for i in 0..comptime!(rows_of_unit * COLUMNS_OF_UNIT / VECTOR) {
        sums[i] = Vector::new(0.0f32);
    }

    // The pixels that this unit fetches at every depth: where their image begins, and where the kernel stands.
    let vectors = comptime!(columns / VECTOR);
    let vector = UNIT_POS % comptime!(vectors as u32);
    let mut begins = Array::<u32>::new(VECTOR);
    let mut at_row = Array::<i32>::new(VECTOR);
    let mut at_column = Array::<i32>::new(VECTOR);
    #[unroll]
    for i in 0..VECTOR {
        let pixel = first_column + vector * comptime!(VECTOR as u32) + comptime!(i as u32);
        let image = pixel / pixels_out;
        let place = pixel % pixels_out;
        let row = (place / sizes.columns_out) as i32;
        let column = (place % sizes.columns_out) as i32;
        begins[i] = image * sizes.channels_in * pixels_in;
        // Behind the last image every tap misses.
        let nowhere = comptime!(i32::MIN / 2);
        if comptime!(how.backward) {
            at_row[i] = select(pixel < all_pixels, row + sizes.padding as i32, nowhere);
            at_column[i] = column + sizes.padding as i32;
        } else {
            let row = row * comptime!(stride as i32) - sizes.padding as i32;
            at_row[i] = select(pixel < all_pixels, row, nowhere);
            at_column[i] = column * comptime!(stride as i32) - sizes.padding as i32;
        }
    }

    let unit_row = UNIT_POS / comptime!(across as u32);
    let unit_column = UNIT_POS % comptime!(across as u32);
    for step in 0..depth.div_ceil(comptime!(DEPTH as u32)) {
        let begin = step * comptime!(DEPTH as u32);

        let of_rows = comptime!(DEPTH * rows / VECTOR);
        #[unroll]
        for n in 0..comptime!(of_rows.div_ceil(UNITS)) {
            let at = UNIT_POS + comptime!((n * UNITS) as u32);
            if at < comptime!(of_rows as u32) {
                let k = begin + at % comptime!(DEPTH as u32);
                let of_row = at / comptime!(DEPTH as u32);
                let mut fetched = Vector::<f32, V>::new(0.0f32);
                #[unroll]
                for i in 0..VECTOR {
                    let row = first_row + of_row * comptime!(VECTOR as u32) + comptime!(i as u32);
                    let there = row < sizes.channels_out && k < depth;
                    let mut place = row * depth + k;
                    if comptime!(how.backward) {
                        place = ((k / taps) * sizes.channels_out + row) * taps + k % taps;
                    }
                    let number = f32::cast_from(weight[select(there, place, 0u32) as usize]);
                    fetched.insert(i, select(there, number, 0.0f32));
                }
                let place = (at % comptime!(DEPTH as u32)) * comptime!((rows / VECTOR) as u32);
                left[(place + of_row) as usize] = fetched;
            }
        }

        #[unroll]
        for n in 0..comptime!(DEPTH * vectors / UNITS) {
            let deep =
                UNIT_POS / comptime!(vectors as u32) + comptime!((n * UNITS / vectors) as u32);
            let k = begin + deep;
            let channel = k / taps;
            let tap = k % taps;
            let down = (tap / kernel) as i32;
            let along = (tap % kernel) as i32;
            let mut fetched = Vector::<f32, V>::new(0.0f32);
            #[unroll]
            for i in 0..VECTOR {
                let mut row = at_row[i] + down;
                let mut column = at_column[i] + along;
                let mut meets = true;
                if comptime!(how.backward) {
                    row = at_row[i] - down;
                    column = at_column[i] - along;
                    if comptime!(stride == 2) {
                        meets = (row & 1i32) == 0i32 && (column & 1i32) == 0i32;
                        row = row >> 1i32;
                        column = column >> 1i32;
                    }
                }
                let there = meets
                    && k < depth
                    && row >= 0i32
                    && column >= 0i32
                    && row < sizes.rows_in as i32
                    && column < sizes.columns_in as i32;
                let place =
                    begins[i] + channel * pixels_in + row as u32 * sizes.columns_in + column as u32;
                let number = f32::cast_from(images[select(there, place, 0u32) as usize]);
                fetched.insert(i, select(there, number, 0.0f32));
            }
            right[(deep * comptime!(vectors as u32) + vector) as usize] = fetched;
        }
        sync_cube();
        multiply::<V>(
            &left,
            &right,
            &mut sums,
            unit_row,
            unit_column,
            comptime!(how.tile),
        );
        sync_cube();
    }

    #[unroll]
    for c in 0..comptime!(COLUMNS_OF_UNIT / VECTOR) {
        let of_column = unit_column + comptime!((c * across) as u32);
        #[unroll]
        for i in 0..VECTOR {
            let pixel = first_column + of_column * comptime!(VECTOR as u32) + comptime!(i as u32);
            if pixel < all_pixels {
                let image = pixel / pixels_out;
                let place = pixel % pixels_out;
                #[unroll]
                for r in 0..rows_of_unit {
                    let row =
                        first_row + unit_row * comptime!(rows_of_unit as u32) + comptime!(r as u32);
                    if row < sizes.channels_out {
                        let mut number =
                            sums[comptime!(r * COLUMNS_OF_UNIT / VECTOR + c)].extract(i);
                        if comptime!(how.bias) {
                            number += f32::cast_from(bias[row as usize]);
                        }
                        let to = (image * sizes.channels_out + row) * pixels_out + place;
                        output[to as usize] = E::cast_from(number);
                    }
                }
            }
        }
    }
}

/// Adds the products of the fetched rows and columns to the unit's sums.
#[cube]
fn multiply<V: Size>(
    left: &Shared<[Vector<f32, V>]>,
    right: &Shared<[Vector<f32, V>]>,
    sums: &mut Array<Vector<f32, V>>,
    unit_row: u32,
    unit_column: u32,
    #[comptime] tile: Tile,
) {
    let rows_of_unit = comptime!(tile.rows_of_unit());
    let across = comptime!(tile.columns() / COLUMNS_OF_UNIT);
    let columns = comptime!(COLUMNS_OF_UNIT / VECTOR);
    #[unroll]
    for k in 0..DEPTH {
        let mut of_columns = Array::<Vector<f32, V>>::new(columns);
        #[unroll]
        for c in 0..columns {
            let place = unit_column + comptime!((k * tile.columns() / VECTOR + c * across) as u32);
            of_columns[c] = right[place as usize];
        }
        #[unroll]
        for r in 0..comptime!(rows_of_unit / VECTOR) {
            let place = unit_row * comptime!((rows_of_unit / VECTOR) as u32)
                + comptime!((k * tile.rows() / VECTOR + r) as u32);
            let of_rows = left[place as usize];
            #[unroll]
            for i in 0..VECTOR {
                #[unroll]
                for c in 0..columns {
                    let row = Vector::<f32, V>::new(of_rows.extract(i));
                    sums[comptime!((r * VECTOR + i) * columns + c)] += row * of_columns[c];
                }
            }
        }
    }
}

/// ∂/∂y times the images gathered by taps: ∂/∂weight, of one slice of the pixels in single precision.
///
/// The sizes are the forward convolution's. Cubes: columns of the product along x, rows along y, slices
/// along z.
#[cube(launch_unchecked)]
fn correlate<E: Float, V: Size>(
    images: &[E],
    slopes: &[E],
    output: &mut [f32],
    sizes: Sizes,
    of_slice: u32,
    #[comptime] how: How,
    #[define(E)] _element: ElemType,
) {
    let rows = comptime!(how.tile.rows());
    let columns = comptime!(how.tile.columns());
    let rows_of_unit = comptime!(how.tile.rows_of_unit());
    let across = comptime!(columns / COLUMNS_OF_UNIT);
    let taps = comptime!((how.kernel * how.kernel) as u32);
    let kernel = comptime!(how.kernel as u32);

    let pixels_in = sizes.rows_in * sizes.columns_in;
    let pixels_out = sizes.rows_out * sizes.columns_out;
    let all_columns = sizes.channels_in * taps;
    let first_column = CUBE_POS_X * comptime!(columns as u32);
    let first_row = CUBE_POS_Y * comptime!(rows as u32);
    let begin = CUBE_POS_Z * of_slice;
    let end = min(begin + of_slice, sizes.images * pixels_out);

    let mut left = Shared::<[Vector<f32, V>]>::new_slice(comptime!(DEPTH * rows / VECTOR));
    let mut right = Shared::<[Vector<f32, V>]>::new_slice(comptime!(DEPTH * columns / VECTOR));
    let mut sums = Array::<Vector<f32, V>>::new(comptime!(rows_of_unit * COLUMNS_OF_UNIT / VECTOR));
    #[unroll]
    for i in 0..comptime!(rows_of_unit * COLUMNS_OF_UNIT / VECTOR) {
        sums[i] = Vector::new(0.0f32);
    }

    // A unit fetches one pixel a step, of the same rows and columns every time.
    let deep = UNIT_POS % comptime!(DEPTH as u32);
    let place_of_unit = UNIT_POS / comptime!(DEPTH as u32);
    let units = comptime!(UNITS / DEPTH);
    let vectors = comptime!(columns / VECTOR);
    let fetches = comptime!(vectors / units);
    let mut channels = Array::<u32>::new(comptime!(fetches * VECTOR));
    let mut down = Array::<i32>::new(comptime!(fetches * VECTOR));
    let mut along = Array::<i32>::new(comptime!(fetches * VECTOR));
    #[unroll]
    for n in 0..fetches {
        #[unroll]
        for i in 0..VECTOR {
            let of_column = place_of_unit + comptime!((n * units) as u32);
            let column = first_column + of_column * comptime!(VECTOR as u32) + comptime!(i as u32);
            let tap = column % taps;
            let nowhere = comptime!(i32::MIN / 2);
            let by = (tap / kernel) as i32 - sizes.padding as i32;
            channels[comptime!(n * VECTOR + i)] = column / taps;
            down[comptime!(n * VECTOR + i)] = select(column < all_columns, by, nowhere);
            along[comptime!(n * VECTOR + i)] = (tap % kernel) as i32 - sizes.padding as i32;
        }
    }

    let unit_row = UNIT_POS / comptime!(across as u32);
    let unit_column = UNIT_POS % comptime!(across as u32);
    let steps = (end - begin).div_ceil(comptime!(DEPTH as u32));
    for step in 0..steps {
        let pixel = begin + step * comptime!(DEPTH as u32) + deep;
        let inside = pixel < end;
        let image = pixel / pixels_out;
        let place = pixel % pixels_out;
        let row_of_pixel = (place / sizes.columns_out * comptime!(how.stride as u32)) as i32;
        let column_of_pixel = (place % sizes.columns_out * comptime!(how.stride as u32)) as i32;

        #[unroll]
        for n in 0..comptime!((rows / VECTOR).div_ceil(units)) {
            let of_row = place_of_unit + comptime!((n * units) as u32);
            if of_row < comptime!((rows / VECTOR) as u32) {
                let mut fetched = Vector::<f32, V>::new(0.0f32);
                #[unroll]
                for i in 0..VECTOR {
                    let row = first_row + of_row * comptime!(VECTOR as u32) + comptime!(i as u32);
                    let there = inside && row < sizes.channels_out;
                    let from = (image * sizes.channels_out + row) * pixels_out + place;
                    let number = f32::cast_from(slopes[select(there, from, 0u32) as usize]);
                    fetched.insert(i, select(there, number, 0.0f32));
                }
                left[(deep * comptime!((rows / VECTOR) as u32) + of_row) as usize] = fetched;
            }
        }
        #[unroll]
        for n in 0..fetches {
            let of_column = place_of_unit + comptime!((n * units) as u32);
            let mut fetched = Vector::<f32, V>::new(0.0f32);
            #[unroll]
            for i in 0..VECTOR {
                let row = row_of_pixel + down[comptime!(n * VECTOR + i)];
                let column = column_of_pixel + along[comptime!(n * VECTOR + i)];
                let there = inside
                    && row >= 0i32
                    && column >= 0i32
                    && row < sizes.rows_in as i32
                    && column < sizes.columns_in as i32;
                let channel = image * sizes.channels_in + channels[comptime!(n * VECTOR + i)];
                let from = channel * pixels_in + row as u32 * sizes.columns_in + column as u32;
                let number = f32::cast_from(images[select(there, from, 0u32) as usize]);
                fetched.insert(i, select(there, number, 0.0f32));
            }
            right[(deep * comptime!(vectors as u32) + of_column) as usize] = fetched;
        }
        sync_cube();
        multiply::<V>(
            &left,
            &right,
            &mut sums,
            unit_row,
            unit_column,
            comptime!(how.tile),
        );
        sync_cube();
    }

    #[unroll]
    for r in 0..rows_of_unit {
        let row = first_row + unit_row * comptime!(rows_of_unit as u32) + comptime!(r as u32);
        #[unroll]
        for c in 0..comptime!(COLUMNS_OF_UNIT / VECTOR) {
            let of_column = unit_column + comptime!((c * across) as u32);
            #[unroll]
            for i in 0..VECTOR {
                let column =
                    first_column + of_column * comptime!(VECTOR as u32) + comptime!(i as u32);
                if row < sizes.channels_out && column < all_columns {
                    let to = (CUBE_POS_Z * sizes.channels_out + row) * all_columns + column;
                    output[to as usize] =
                        sums[comptime!(r * COLUMNS_OF_UNIT / VECTOR + c)].extract(i);
                }
            }
        }
    }
}

/// The sum of the slices, number by number.
#[cube(launch_unchecked)]
fn add_slices<E: Float>(
    slices: &[f32],
    output: &mut [E],
    count: u32,
    numbers: u32,
    #[define(E)] _element: ElemType,
) {
    let number = CUBE_POS_X * comptime!(UNITS as u32) + UNIT_POS;
    if number < numbers {
        let mut sum = 0.0f32;
        for slice in 0..count {
            sum += slices[(slice * numbers + number) as usize];
        }
        output[number as usize] = E::cast_from(sum);
    }
}

/// The sum of each channel over all pixels of all images: a cube for a channel.
#[cube(launch_unchecked)]
fn add_pixels<E: Float>(
    slopes: &[E],
    output: &mut [E],
    images: u32,
    pixels: u32,
    #[define(E)] _element: ElemType,
) {
    let channel = CUBE_POS_X;
    let mut sum = 0.0f32;
    for step in 0..(images * pixels).div_ceil(comptime!(UNITS as u32)) {
        let at = step * comptime!(UNITS as u32) + UNIT_POS;
        if at < images * pixels {
            let from = (at / pixels * CUBE_COUNT_X + channel) * pixels + at % pixels;
            sum += f32::cast_from(slopes[from as usize]);
        }
    }
    let sum = sum_of_units(sum);
    if UNIT_POS == 0 {
        output[channel as usize] = E::cast_from(sum);
    }
}

/// Into how many parts the sum over `pixels` is cut, so that a GPU has work for all its units where the product
/// itself is `tiles` tiles, and of how many pixels each is. Of the shapes alone, so that no device has other bits.
fn slices(tiles: usize, pixels: usize) -> (usize, usize) {
    /// Enough for the largest GPU.
    const CUBES_AT_ONCE: usize = 512;
    /// Fewer would cost more to add than to sum.
    const LEAST: usize = 256;
    let most = CUBES_AT_ONCE.div_ceil(tiles).max(1);
    let of_slice = pixels.div_ceil(most).max(LEAST).next_multiple_of(DEPTH);
    (pixels.div_ceil(of_slice), of_slice)
}

/// Columns of a product along the first two axes of a launch.
fn spread(tiles: usize) -> [u32; 2] {
    let layers = tiles.div_ceil(CUBES);
    [tiles.div_ceil(layers) as u32, layers as u32]
}

/// The product of [`gather`], of images of one shape to images of another.
fn gathered(
    images: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    shape: [usize; 4],
    shapes: Shapes,
    backward: bool,
) -> CubeTensor {
    let [count, channels_in, rows_in, columns_in] = images.shape().dims();
    let [_, channels_out, rows_out, columns_out] = shape;
    let how = How {
        tile: Tile::of(channels_out),
        kernel: shapes.weight[2],
        stride: shapes.stride,
        backward,
        bias: bias.is_some(),
    };
    let (images, weight) = (into_contiguous(images), into_contiguous(weight));
    let output = empty(&images, shape, images.dtype);
    let bias = bias.map_or_else(|| weight.clone(), into_contiguous);
    let tiles = (count * rows_out * columns_out).div_ceil(how.tile.columns());
    let [across, along] = spread(tiles);
    let client = images.client.clone();
    let element = dtype_to_storage_type(images.dtype);
    let sizes = SizesLaunch::new(
        count as u32,
        channels_in as u32,
        rows_in as u32,
        columns_in as u32,
        channels_out as u32,
        rows_out as u32,
        columns_out as u32,
        shapes.padding as u32,
    );
    // SAFETY: every index is bounded by the sizes, which are those of the tensors.
    unsafe {
        gather::launch_unchecked(
            &client,
            CubeCount::Static(across, along, channels_out.div_ceil(how.tile.rows()) as u32),
            CubeDim::new_1d(UNITS as u32),
            VECTOR,
            images.into_buffer_arg(),
            weight.into_buffer_arg(),
            bias.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            sizes,
            how,
            element,
        );
    }
    output
}

impl Kernels for Cube {
    fn forward(
        x: CubeTensor,
        weight: CubeTensor,
        bias: Option<CubeTensor>,
        shapes: Shapes,
        _: Option<InBf16>,
    ) -> CubeTensor {
        gathered(x, weight, bias, shapes.output(), shapes, false)
    }

    fn data_gradient(
        dy: CubeTensor,
        weight: CubeTensor,
        _: Option<CubeTensor>,
        shapes: Shapes,
        _: Option<InBf16>,
    ) -> CubeTensor {
        gathered(dy, weight, None, shapes.x, shapes, true)
    }

    fn weight_gradient(
        dy: CubeTensor,
        x: CubeTensor,
        shapes: Shapes,
        _: Option<InBf16>,
    ) -> CubeTensor {
        let [images, channels_in, rows_in, columns_in] = shapes.x;
        let [_, channels_out, rows_out, columns_out] = shapes.output();
        let how = How {
            tile: Tile::of(channels_out),
            kernel: shapes.weight[2],
            stride: shapes.stride,
            backward: true,
            bias: false,
        };
        let columns = channels_in * how.kernel * how.kernel;
        let (across, down) = (
            columns.div_ceil(how.tile.columns()),
            channels_out.div_ceil(how.tile.rows()),
        );
        let (count, of_slice) = slices(across * down, images * rows_out * columns_out);
        let (dy, x) = (into_contiguous(dy), into_contiguous(x));
        let parts = empty(&x, [count, channels_out, columns], DType::F32);
        let dw = empty(&x, shapes.weight, x.dtype);
        let client = x.client.clone();
        let element = dtype_to_storage_type(x.dtype);
        let sizes = SizesLaunch::new(
            images as u32,
            channels_in as u32,
            rows_in as u32,
            columns_in as u32,
            channels_out as u32,
            rows_out as u32,
            columns_out as u32,
            shapes.padding as u32,
        );
        let numbers = channels_out * columns;
        // SAFETY: every index is bounded by the sizes, which are those of the tensors.
        unsafe {
            correlate::launch_unchecked(
                &client,
                CubeCount::Static(across as u32, down as u32, count as u32),
                CubeDim::new_1d(UNITS as u32),
                VECTOR,
                x.into_buffer_arg(),
                dy.into_buffer_arg(),
                parts.clone().into_buffer_arg(),
                sizes,
                of_slice as u32,
                how,
                element,
            );
            add_slices::launch_unchecked(
                &client,
                CubeCount::new_1d(numbers.div_ceil(UNITS) as u32),
                CubeDim::new_1d(UNITS as u32),
                parts.into_buffer_arg(),
                dw.clone().into_buffer_arg(),
                count as u32,
                numbers as u32,
                element,
            );
        }
        dw
    }

    fn bias_gradient(dy: CubeTensor, shapes: Shapes) -> CubeTensor {
        let [images, channels, rows, columns] = shapes.output();
        let dy = into_contiguous(dy);
        let db = empty(&dy, [channels], dy.dtype);
        let client = dy.client.clone();
        let element = dtype_to_storage_type(dy.dtype);
        // SAFETY: every index is bounded by the sizes, which are those of the tensors.
        unsafe {
            add_pixels::launch_unchecked(
                &client,
                CubeCount::new_1d(channels as u32),
                CubeDim::new_1d(UNITS as u32),
                dy.into_buffer_arg(),
                db.clone().into_buffer_arg(),
                images as u32,
                (rows * columns) as u32,
                element,
            );
        }
        db
    }
}
