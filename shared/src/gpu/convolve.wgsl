// Convolutions of a plan, and the gradients of their inputs. Channels lie last, four to a vector;
// images have a border of zeros (see mod.rs), so that no tap is out of bounds.

struct Convolution {
    // Of the source and of the output: vectors from one row to the next, from one image to the next,
    // and at each pixel.
    source_row: u32,
    source_image: u32,
    source_quads: u32,
    output_row: u32,
    output_image: u32,
    output_quads: u32,
    // Rows and columns of the output, and how many images.
    size: u32,
    images: u32,
    // Rows and columns of the kernel, and the stride; `transposed` is 1 for the gradient of a
    // convolution, whose output has the size of the convolution's input.
    kernel: u32,
    stride: u32,
    transposed: u32,
    // Backward: 1. Forward: 0.
    backward: u32,
    // Forward: whether y is stored, what is there is added first, and y is activated.
    // Backward: whether what is there is added, and the sums are multiplied by a′ before.
    store_raw: u32,
    add: u32,
    multiply_or_activate: u32,
    // 0 is SiLU, 1 LeakyReLU(0.2).
    activation: u32,
}

@group(0) @binding(0) var<uniform> op: Convolution;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
// For each vector of output channels, vector of input channels and tap, four vectors, one for each
// input channel; behind them the biases.
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
// Forward: y, a(y), a′(y). Backward: the output, nothing, a′(y).
@group(0) @binding(3) var<storage, read_write> raw: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> value: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> derivative: array<vec4f>;

fn store(place: u32, sums: vec4f) {
    var y = sums;
    if (op.backward == 1u) {
        if (op.multiply_or_activate == 1u) {
            y *= derivative[place];
        }
        if (op.add == 1u) {
            y += raw[place];
        }
        raw[place] = y;
        return;
    }
    if (op.add == 1u) {
        y += raw[place];
    }
    if (op.store_raw == 1u) {
        raw[place] = y;
    }
    if (op.multiply_or_activate == 1u) {
        if (op.activation == 0u) {
            let sigmoid = 1.0 / (1.0 + exp(-y));
            value[place] = y * sigmoid;
            derivative[place] = sigmoid * (1.0 + y * (1.0 - sigmoid));
        } else {
            let slope = select(vec4f(0.2), vec4f(1.0), y > vec4f(0.0));
            value[place] = y * slope;
            derivative[place] = slope;
        }
    }
}

fn bias(quad: u32) -> vec4f {
    if (op.backward == 1u) {
        return vec4f(0.0);
    }
    return weights[op.output_quads * op.source_quads * op.kernel * op.kernel * 4u + quad];
}

// 3x3, stride one: eight pixels of a row and four channels a thread. A row of the source is read
// once for its three taps.
@compute @workgroup_size(64)
fn convolve(@builtin(global_invocation_id) id: vec3u) {
    let groups = (op.size + 7u) / 8u;
    let image = id.x / (groups * op.size);
    let row = id.x / groups % op.size;
    let column = id.x % groups * 8u;
    let quad = id.y;
    if (image >= op.images) {
        return;
    }
    let start = bias(quad);
    var sums: array<vec4f, 8>;
    for (var p = 0u; p < 8u; p++) {
        sums[p] = start;
    }
    let quads = op.source_quads;
    let corner = image * op.source_image + row * op.source_row + column * quads;
    var weight = quad * quads * 36u;
    for (var c = 0u; c < quads; c++) {
        for (var a = 0u; a < 3u; a++) {
            let first = corner + a * op.source_row + c;
            let x0 = source[first];
            let x1 = source[first + quads];
            let x2 = source[first + 2u * quads];
            let x3 = source[first + 3u * quads];
            let x4 = source[first + 4u * quads];
            let x5 = source[first + 5u * quads];
            let x6 = source[first + 6u * quads];
            let x7 = source[first + 7u * quads];
            let x8 = source[first + 8u * quads];
            let x9 = source[first + 9u * quads];
            var w = mat4x4f(weights[weight], weights[weight + 1u], weights[weight + 2u], weights[weight + 3u]);
            sums[0] += w * x0;
            sums[1] += w * x1;
            sums[2] += w * x2;
            sums[3] += w * x3;
            sums[4] += w * x4;
            sums[5] += w * x5;
            sums[6] += w * x6;
            sums[7] += w * x7;
            w = mat4x4f(weights[weight + 4u], weights[weight + 5u], weights[weight + 6u], weights[weight + 7u]);
            sums[0] += w * x1;
            sums[1] += w * x2;
            sums[2] += w * x3;
            sums[3] += w * x4;
            sums[4] += w * x5;
            sums[5] += w * x6;
            sums[6] += w * x7;
            sums[7] += w * x8;
            w = mat4x4f(weights[weight + 8u], weights[weight + 9u], weights[weight + 10u], weights[weight + 11u]);
            sums[0] += w * x2;
            sums[1] += w * x3;
            sums[2] += w * x4;
            sums[3] += w * x5;
            sums[4] += w * x6;
            sums[5] += w * x7;
            sums[6] += w * x8;
            sums[7] += w * x9;
            weight += 12u;
        }
    }
    let place = image * op.output_image + (row + 1u) * op.output_row
        + (column + 1u) * op.output_quads + quad;
    for (var p = 0u; p < min(8u, op.size - column); p++) {
        store(place + p * op.output_quads, sums[p]);
    }
}

// Any kernel and stride: one pixel and four channels a thread.
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u) {
    let image = id.x / (op.size * op.size);
    let row = id.x / op.size % op.size;
    let column = id.x % op.size;
    let quad = id.y;
    if (image >= op.images) {
        return;
    }
    var sums = bias(quad);
    let padding = op.kernel / 2u;
    for (var a = 0u; a < op.kernel; a++) {
        // The padded row of the source: stride · row + a − padding + 1, or for the gradient
        // (row + padding − a) / stride + 1 where that division leaves no rest.
        var y = op.stride * row + a + 1u - padding;
        if (op.transposed == 1u) {
            y = row + padding + op.stride - a;
            if (y % op.stride != 0u) {
                continue;
            }
            y /= op.stride;
        }
        for (var b = 0u; b < op.kernel; b++) {
            var x = op.stride * column + b + 1u - padding;
            if (op.transposed == 1u) {
                x = column + padding + op.stride - b;
                if (x % op.stride != 0u) {
                    continue;
                }
                x /= op.stride;
            }
            let first = image * op.source_image + y * op.source_row + x * op.source_quads;
            let tap = a * op.kernel + b;
            for (var c = 0u; c < op.source_quads; c++) {
                let weight = ((quad * op.source_quads + c) * op.kernel * op.kernel + tap) * 4u;
                let w = mat4x4f(weights[weight], weights[weight + 1u], weights[weight + 2u], weights[weight + 3u]);
                sums += w * source[first + c];
            }
        }
    }
    store(image * op.output_image + (row + 1u) * op.output_row + (column + 1u) * op.output_quads + quad, sums);
}
