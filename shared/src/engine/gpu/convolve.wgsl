// Convolutions of a plan, and the gradients of their inputs. Channels lie last, four to a vector;
// images have a border of zeros (see layout.rs), so that no tap is out of bounds. Every kernel is
// launched over one dimension of threads.

struct Convolution {
    // Of the source and of the output: vectors from one row to the next, from one image to the next,
    // and at each pixel.
    source_row: u32,
    source_image: u32,
    source_quads: u32,
    output_row: u32,
    output_image: u32,
    output_quads: u32,
    // Rows and columns of the output, and the image after the last one.
    size: u32,
    images: u32,
    // Rows and columns of the kernel, the stride, and the zeros in front of the first row and column.
    kernel: u32,
    stride: u32,
    padding: u32,
    // 1 for the gradient of a convolution, whose output has the size of the convolution's input.
    backward: u32,
    // Forward: whether y is stored, what is there is added first, and z = scale y + shift is activated.
    // Backward: whether what is there is added, and the sums are multiplied by a′ before.
    store_raw: u32,
    add: u32,
    multiply_or_activate: u32,
    // 0 is SiLU, 1 the function that is z where z > 0, else slope z: LeakyReLU, ReLU, or with slope one
    // none.
    activation: u32,
    slope: f32,
    // Where the biases begin, behind the weights.
    bias: u32,
    // Of the images of this launch, rounded up to whole threads; and the first of these images.
    tiles: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> op: Convolution;
@group(0) @binding(1) var<storage, read> source: array<Stored>;
// For each quad of output channels, quad of input channels and tap, a matrix with a column for each
// input channel. Of the products of tiles: for each position, four quads of output channels, quad of
// input channels and quad of output channels, such a matrix. Behind them, forward, the biases, scales and
// shifts, each a column for a quad.
@group(0) @binding(2) var<storage, read> weights: array<StoredMatrix>;
// Forward: y, a(y), a′(y). Backward: the output, nothing, a′(y).
@group(0) @binding(3) var<storage, read_write> raw: array<Stored>;
@group(0) @binding(4) var<storage, read_write> value: array<Stored>;
@group(0) @binding(5) var<storage, read_write> derivative: array<Stored>;
// Transformed tiles before and after the product with the weights, `[position][quad][tile]`; and the
// same by four tiles, a column for each.
@group(0) @binding(6) var<storage, read_write> inputs: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> products: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> inputs_of_four: array<mat4x4f>;
@group(0) @binding(7) var<storage, read_write> products_of_four: array<mat4x4f>;

// What a channel has for itself, of four channels.
struct Channels {
    bias: vec4f,
    scale: vec4f,
    shift: vec4f,
}

// Backward there are none.
fn channels(quad: u32) -> Channels {
    if (op.backward == 1u) {
        return Channels();
    }
    let at = op.bias + quad / 4u;
    let step = (op.output_quads + 3u) / 4u;
    let column = quad % 4u;
    return Channels(
        vec4f(weights[at][column]), vec4f(weights[at + step][column]), vec4f(weights[at + 2u * step][column]),
    );
}

fn store(place: u32, sums: vec4f, own: Channels) {
    var y = sums + own.bias;
    if (op.backward == 1u) {
        if (op.multiply_or_activate == 1u) {
            y *= vec4f(derivative[place]);
        }
        if (op.add == 1u) {
            y += vec4f(raw[place]);
        }
        raw[place] = Stored(y);
        return;
    }
    if (op.add == 1u) {
        y += vec4f(raw[place]);
    }
    if (op.store_raw == 1u) {
        raw[place] = Stored(y);
    }
    if (op.multiply_or_activate == 1u) {
        // One and zero where there is no BatchNorm.
        let z = y * own.scale + own.shift;
        if (op.activation == 0u) {
            let sigmoid = 1.0 / (1.0 + exp(-z));
            value[place] = Stored(z * sigmoid);
            derivative[place] = Stored(sigmoid * (1.0 + z * (1.0 - sigmoid)) * own.scale);
        } else {
            let slope = select(vec4f(op.slope), vec4f(1.0), z > vec4f(0.0));
            value[place] = Stored(z * slope);
            derivative[place] = Stored(slope * own.scale);
        }
    }
}

// Stores the columns of four pixels, or of the first `count`, that lie `step` apart. In loops, as every
// copy of `store` takes the software adapter of browsers long to compile.
fn store_four(place: u32, step: u32, count: u32, sums: mat4x4f, own: Channels) {
    var y = sums;
    for (var p = 0u; p < min(4u, count); p++) {
        store(place + p * step, y[p], own);
    }
}

// 3x3 with stride one: Winograd's F(4x4, 3x3) in three kernels. A tile of 4x4 outputs needs 6x6 inputs d
// and is A' [(G g G') * (B' d B)] A, where the products are of 36 positions and summed over the input
// channels, and the weights g are transformed beforehand (see cpu/winograd.rs for the matrices).

struct Tile {
    image: u32,
    row: u32,
    column: u32,
}

fn tile_at(index: u32) -> Tile {
    let side = (op.size + 3u) / 4u;
    return Tile(op.first + index / (side * side), index / side % side * 4u, index % side * 4u);
}

fn input_transform(d0: vec4f, d1: vec4f, d2: vec4f, d3: vec4f, d4: vec4f, d5: vec4f) -> array<vec4f, 6> {
    let a = d4 - 4.0 * d2;
    let b = d3 - 4.0 * d1;
    let c = d4 - d2;
    let e = 2.0 * (d3 - d1);
    return array(4.0 * d0 - 5.0 * d2 + d4, a + b, a - b, c + e, c - e, 4.0 * d1 - 5.0 * d3 + d5);
}

fn input_column(at: u32) -> array<vec4f, 6> {
    let row = op.source_row;
    return input_transform(
        vec4f(source[at]), vec4f(source[at + row]), vec4f(source[at + 2u * row]),
        vec4f(source[at + 3u * row]), vec4f(source[at + 4u * row]), vec4f(source[at + 5u * row]),
    );
}

fn store_inputs(at: u32, d0: vec4f, d1: vec4f, d2: vec4f, d3: vec4f, d4: vec4f, d5: vec4f) {
    let v = input_transform(d0, d1, d2, d3, d4, d5);
    let step = op.source_quads * op.tiles;
    inputs[at] = v[0];
    inputs[at + step] = v[1];
    inputs[at + 2u * step] = v[2];
    inputs[at + 3u * step] = v[3];
    inputs[at + 4u * step] = v[4];
    inputs[at + 5u * step] = v[5];
}

// One tile and four channels a thread.
@compute @workgroup_size(64)
fn transform_inputs(@builtin(global_invocation_id) id: vec3u) {
    let index = id.x % op.tiles;
    let quad = id.x / op.tiles;
    let tile = tile_at(index);
    if (tile.image >= op.images || quad >= op.source_quads) {
        return;
    }
    let quads = op.source_quads;
    let first = tile.image * op.source_image + tile.row * op.source_row + tile.column * quads + quad;
    let c0 = input_column(first);
    let c1 = input_column(first + quads);
    let c2 = input_column(first + 2u * quads);
    let c3 = input_column(first + 3u * quads);
    let c4 = input_column(first + 4u * quads);
    let c5 = input_column(first + 5u * quads);
    let at = quad * op.tiles + index;
    let step = 6u * quads * op.tiles;
    store_inputs(at, c0[0], c1[0], c2[0], c3[0], c4[0], c5[0]);
    store_inputs(at + step, c0[1], c1[1], c2[1], c3[1], c4[1], c5[1]);
    store_inputs(at + 2u * step, c0[2], c1[2], c2[2], c3[2], c4[2], c5[2]);
    store_inputs(at + 3u * step, c0[3], c1[3], c2[3], c3[3], c4[3], c5[3]);
    store_inputs(at + 4u * step, c0[4], c1[4], c2[4], c3[4], c4[4], c5[4]);
    store_inputs(at + 5u * step, c0[5], c1[5], c2[5], c3[5], c4[5], c5[5]);
}

// One position of four tiles and sixteen channels a thread.
@compute @workgroup_size(64)
fn multiply(@builtin(global_invocation_id) id: vec3u) {
    let tile_groups = op.tiles / 4u;
    let quad_groups = (op.output_quads + 3u) / 4u;
    let tiles = id.x % tile_groups;
    let position = id.x / tile_groups % 36u;
    let group = id.x / tile_groups / 36u;
    if (group >= quad_groups) {
        return;
    }
    var a = mat4x4f();
    var b = mat4x4f();
    var c = mat4x4f();
    var d = mat4x4f();
    var weight = (position * quad_groups + group) * op.source_quads * 4u;
    var input = position * op.source_quads * tile_groups + tiles;
    for (var quad = 0u; quad < op.source_quads; quad++) {
        let x = inputs_of_four[input];
        a += mat4x4f(weights[weight]) * x;
        b += mat4x4f(weights[weight + 1u]) * x;
        c += mat4x4f(weights[weight + 2u]) * x;
        d += mat4x4f(weights[weight + 3u]) * x;
        weight += 4u;
        input += tile_groups;
    }
    let product = (position * quad_groups + group) * 4u * tile_groups + tiles;
    products_of_four[product] = a;
    products_of_four[product + tile_groups] = b;
    products_of_four[product + 2u * tile_groups] = c;
    products_of_four[product + 3u * tile_groups] = d;
}

fn output_transform(m0: vec4f, m1: vec4f, m2: vec4f, m3: vec4f, m4: vec4f, m5: vec4f) -> mat4x4f {
    let a = m1 + m2;
    let b = m1 - m2;
    let c = m3 + m4;
    let d = m3 - m4;
    return mat4x4f(m0 + a + c, b + 2.0 * d, a + 4.0 * c, b + 8.0 * d + m5);
}

fn output_column(at: u32, row: u32) -> mat4x4f {
    return output_transform(
        products[at], products[at + row], products[at + 2u * row],
        products[at + 3u * row], products[at + 4u * row], products[at + 5u * row],
    );
}

// One tile and four channels a thread.
@compute @workgroup_size(64)
fn transform_outputs(@builtin(global_invocation_id) id: vec3u) {
    let index = id.x % op.tiles;
    let quad = id.x / op.tiles;
    let tile = tile_at(index);
    if (tile.image >= op.images || quad >= op.output_quads) {
        return;
    }
    let column_step = (op.output_quads + 3u) / 4u * 4u * op.tiles;
    let row_step = 6u * column_step;
    let at = quad * op.tiles + index;
    let c0 = output_column(at, row_step);
    let c1 = output_column(at + column_step, row_step);
    let c2 = output_column(at + 2u * column_step, row_step);
    let c3 = output_column(at + 3u * column_step, row_step);
    let c4 = output_column(at + 4u * column_step, row_step);
    let c5 = output_column(at + 5u * column_step, row_step);
    let place = tile.image * op.output_image + (tile.row + 1u) * op.output_row
        + (tile.column + 1u) * op.output_quads + quad;
    let step = op.output_quads;
    let rows = op.size - tile.row;
    let columns = op.size - tile.column;
    let own = channels(quad);
    var y = array(
        output_transform(c0[0], c1[0], c2[0], c3[0], c4[0], c5[0]),
        output_transform(c0[1], c1[1], c2[1], c3[1], c4[1], c5[1]),
        output_transform(c0[2], c1[2], c2[2], c3[2], c4[2], c5[2]),
        output_transform(c0[3], c1[3], c2[3], c3[3], c4[3], c5[3]),
    );
    for (var row = 0u; row < min(4u, rows); row++) {
        store_four(place + row * op.output_row, step, columns, y[row], own);
    }
}

// Any kernel and stride: eight pixels of a row and eight channels a thread. The pixels of a gradient
// lie a stride apart, so that the same taps reach all of them; neighbouring threads, too, have pixels
// of the same phase.
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u) {
    let backward = op.backward == 1u;
    // From a pixel to the next, in the output and in the source.
    let apart = select(1u, op.stride, backward);
    let source_apart = select(op.stride, 1u, backward) * op.source_quads;
    let side = (op.size + apart - 1u) / apart;
    let across = (side + 7u) / 8u;
    let quad_pairs = (op.output_quads + 1u) / 2u;
    let image = id.x / (across * side) % op.images;
    let quad = id.x / (across * side * op.images) % quad_pairs * 2u;
    let phase = id.x / (across * side * op.images * quad_pairs);
    let row = id.x / across % side * apart + phase / apart;
    let column = id.x % across * 8u * apart + phase % apart;
    if (row >= op.size || column >= op.size || phase >= apart * apart) {
        return;
    }
    // Of the first four pixels and the others, for both quads of channels.
    var a0 = mat4x4f();
    var a1 = mat4x4f();
    var b0 = mat4x4f();
    var b1 = mat4x4f();
    let taps = op.kernel * op.kernel;
    for (var a = 0u; a < op.kernel; a++) {
        // The padded row of the source: stride · row + a − padding + 1, or for the gradient
        // (row + padding − a) / stride + 1 where that division leaves no rest.
        var y = op.stride * row + a + 1u - op.padding;
        if (backward) {
            y = row + op.padding + op.stride - a;
            if (y % op.stride != 0u) {
                continue;
            }
            y /= op.stride;
        }
        for (var b = 0u; b < op.kernel; b++) {
            var x = op.stride * column + b + 1u - op.padding;
            if (backward) {
                x = column + op.padding + op.stride - b;
                if (x % op.stride != 0u) {
                    continue;
                }
                x /= op.stride;
            }
            var first = image * op.source_image + y * op.source_row + x * op.source_quads;
            var weight = quad * op.source_quads * taps + a * op.kernel + b;
            for (var c = 0u; c < op.source_quads; c++) {
                let w0 = mat4x4f(weights[weight]);
                let w1 = mat4x4f(weights[weight + op.source_quads * taps]);
                var four = four_pixels(first, source_apart);
                a0 += w0 * four;
                b0 += w1 * four;
                four = four_pixels(first + 4u * source_apart, source_apart);
                a1 += w0 * four;
                b1 += w1 * four;
                first++;
                weight += taps;
            }
        }
    }
    let step = apart * op.output_quads;
    let place = image * op.output_image + (row + 1u) * op.output_row + (column + 1u) * op.output_quads + quad;
    // Pixels of the output from here on.
    let count = (op.size - column + apart - 1u) / apart;
    var sums = array(a0, a1, b0, b1);
    for (var i = 0u; i < 4u; i++) {
        let before = i % 2u * 4u;
        if (count > before && quad + i / 2u < op.output_quads) {
            let at = place + i / 2u + before * step;
            store_four(at, step, count - before, sums[i], channels(quad + i / 2u));
        }
    }
}

fn four_pixels(first: u32, apart: u32) -> mat4x4f {
    return mat4x4f(
        vec4f(source[first]), vec4f(source[first + apart]),
        vec4f(source[first + 2u * apart]), vec4f(source[first + 3u * apart]),
    );
}
