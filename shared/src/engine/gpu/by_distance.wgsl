// A step by distance: samplers/by_distance.rs on the device, one workgroup an image.

struct ByDistance {
    // Of this step: the keys of its noise, and the factors of their draws.
    key: vec2u,
    other_key: vec2u,
    weights: vec2f,
    // Which of the steps submitted together this is.
    slot: u32,
    // The share of the way that it goes, and the deviation of its noise as a share of the image's.
    h: f32,
    spread: f32,
    batch: u32,
    classes: u32,
    channels: u32,
    size: u32,
    // Of the padded images: vectors from a row to the next, and from an image to the next.
    row: u32,
    image: u32,
    // 0 is E(x, y), 1 is E(x).
    energy: u32,
    // Entries of the table.
    entries: u32,
    // Sums of an image's numbers that are known; 0 where there is no observation.
    rank: u32,
}

const THREADS = 256u;
const NO_ROW = 0xffffffffu;

@group(0) @binding(0) var<uniform> op: ByDistance;
// `[image][channel][row][column]`
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
// Padded, as the convolutions have them: the energy's gradient, and the normalised images.
@group(0) @binding(2) var<storage, read> gradient: array<Stored>;
@group(0) @binding(3) var<storage, read_write> normalized: array<Stored>;
// Of the images before this step, and of each step submitted.
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read_write> history: array<f32>;
// Words: mean and deviation of each channel; energies, distances and factors of the table; the class of each
// image; the class that all are mixed with and its share; and Observation::words.
@group(0) @binding(6) var<storage, read> given: array<u32>;
// Of each image and known sum: what is missing of it, and the gradient along it.
@group(0) @binding(7) var<storage, read_write> sums: array<vec2f>;

// Of what is missing of the known sums, those of each thread.
var<workgroup> squares: array<f32, THREADS>;

@compute @workgroup_size(256)
fn by_distance(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u) {
    let image = group.x;
    let pixels = op.size * op.size;
    let numbers = op.channels * pixels;
    let quads = (op.channels + 3u) / 4u;
    for (var k = thread; k < op.classes; k += THREADS) {
        let logit = image * op.classes + k;
        history[op.slot * op.batch * op.classes + logit] = logits[logit];
    }
    // How far to go down the gradient, and the deviation of the image's noise.
    var factor = 0.0;
    var deviation = 0.0;
    if (op.rank == 0u) {
        let energy = energy_of(image);
        factor = interpolate(0u, 2u, energy);
        deviation = interpolate(0u, 1u, energy) / sqrt(f32(numbers));
    } else {
        // |obs - P x|²
        var square = 0.0;
        for (var j = thread; j < op.rank; j += THREADS) {
            let sum = known_sum(image, j);
            sums[image * op.rank + j] = sum;
            square += sum.x * sum.x;
        }
        squares[thread] = square;
        storageBarrier();
        workgroupBarrier();
        for (var half = THREADS / 2u; half > 0u; half /= 2u) {
            if (thread < half) {
                squares[thread] += squares[thread + half];
            }
            workgroupBarrier();
        }
        deviation = sqrt(squares[0] / f32(op.rank));
        factor = interpolate(1u, 2u, deviation * sqrt(f32(numbers)));
    }
    for (var i = thread; i < pixels * quads; i += THREADS) {
        let pixel = i % pixels;
        let quad = i / pixels;
        let at = place(image, pixel, quad);
        let g = vec4f(gradient[at]) / SCALE;
        var next = vec4f(0.0);
        for (var c = 0u; c < min(4u, op.channels - 4u * quad); c++) {
            let channel = 4u * quad + c;
            let number = channel * pixels + pixel;
            let index = image * numbers + number;
            var f = -factor * g[c];
            if (op.rank > 0u) {
                let row = given[rows() + number];
                if (row != NO_ROW) {
                    let sum = sums[image * op.rank + row];
                    f += number_at(rows() + numbers + number) * (sum.x + factor * sum.y);
                }
            }
            var moved = x[index] + op.h * f;
            if (op.spread > 0.0) {
                moved += noise(index, op.key, op.other_key, op.weights) * op.spread * deviation;
            }
            moved = clamp(moved, 0.0, 1.0);
            x[index] = moved;
            next[c] = (moved - number_at(2u * channel)) / number_at(2u * channel + 1u);
        }
        normalized[at] = Stored(next);
    }
}

fn number_at(word: u32) -> f32 {
    return bitcast<f32>(given[word]);
}

// Where the table begins among the words given, where the classes, where an observation: first of each row
// the place of its numbers in the last list, then of each number its row, of each number its weight, the
// values, and the numbers row after row.
fn table() -> u32 {
    return 2u * op.channels;
}

fn labels() -> u32 {
    return table() + 3u * op.entries;
}

fn observation() -> u32 {
    return labels() + op.batch + 2u;
}

fn rows() -> u32 {
    return observation() + op.rank + 1u;
}

// What is missing of a known sum, and the gradient along it.
fn known_sum(image: u32, j: u32) -> vec2f {
    let pixels = op.size * op.size;
    let numbers = op.channels * pixels;
    let values = rows() + 2u * numbers;
    let members = values + op.batch * op.rank;
    var sum = vec2f(0.0);
    for (var m = given[observation() + j]; m < given[observation() + j + 1u]; m++) {
        let number = given[members + m];
        let quad = number / pixels / 4u;
        let g = vec4f(gradient[place(image, number % pixels, quad)])[number / pixels % 4u] / SCALE;
        sum += number_at(rows() + numbers + number) * vec2f(x[image * numbers + number], g);
    }
    return vec2f(number_at(values + image * op.rank + j) - sum.x, sum.y);
}

fn energy_of(image: u32) -> f32 {
    let first = image * op.classes;
    if (op.energy == 0u) {
        let mixed = labels() + op.batch;
        return -mix(
            logits[first + given[labels() + image]],
            logits[first + given[mixed]],
            number_at(mixed + 1u),
        );
    }
    var largest = logits[first];
    for (var k = 1u; k < op.classes; k++) {
        largest = max(largest, logits[first + k]);
    }
    var sum = 0.0;
    for (var k = 0u; k < op.classes; k++) {
        sum += exp(logits[first + k] - largest);
    }
    return -(largest + logarithm(sum));
}

// By two columns of the table, which are energies, distances and factors: the value at a key, linear between
// two entries, that of the nearest one beyond the ends.
fn interpolate(keys: u32, values: u32, key: f32) -> f32 {
    let k = table() + keys * op.entries;
    let v = table() + values * op.entries;
    var behind = 0u;
    while (behind < op.entries && number_at(k + behind) < key) {
        behind++;
    }
    if (behind == 0u || behind == op.entries) {
        return number_at(v + min(behind, op.entries - 1u));
    }
    let before = number_at(k + behind - 1u);
    let share = (key - before) / (number_at(k + behind) - before);
    return mix(number_at(v + behind - 1u), number_at(v + behind), share);
}

fn place(image: u32, pixel: u32, quad: u32) -> u32 {
    let quads = (op.channels + 3u) / 4u;
    return image * op.image + (pixel / op.size + 1u) * op.row + (pixel % op.size + 1u) * quads + quad;
}
