// Numbers that the reference scripts and the tests make by the same formula, so that neither has to
// be stored. Included by the tests that compare.

use basin_shared::arrays::{Array, Weights};

/// sin(1.7 i + phase) for i = 0..count, which fills [-1, 1] without repeating.
pub(super) fn wave(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|i| (1.7 * i as f64 + phase).sin()).collect()
}

/// Weights of about He et al.'s scale; the phase is the place in the sorted list of names.
pub(super) fn weights(mut shapes: Vec<(String, Vec<usize>)>) -> Weights {
    shapes.sort();
    let array = |(phase, (name, shape)): (usize, (String, Vec<usize>))| {
        let fan_in = if shape.len() > 1 {
            shape[1..].iter().product::<usize>() as f64
        } else {
            100.0
        };
        let scale = 2.0 / fan_in.sqrt();
        let values = wave(shape.iter().product(), phase as f64);
        let values = values.into_iter().map(|v| (v * scale) as f32).collect();
        (name, Array { shape, values })
    };
    shapes.into_iter().enumerate().map(array).collect()
}
