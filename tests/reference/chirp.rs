// Numbers that metrics.py and the tests make by the same formula, so that neither has to store them. Included by the
// tests that compare.

#![allow(dead_code, reason = "each test needs a part of it")]

/// Numbers of an image's features.
pub(crate) const SIZE: usize = 8;
const IMAGES: usize = 60;

/// sin(0.7 i² + phase) for i = 0..count.
pub(crate) fn chirp(count: usize, phase: f64) -> Vec<f32> {
    let places = (0..count).map(|i| i as f64);
    places.map(|i| (0.7 * i * i + phase).sin() as f32).collect()
}

/// The features of generated and of real images.
pub(crate) fn features() -> [Vec<f32>; 2] {
    [(0.3, 0.0), (1.1, 1.0)].map(|(phase, shift)| {
        let chirp = chirp(IMAGES * SIZE, phase).into_iter();
        chirp.map(|v| v + shift).collect()
    })
}
