//! How numbers are distributed.

use serde::Serialize;

/// How many of some numbers lie in each of some intervals of one width.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Where the first interval begins.
    pub lowest: f32,
    /// Where the last one ends.
    pub highest: f32,
    /// Each closed on the left, the last on the right too; what lies outside is counted nowhere.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Of numbers in a range.
    pub fn of(values: &[f32], [lowest, highest]: [f32; 2], bins: usize) -> Self {
        let mut counts = vec![0; bins];
        let width = (highest - lowest).max(f32::MIN_POSITIVE);
        for value in values.iter().filter(|v| (lowest..=highest).contains(*v)) {
            let place = (value - lowest) / width * bins as f32;
            counts[(place as usize).min(bins - 1)] += 1;
        }
        Self {
            lowest,
            highest,
            counts,
        }
    }
}

/// The range of several lists of numbers together, without those that are not finite.
pub fn common_range(lists: &[&[f32]]) -> [f32; 2] {
    let values = lists.iter().copied().flatten().copied();
    let finite = values.filter(|value| value.is_finite());
    finite.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| {
        [low.min(value), high.max(value)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_range_is_counted_once() {
        let values = [0.0, 0.9, 1.0, 3.99, 4.0, 7.0, f32::NAN];
        let found = Histogram::of(&values, [0.0, 4.0], 4);
        assert_eq!(found.counts, [2, 1, 0, 2]);
        assert_eq!(common_range(&[&values[1..], &[-2.0]]), [-2.0, 7.0]);
        // All numbers alike have no width.
        assert_eq!(Histogram::of(&[3.0; 5], [3.0, 3.0], 2).counts, [5, 0]);
    }
}
