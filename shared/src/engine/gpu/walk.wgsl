// A step of Langevin dynamics: samplers/sgld.rs on the device, one workgroup an image.

struct Walk {
    // Of this step: the keys of its noise, and the factors of their draws.
    key: vec2u,
    other_key: vec2u,
    weights: vec2f,
    // Which of the steps submitted together this is.
    slot: u32,
    batch: u32,
    classes: u32,
    channels: u32,
    size: u32,
    // Of the padded images: vectors from a row to the next, and from an image to the next.
    row: u32,
    image: u32,
    // Whether a gradient is divided by its norm, and x kept in [0, 1].
    normalize: u32,
    clamp: u32,
    // What the components of the gradient are clamped to.
    limit: f32,
    step_size: f32,
    noise_std: f32,
    friction: f32,
}

const THREADS = 256u;

@group(0) @binding(0) var<uniform> op: Walk;
// `[image][channel][row][column]`
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> velocity: array<f32>;
// Padded, as the convolutions have them: the energy's gradient, and the normalised images.
@group(0) @binding(3) var<storage, read> gradient: array<Stored>;
@group(0) @binding(4) var<storage, read_write> normalized: array<Stored>;
// Of each channel: mean and deviation.
@group(0) @binding(5) var<storage, read> normalization: array<vec2f>;
// Of the images before this step, and of each step submitted.
@group(0) @binding(6) var<storage, read> logits: array<f32>;
@group(0) @binding(7) var<storage, read_write> history: array<f32>;

var<workgroup> squares: array<f32, THREADS>;

@compute @workgroup_size(256)
fn walk(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u) {
    let image = group.x;
    let pixels = op.size * op.size;
    let quads = (op.channels + 3u) / 4u;
    for (var k = thread; k < op.classes; k += THREADS) {
        let logit = image * op.classes + k;
        history[op.slot * op.batch * op.classes + logit] = logits[logit];
    }
    var scale = op.step_size;
    if (op.normalize == 1u) {
        var sum = 0.0;
        for (var i = thread; i < pixels * quads; i += THREADS) {
            let g = vec4f(gradient[place(image, i % pixels, i / pixels)]);
            sum += dot(g, g);
        }
        squares[thread] = sum;
        workgroupBarrier();
        for (var half = THREADS / 2u; half > 0u; half /= 2u) {
            if (thread < half) {
                squares[thread] += squares[thread + half];
            }
            workgroupBarrier();
        }
        scale *= 1.0 / max(sqrt(squares[0]) / SCALE, 1e-12);
    }
    for (var i = thread; i < pixels * quads; i += THREADS) {
        let pixel = i % pixels;
        let quad = i / pixels;
        let at = place(image, pixel, quad);
        let g = clamp(vec4f(gradient[at]) / SCALE, vec4f(-op.limit), vec4f(op.limit));
        var next = vec4f(0.0);
        for (var c = 0u; c < min(4u, op.channels - 4u * quad); c++) {
            let channel = 4u * quad + c;
            let index = (image * op.channels + channel) * pixels + pixel;
            let v = op.friction * velocity[index] - scale * g[c];
            var moved = x[index] + v;
            if (op.noise_std > 0.0) {
                moved += noise(index, op.key, op.other_key, op.weights) * op.noise_std;
            }
            if (op.clamp == 1u) {
                moved = clamp(moved, 0.0, 1.0);
            }
            velocity[index] = v;
            x[index] = moved;
            next[c] = (moved - normalization[channel].x) / normalization[channel].y;
        }
        normalized[at] = Stored(next);
    }
}

fn place(image: u32, pixel: u32, quad: u32) -> u32 {
    let quads = (op.channels + 3u) / 4u;
    return image * op.image + (pixel / op.size + 1u) * op.row + (pixel % op.size + 1u) * quads + quad;
}
