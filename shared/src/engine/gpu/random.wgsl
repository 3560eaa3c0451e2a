// Draws of a key, with the bits of key.rs: Philox4x32-10.

// The high half of the product of two words.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return a1 * b1 + (middle >> 16u) + (other >> 16u);
}

// Block `index` of the draws of a key.
fn philox(index: u32, of_key: vec2u) -> vec4u {
    var counter = vec4u(index, 0u, 0u, 0u);
    var key = of_key;
    for (var round = 0u; round < 10u; round++) {
        counter = vec4u(
            multiply_high(0xCD9E8D57u, counter.z) ^ counter.y ^ key.x,
            0xCD9E8D57u * counter.z,
            multiply_high(0xD2511F53u, counter.x) ^ counter.w ^ key.y,
            0xD2511F53u * counter.x,
        );
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// The 24 high bits of a word as a fraction in [0, 1).
fn unit(word: u32) -> f32 {
    return f32(word >> 8u) * (1.0 / 16777216.0);
}

// WGSL leaves logarithm, sine and cosine of a device three digits; these have seven.

// ln u of u > 0: of u = m 2^e with m in [√½, √2), as e ln 2 + 2 artanh((m − 1) / (m + 1)).
fn logarithm(u: f32) -> f32 {
    let bits = bitcast<u32>(u) - 0x3f3504f3u;
    let exponent = f32(bitcast<i32>(bits) >> 23u);
    let m = bitcast<f32>((bits & 0x7fffffu) + 0x3f3504f3u);
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 / 9.0)));
    return exponent * 0.6931472 + 2.0 * (s + s * series);
}

// cos and sin of a turn, in [0, 1): the nearest quarter, and a series of what is left of it.
fn turned(turn: f32) -> vec2f {
    let quarter = floor(4.0 * turn + 0.5);
    let r = (4.0 * turn - quarter) * 1.5707964;
    let r2 = r * r;
    let cosine = 1.0 + r2 * (-0.5 + r2 * (1.0 / 24.0 + r2 * (-1.0 / 720.0 + r2 / 40320.0)));
    let sine = r * (1.0 + r2 * (-1.0 / 6.0 + r2 * (1.0 / 120.0 + r2 * (-1.0 / 5040.0 + r2 / 362880.0))));
    switch (u32(quarter) & 3u) {
        case 0u: { return vec2f(cosine, sine); }
        case 1u: { return vec2f(-sine, cosine); }
        case 2u: { return vec2f(-cosine, -sine); }
        default: { return vec2f(sine, -cosine); }
    }
}

// Draw `index` from N(0, 1), by Box and Muller's transform.
fn normal(index: u32, key: vec2u) -> f32 {
    let block = philox(index / 4u, key);
    let words = select(block.xy, block.zw, (index & 2u) != 0u);
    let radius = sqrt(-2.0 * logarithm(1.0 - unit(words.x)));
    let direction = turned(unit(words.y));
    return radius * select(direction.x, direction.y, (index & 1u) != 0u);
}

// Draw `index` of samplers/noise.rs: between those of two keys, or of the first alone.
fn noise(index: u32, key: vec2u, other_key: vec2u, weights: vec2f) -> f32 {
    let first = normal(index, key);
    if (weights.y == 0.0) {
        return first;
    }
    return weights.x * first + weights.y * normal(index, other_key);
}
