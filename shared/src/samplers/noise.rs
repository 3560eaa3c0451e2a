//! The noise of a chain: the draws of a key, or what lies between the draws of two.
//!
//! Between draws a and b that are independent of each other, at a share t of the way from a to b, stands
//!
//! ```text
//! (1 − t) a + t b, divided by √((1 − t)² + t²)      of N(0, 1): the spherical interpolation
//! F((1 − t) a + t b)                                of U[0, 1), F being the distribution of that sum
//! ```
//!
//! Both are of the law of a and b whatever t is, so that a sampler sees noise that it knows; both move
//! continuously, and are a and b themselves at the ends.

use crate::key::Key;

/// Where the draws of a chain come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    key: Key,
    /// Another key, and the share of the way to its draws.
    toward: Option<(Key, f32)>,
}

impl From<Key> for Noise {
    fn from(key: Key) -> Self {
        Self { key, toward: None }
    }
}

impl Noise {
    /// Draws at this share of the way, in [0, 1], from those of a key to those of another.
    pub fn between(key: Key, other: Key, share: f32) -> Self {
        Self {
            key,
            toward: Some((other, share)),
        }
    }

    /// The noise for `data` under this, as of [`Key::fold_in`].
    pub fn fold_in(self, data: u64) -> Self {
        Self {
            key: self.key.fold_in(data),
            toward: self.toward.map(|(key, share)| (key.fold_in(data), share)),
        }
    }

    /// `count` draws from N(0, 1).
    pub fn normals(self, count: usize) -> Vec<f32> {
        let [a, b] = self.weights();
        self.drawn(|key| key.normals(count), |x, y| a * x + b * y)
    }

    /// `count` draws from U[0, 1).
    pub fn uniforms(self, count: usize) -> Vec<f32> {
        let share = self.toward.map_or(0.0, |(_, share)| share);
        self.drawn(
            |key| key.uniforms(count),
            |x, y| between_uniforms(x, y, share),
        )
    }

    fn drawn(self, draw: impl Fn(Key) -> Vec<f32>, join: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut values = draw(self.key);
        if let Some((other, _)) = self.toward {
            for (x, y) in values.iter_mut().zip(draw(other)) {
                *x = join(*x, y);
            }
        }
        values
    }

    /// The keys as a device draws from them (`gpu/random.wgsl`); without another key, twice the one.
    pub fn words(self) -> [u32; 4] {
        let [a, b] = self.key.words();
        let [c, d] = self.toward.map_or(self.key, |(key, _)| key).words();
        [a, b, c, d]
    }

    /// The factors of the draws from N(0, 1) of the one key and of the other, whose squares add up to 1.
    pub fn weights(self) -> [f32; 2] {
        let share = self.toward.map_or(0.0, |(_, share)| share);
        let weights = [1.0 - share, share];
        let [a, b] = weights;
        weights.map(|weight| weight / (a * a + b * b).sqrt())
    }
}

/// What lies between two draws from U[0, 1): their sum, weighted, has a trapezoid for a density, and its
/// distribution function takes it back to U[0, 1).
fn between_uniforms(x: f32, y: f32, share: f32) -> f32 {
    let sum = (1.0 - share) * x + share * y;
    let (short, long) = (share.min(1.0 - share), share.max(1.0 - share));
    let slope = |from_end: f32| from_end * from_end / (2.0 * short * long);
    let found = match () {
        () if sum < short => slope(sum),
        () if sum > long => 1.0 - slope(1.0 - sum),
        () => (sum - short / 2.0) / long,
    };
    // Rounded up, a draw could be 1.
    found.clamp(0.0, 1.0 - f32::EPSILON / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 100_000;

    fn keys() -> [Key; 2] {
        [Key::new(4711), Key::new(17)]
    }

    #[test]
    fn both_ends_are_the_draws_of_the_keys_to_the_bit() {
        let [a, b] = keys();
        for (share, key) in [(0.0, a), (1.0, b)] {
            let noise = Noise::between(a, b, share).fold_in(3);
            let key = key.fold_in(3);
            assert_eq!(noise.normals(999), key.normals(999));
            assert_eq!(noise.uniforms(999), key.uniforms(999));
        }
        assert_eq!(Noise::from(a).normals(9), a.normals(9));
        assert_eq!(Noise::from(a).uniforms(9), a.uniforms(9));
        assert_eq!(Noise::from(a).weights(), [1.0, 0.0]);
    }

    /// The share of the draws below each of some numbers, by its standard error.
    #[test]
    fn between_the_ends_the_law_is_the_same() {
        let [a, b] = keys();
        let below = |values: &[f32], limit: f32, expected: f64| {
            let share = values.iter().filter(|&&v| v < limit).count() as f64 / COUNT as f64;
            let error = (expected * (1.0 - expected) / COUNT as f64).sqrt();
            assert!(
                (share - expected).abs() < 4.5 * error,
                "{share} of the draws are below {limit}, expected {expected}"
            );
        };
        for share in [0.01, 0.25, 0.5, 0.8] {
            let noise = Noise::between(a, b, share);
            let uniforms = noise.uniforms(COUNT);
            for tenth in 1..10 {
                below(&uniforms, tenth as f32 / 10.0, f64::from(tenth) / 10.0);
            }
            assert!(uniforms.iter().all(|u| (0.0..1.0).contains(u)));
            // Quantiles of the standard normal distribution.
            let normals = noise.normals(COUNT);
            for (z, expected) in [
                (-1.644_854, 0.05),
                (-0.674_49, 0.25),
                (0.0, 0.5),
                (1.281_552, 0.9),
            ] {
                below(&normals, z, expected);
            }
        }
    }

    #[test]
    fn a_small_way_changes_little() {
        let [a, b] = keys();
        let at = |share| Noise::between(a, b, share);
        for share in [0.0, 0.3, 0.5, 0.99] {
            let moved = |x: Vec<f32>, y: Vec<f32>| {
                let moves = x.iter().zip(&y).map(|(x, y)| (x - y).abs());
                moves.fold(0.0, f32::max)
            };
            let (here, there) = (at(share), at(share + 0.01));
            let uniforms = moved(here.uniforms(9999), there.uniforms(9999));
            assert!(uniforms > 1e-3 && uniforms < 0.03, "{share}: {uniforms}");
            let normals = moved(here.normals(9999), there.normals(9999));
            assert!(normals > 1e-2 && normals < 0.1, "{share}: {normals}");
        }
    }
}
