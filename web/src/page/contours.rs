//! Height lines by marching squares (Lorensen and Cline 1987, in the plane).

/// The lines where `height` is one of `levels`, as the `d` of an SVG path in grid coordinates, on every `spacing`th
/// place of a grid of `side` rows and columns.
///
/// A square whose corners lie above and below a level in turn has two lines, which are drawn side by side.
pub fn contours(
    height: impl Fn([usize; 2]) -> f32,
    side: usize,
    spacing: usize,
    levels: &[f32],
) -> String {
    let mut path = String::new();
    let starts = || (0..side - spacing).step_by(spacing);
    for (row, column) in starts().flat_map(|row| starts().map(move |column| (row, column))) {
        // Around the square.
        let corners = [
            [row, column],
            [row, column + spacing],
            [row + spacing, column + spacing],
            [row + spacing, column],
        ];
        let heights = corners.map(&height);
        for &level in levels {
            let crossings = (0..4).filter_map(|edge| {
                let next = (edge + 1) % 4;
                let (from, to) = (heights[edge], heights[next]);
                ((from < level) != (to < level)).then(|| {
                    let share = (level - from) / (to - from);
                    let between = |axis: usize| {
                        let [from, to] = [corners[edge], corners[next]].map(|at| at[axis] as f32);
                        from + share * (to - from)
                    };
                    [between(1), between(0)]
                })
            });
            let crossings: Vec<[f32; 2]> = crossings.collect();
            for line in crossings.chunks_exact(2) {
                let [[a, b], [c, d]] = [line[0], line[1]];
                path += &format!("M{a:.2} {b:.2}L{c:.2} {d:.2}");
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_has_straight_lines_at_its_levels() {
        let slope = |[_, column]: [usize; 2]| column as f32;
        let path = contours(slope, 3, 1, &[0.25, 1.5]);
        assert_eq!(
            path,
            "M0.25 0.00L0.25 1.00M1.50 0.00L1.50 1.00M0.25 1.00L0.25 2.00M1.50 1.00L1.50 2.00"
        );
        assert_eq!(contours(slope, 3, 2, &[1.0]), "M1.00 0.00L1.00 2.00");
        assert_eq!(contours(slope, 3, 1, &[7.0]), "");
    }

    #[test]
    fn a_hill_has_a_ring() {
        let hill = |[row, column]: [usize; 2]| {
            -((row as f32 - 2.0).powi(2) + (column as f32 - 2.0).powi(2))
        };
        let path = contours(hill, 5, 1, &[-1.5]);
        let mut ends: Vec<&str> = path.split(['M', 'L']).skip(1).collect();
        assert_eq!(ends.len(), 2 * 12);
        // It is closed: each end is that of two lines.
        ends.sort_unstable();
        assert!(ends.chunks(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
        ends.dedup();
        assert_eq!(ends.len(), 12);
    }
}
