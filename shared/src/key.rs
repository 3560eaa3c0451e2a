//! The only source of randomness: a small copyable key and what is drawn from it.
//!
//! Draws are counter-based (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy
//! as 1, 2, 3"): the value at an index depends on the key and that index alone. So a chain can be
//! paused and resumed, image 3 of a batch is the same alone as in company, and every backend, native
//! or in a browser, sees the same numbers. `libm` stands in for the platform's logarithm and cosine,
//! which differ in the last bit between platforms.

use serde::{Deserialize, Serialize};

/// A random key. Two uses of one key give the same numbers; derive another key for other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key([u32; 2]);

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Self {
        Self([seed as u32, (seed >> 32) as u32])
    }

    /// The key for `data` under this key: a step number, an epoch, a purpose.
    pub fn fold_in(self, data: u64) -> Self {
        // The second counter half marks derivation, so that no derived key equals a draw.
        let [a, b, ..] = philox([data as u32, (data >> 32) as u32, 0x6b65_7973, 1], self.0);
        Self([a, b])
    }

    /// The key for a purpose under this key, by its name: no two purposes meet, and none meets a number
    /// that is folded in.
    pub fn stream(self, name: &str) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let [a, b, ..] = philox([hash as u32, (hash >> 32) as u32, 0x6b65_7973, 2], self.0);
        Self([a, b])
    }

    /// `N` keys that share nothing with each other nor with this one.
    pub fn split<const N: usize>(self) -> [Self; N] {
        std::array::from_fn(|i| self.fold_in(i as u64))
    }

    /// The key as a device draws from it (`gpu/random.wgsl`).
    pub fn words(self) -> [u32; 2] {
        self.0
    }

    /// `count` draws from U[0, 1).
    pub fn uniforms(self, count: usize) -> Vec<f32> {
        self.blocks(count, |block| block.map(unit))
    }

    /// `count` draws from N(0, 1), by Box and Muller's transform.
    pub fn normals(self, count: usize) -> Vec<f32> {
        self.blocks(count, |[a, b, c, d]| {
            let [n0, n1] = box_muller(a, b);
            let [n2, n3] = box_muller(c, d);
            [n0, n1, n2, n3]
        })
    }

    /// `count` draws from {0, …, bound − 1}.
    pub fn integers(self, count: usize, bound: usize) -> Vec<usize> {
        assert!(
            bound > 0 && bound <= u32::MAX as usize,
            "bound {bound} is not in 1..=2^32-1"
        );
        self.blocks(count, |block| {
            block.map(|word| ((word as u64 * bound as u64) >> 32) as usize)
        })
    }

    /// A permutation of 0..count (Fisher and Yates).
    pub fn permutation(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        let words = self.blocks(count, |block| block);
        for i in (1..count).rev() {
            let j = ((words[i] as u64 * (i as u64 + 1)) >> 32) as usize;
            order.swap(i, j);
        }
        order
    }

    fn blocks<T: Copy>(self, count: usize, draw: impl Fn([u32; 4]) -> [T; 4]) -> Vec<T> {
        let mut values = Vec::with_capacity(count + 3);
        for block in 0..count.div_ceil(4) as u64 {
            values.extend(draw(philox(
                [block as u32, (block >> 32) as u32, 0, 0],
                self.0,
            )));
        }
        values.truncate(count);
        values
    }
}

/// The 24 high bits of a word as a fraction in [0, 1).
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// r cos θ and r sin θ with r² = −2 ln u, u in (0, 1], θ in [0, 2π).
fn box_muller(a: u32, b: u32) -> [f32; 2] {
    let radius = libm::sqrtf(-2.0 * libm::logf(1.0 - unit(a)));
    let (sine, cosine) = libm::sincosf(std::f32::consts::TAU * unit(b));
    [radius * cosine, radius * sine]
}

/// Philox4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [c0, c1, c2, c3] = counter;
        let left = 0xD251_1F53_u64 * c0 as u64;
        let right = 0xCD9E_8D57_u64 * c2 as u64;
        counter = [
            (right >> 32) as u32 ^ c1 ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ c3 ^ key[1],
            left as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of philox4x32-10, from the test vectors of the authors' Random123.
    #[test]
    fn philox_gives_the_authors_numbers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox(
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn draws_have_the_moments_of_their_laws() {
        let count = 200_000;
        let standard_error = 1.0 / (count as f64).sqrt();
        let moments = |values: &[f32]| {
            let mean = values.iter().map(|&v| v as f64).sum::<f64>() / count as f64;
            let variance = values
                .iter()
                .map(|&v| (v as f64 - mean).powi(2))
                .sum::<f64>()
                / count as f64;
            (mean, variance)
        };
        let (mean, variance) = moments(&Key::new(1).normals(count));
        assert!(mean.abs() < 5.0 * standard_error, "mean {mean}");
        // Var of the sample variance of a normal is 2/n.
        assert!(
            (variance - 1.0).abs() < 5.0 * 2f64.sqrt() * standard_error,
            "variance {variance}"
        );
        let (mean, variance) = moments(&Key::new(2).uniforms(count));
        assert!(
            (mean - 0.5).abs() < 5.0 * standard_error / 12f64.sqrt(),
            "mean {mean}"
        );
        assert!(
            (variance - 1.0 / 12.0).abs() < 5.0 * 0.0746 * standard_error,
            "{variance}"
        );
    }

    #[test]
    fn a_prefix_of_a_draw_is_the_shorter_draw() {
        assert_eq!(Key::new(7).normals(10)[..6], Key::new(7).normals(6));
    }

    #[test]
    fn derived_keys_differ() {
        let key = Key::new(3);
        let [a, b] = key.split();
        assert!(a != b && a != key && a.uniforms(4) != b.uniforms(4));
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = Key::new(5).permutation(101);
        assert_ne!(order, (0..101).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..101).collect::<Vec<_>>());
    }
}
