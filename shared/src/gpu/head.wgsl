// From the last features to the logits, to the energy, and back: one workgroup an image.

struct Head {
    row: u32,
    image: u32,
    quads: u32,
    size: u32,
    classes: u32,
    // 0 is E(x, y), 1 is E(x), 2 is E(x, y) − E(x).
    energy: u32,
}

const THREADS = 64u;
// Wide enough for 640 channels and 1000 classes.
const MOST_QUADS = 320u;
const MOST_CLASSES = 1000u;

@group(0) @binding(0) var<uniform> op: Head;
@group(0) @binding(1) var<storage, read> value: array<vec4f>;
// `[class][quad]`, and behind them the biases, one to a vector.
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> derivative: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;
// The intended class of each image.
@group(0) @binding(6) var<storage, read> labels: array<u32>;

var<workgroup> means: array<vec4f, MOST_QUADS>;
var<workgroup> slopes: array<f32, MOST_CLASSES>;

@compute @workgroup_size(64)
fn head(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u) {
    let image = group.x;
    let pixels = op.size * op.size;
    let share = 1.0 / f32(pixels);
    for (var quad = thread; quad < op.quads; quad += THREADS) {
        var sum = vec4f(0.0);
        for (var p = 0u; p < pixels; p++) {
            sum += value[place(image, p) + quad];
        }
        means[quad] = sum * share;
    }
    workgroupBarrier();
    for (var k = thread; k < op.classes; k += THREADS) {
        var logit = weights[op.classes * op.quads + k].x;
        for (var quad = 0u; quad < op.quads; quad++) {
            logit += dot(weights[k * op.quads + quad], means[quad]);
        }
        logits[image * op.classes + k] = logit;
        slopes[k] = logit;
    }
    workgroupBarrier();
    // Each thread for itself: there are few classes.
    var largest = slopes[0];
    for (var k = 1u; k < op.classes; k++) {
        largest = max(largest, slopes[k]);
    }
    var sum = 0.0;
    for (var k = 0u; k < op.classes; k++) {
        sum += exp(slopes[k] - largest);
    }
    workgroupBarrier();
    // The gradient of the energy with respect to the logits.
    for (var k = thread; k < op.classes; k += THREADS) {
        let probability = exp(slopes[k] - largest) / sum;
        let intended = select(0.0, -1.0, k == labels[image]);
        if (op.energy == 0u) {
            slopes[k] = intended;
        } else if (op.energy == 1u) {
            slopes[k] = -probability;
        } else {
            slopes[k] = intended + probability;
        }
    }
    workgroupBarrier();
    for (var quad = thread; quad < op.quads; quad += THREADS) {
        var slope = vec4f(0.0);
        for (var k = 0u; k < op.classes; k++) {
            slope += slopes[k] * weights[k * op.quads + quad];
        }
        for (var p = 0u; p < pixels; p++) {
            let at = place(image, p) + quad;
            gradient[at] = slope * share * derivative[at];
        }
    }
}

fn place(image: u32, pixel: u32) -> u32 {
    return image * op.image + (pixel / op.size + 1u) * op.row + (pixel % op.size + 1u) * op.quads;
}
