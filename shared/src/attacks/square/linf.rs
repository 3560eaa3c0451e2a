//! The changes that the Square attack tries in L∞ (Andriushchenko et al. 2020, Algorithm 2).

use super::Draws;

/// The start: x ± ε in vertical stripes one pixel wide, each with its sign in each channel.
pub(super) fn stripes(
    x: &[f32],
    [channels, height, width]: [usize; 3],
    epsilon: f32,
    draws: &mut Draws,
) -> Vec<f32> {
    let signs: Vec<f32> = (0..channels * width).map(|_| draws.sign()).collect();
    let change = |(place, x): (usize, &f32)| {
        let (channel, column) = (place / (height * width), place % width);
        (x + epsilon * signs[channel * width + column]).clamp(0.0, 1.0)
    };
    x.iter().enumerate().map(change).collect()
}

/// The best so far with all pixels of a square moved by 2 ε, up or down in each channel, and cut to the ball: within
/// the square the change is then ±ε.
pub(super) fn square(
    x: &[f32],
    best: &[f32],
    [channels, height, width]: [usize; 3],
    side: usize,
    epsilon: f32,
    draws: &mut Draws,
) -> Vec<f32> {
    let side = side.clamp(1, height.min(width));
    let (top, left) = (
        draws.below(height - side + 1),
        draws.below(width - side + 1),
    );
    let mut tried = best.to_vec();
    for channel in 0..channels {
        let change = 2.0 * epsilon * draws.sign();
        for row in top..top + side {
            let from = (channel * height + row) * width + left;
            for place in from..from + side {
                let moved = best[place] + change;
                let within = moved.clamp(x[place] - epsilon, x[place] + epsilon);
                tried[place] = within.clamp(0.0, 1.0);
            }
        }
    }
    tried
}
