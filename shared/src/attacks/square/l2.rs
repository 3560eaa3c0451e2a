//! The changes that the Square attack tries in L2 (Andriushchenko et al. 2020, Algorithm 3): what a square takes away
//! elsewhere, it adds where it lies, so that the whole length ε is always spent.

use super::Draws;
use crate::attacks::Norm;

/// What is added to lengths that divide.
const LEAST: f32 = 1e-12;

/// A sum of centred rectangles of `rows` × `columns`, the inner ones heavier: 1 / k² for the k-th from within as
/// the paper builds it, of length 1.
fn pyramid(rows: usize, columns: usize) -> Vec<f32> {
    let mut heights = vec![0.0; rows * columns];
    let centre = [rows / 2, columns / 2];
    for k in 0..centre[0].max(centre[1]) + 1 {
        // From k before the centre to k after it, as much of it as there is.
        let span =
            |centre: usize, count: usize| centre.saturating_sub(k)..(centre + k + 1).min(count);
        for row in span(centre[0], rows) {
            for column in span(centre[1], columns) {
                heights[row * columns + column] += 1.0 / ((k + 1) * (k + 1)) as f32;
            }
        }
    }
    scale_to(&mut heights, 1.0);
    heights
}

/// η: a pyramid up in one half of a square and one down in the other, of length 1; halves lie above each other, or
/// side by side.
fn eta(side: usize, draws: &mut Draws) -> Vec<f32> {
    let upper = pyramid(side / 2, side);
    let lower = pyramid(side - side / 2, side);
    let mut eta: Vec<f32> = upper.into_iter().chain(lower.iter().map(|h| -h)).collect();
    scale_to(&mut eta, 1.0);
    if draws.below(2) == 1 {
        let turned = |place: usize| eta[place % side * side + place / side];
        eta = (0..side * side).map(turned).collect();
    }
    eta
}

fn scale_to(delta: &mut [f32], length: f32) {
    let factor = length / (Norm::L2.of(delta) + LEAST);
    delta.iter_mut().for_each(|d| *d *= factor);
}

/// x + δ ε / |δ|, in [0, 1].
fn spend(x: &[f32], delta: &mut [f32], epsilon: f32) -> Vec<f32> {
    scale_to(delta, epsilon);
    let pairs = x.iter().zip(delta);
    pairs.map(|(x, d)| (x + *d).clamp(0.0, 1.0)).collect()
}

/// The places of a square of an image.
fn places(
    [top, left]: [usize; 2],
    side: usize,
    width: usize,
) -> impl Iterator<Item = usize> + Clone {
    (top..top + side).flat_map(move |row| row * width + left..row * width + left + side)
}

/// The start: the image tiled with η.
pub(super) fn tiles(
    x: &[f32],
    [channels, height, width]: [usize; 3],
    epsilon: f32,
    draws: &mut Draws,
) -> Vec<f32> {
    let side = (height / 5).max(1);
    let first = (height - (side * 5).min(height)) / 2;
    let mut delta = vec![0.0; x.len()];
    for i in 0..height / side {
        for j in 0..width / side {
            let corner = [first + i * side, first + j * side];
            let eta = eta(side, draws);
            for plane in delta.chunks_exact_mut(height * width) {
                let sign = draws.sign();
                if corner[0] + side <= height && corner[1] + side <= width {
                    for (place, eta) in places(corner, side, width).zip(&eta) {
                        plane[place] += sign * eta;
                    }
                }
            }
        }
    }
    debug_assert_eq!(x.len(), channels * height * width);
    spend(x, &mut delta, epsilon)
}

/// The best so far with η added in one square, which takes the length that another square, set to zero, had.
pub(super) fn square(
    x: &[f32],
    best: &[f32],
    [channels, height, width]: [usize; 3],
    side: usize,
    epsilon: f32,
    draws: &mut Draws,
) -> Vec<f32> {
    // An odd number, at least three.
    let side = (side.max(3) / 2 * 2 + 1).min(height.min(width));
    let mut corner = || {
        [
            draws.below(height - side + 1),
            draws.below(width - side + 1),
        ]
    };
    let (added, taken) = (corner(), corner());
    let mut delta: Vec<f32> = best.iter().zip(x).map(|(best, x)| best - x).collect();
    let unspent = (epsilon * epsilon - Norm::L2.of(&delta).powi(2)).max(0.0);
    let eta = eta(side, draws);
    for plane in delta.chunks_exact_mut(height * width) {
        let sign = draws.sign();
        let of = |corner| places(corner, side, width);
        let length = |plane: &[f32], places: &mut dyn Iterator<Item = usize>| {
            places.map(|place| plane[place] * plane[place]).sum::<f32>()
        };
        let outside = |&place: &usize| {
            let (row, column) = (place / width, place % width);
            let [top, left] = added;
            !(top..top + side).contains(&row) || !(left..left + side).contains(&column)
        };
        let in_added = length(plane, &mut of(added));
        let in_both = in_added + length(plane, &mut of(taken).filter(outside));
        let old = |place: usize| plane[place] / (LEAST + in_added.sqrt());
        let mut new: Vec<f32> = of(added)
            .zip(&eta)
            .map(|(place, eta)| sign * eta + old(place))
            .collect();
        scale_to(&mut new, (unspent / channels as f32 + in_both).sqrt());
        for place in of(taken) {
            plane[place] = 0.0;
        }
        for (place, new) in of(added).zip(new) {
            plane[place] = new;
        }
    }
    spend(x, &mut delta, epsilon)
}
