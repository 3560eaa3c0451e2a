// From the last features to the logits, to the energy, and back: one workgroup an image.

struct Head {
    row: u32,
    image: u32,
    quads: u32,
    size: u32,
    classes: u32,
    // 0 is E(x, y), 1 is E(x), 2 is E(x, y) − E(x); of 3 the slope is given.
    objective: u32,
}

const THREADS = 64u;

@group(0) @binding(0) var<uniform> op: Head;
@group(0) @binding(1) var<storage, read> value: array<Stored>;
// `[class][quad]`, and behind them the biases, one to a vector.
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> derivative: array<Stored>;
@group(0) @binding(4) var<storage, read_write> gradient: array<Stored>;
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;
// The intended class of each image, or the slope with respect to each of its logits.
@group(0) @binding(6) var<storage, read> given: array<u32>;

// Over the pixels, a quad of channels of each thread.
var<workgroup> means: array<vec4f, THREADS>;

@compute @workgroup_size(64)
fn head(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u) {
    let image = group.x;
    let pixels = op.size * op.size;
    let share = 1.0 / f32(pixels);
    let first = image * op.classes;
    for (var k = thread; k < op.classes; k += THREADS) {
        logits[first + k] = weights[op.classes * op.quads + k].x;
    }
    for (var before = 0u; before < op.quads; before += THREADS) {
        if (before + thread < op.quads) {
            var sum = vec4f(0.0);
            for (var p = 0u; p < pixels; p++) {
                sum += vec4f(value[place(image, p) + before + thread]);
            }
            means[thread] = sum * share;
        }
        workgroupBarrier();
        for (var k = thread; k < op.classes; k += THREADS) {
            var logit = logits[first + k];
            for (var i = 0u; i < min(THREADS, op.quads - before); i++) {
                logit += dot(weights[k * op.quads + before + i], means[i]);
            }
            logits[first + k] = logit;
        }
        workgroupBarrier();
    }
    storageBarrier();
    // Each thread for itself: there are few classes.
    var largest = logits[first];
    for (var k = 1u; k < op.classes; k++) {
        largest = max(largest, logits[first + k]);
    }
    var sum = 0.0;
    for (var k = 0u; k < op.classes; k++) {
        sum += exp(logits[first + k] - largest);
    }
    for (var quad = thread; quad < op.quads; quad += THREADS) {
        var slope = vec4f(0.0);
        for (var k = 0u; k < op.classes; k++) {
            let probability = exp(logits[first + k] - largest) / sum;
            slope += slope_of(k, image, probability) * weights[k * op.quads + quad];
        }
        for (var p = 0u; p < pixels; p++) {
            let at = place(image, p) + quad;
            gradient[at] = Stored(slope * (share * SCALE) * vec4f(derivative[at]));
        }
    }
}

// The gradient of the objective with respect to logit k.
fn slope_of(k: u32, image: u32, probability: f32) -> f32 {
    switch (op.objective) {
        case 0u: { return select(0.0, -1.0, k == given[image]); }
        case 1u: { return -probability; }
        case 2u: { return select(0.0, -1.0, k == given[image]) + probability; }
        default: { return bitcast<f32>(given[image * op.classes + k]); }
    }
}

fn place(image: u32, pixel: u32) -> u32 {
    return image * op.image + (pixel / op.size + 1u) * op.row + (pixel % op.size + 1u) * op.quads;
}
