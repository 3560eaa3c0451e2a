//! The nearest of many.

/// The places of the `count` of `set` nearest to `query`, and how far away they are (L2); the nearest first, the earlier
/// one where two are as near.
///
/// # Shapes
/// - `query`: `[size]`, `set`: `[images, size]`
pub fn nearest(query: &[f32], set: &[f32], count: usize) -> Vec<(usize, f32)> {
    let square = |other: &[f32]| -> f32 {
        let pairs = query.iter().zip(other);
        pairs.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let squares = set.chunks_exact(query.len()).map(square);
    let mut found: Vec<(usize, f32)> = squares.enumerate().collect();
    let nearer = |a: &(usize, f32), b: &(usize, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
    if count < found.len() {
        found.select_nth_unstable_by(count, nearer);
        found.truncate(count);
    }
    found.sort_by(nearer);
    found
        .iter_mut()
        .for_each(|(_, square)| *square = square.sqrt());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_no_more_than_there_are() {
        let set = [9.0, 0.0, 3.0, 4.0, 0.0, 1.0, 4.0, 3.0];
        assert_eq!(
            nearest(&[0.0, 0.0], &set, 3),
            [(2, 1.0), (1, 5.0), (3, 5.0)]
        );
        assert_eq!(nearest(&[0.0, 0.0], &set, 9).len(), 4);
        assert_eq!(nearest(&[0.0, 0.0], &[], 2), []);
    }
}
