//! Precision and recall of generated images (Kynkäänniemi et al. 2019, "Improved precision and recall metric for
//! assessing generative models", eq. 1 and 2).

/// What share of generated images lies among the real ones, and of real ones among the generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Of generated images, the share within the balls around real ones.
    pub precision: f64,
    /// Of real images, the share within the balls around generated ones.
    pub recall: f64,
}

/// By balls around each image's features that reach to its `neighbour`th nearest of its own kind (3 in the paper). None
/// where a kind has no so many others.
///
/// # Shapes
/// - `generated`: `[images, size]`, `real`: `[other images, size]`
pub fn precision_recall(
    generated: &[f32],
    real: &[f32],
    size: usize,
    neighbour: usize,
) -> Option<PrecisionRecall> {
    let (generated, real): (Vec<&[f32]>, Vec<&[f32]>) = (
        generated.chunks_exact(size).collect(),
        real.chunks_exact(size).collect(),
    );
    if generated.len().min(real.len()) <= neighbour {
        return None;
    }
    let (of_generated, of_real) = (radii(&generated, neighbour), radii(&real, neighbour));
    Some(PrecisionRecall {
        precision: covered(&generated, &real, &of_real),
        recall: covered(&real, &generated, &of_generated),
    })
}

/// The squared distance from each image to its `neighbour`th nearest other.
fn radii(images: &[&[f32]], neighbour: usize) -> Vec<f64> {
    let radius = |image: &&[f32]| {
        let mut distances: Vec<f64> = images.iter().map(|other| square(image, other)).collect();
        // The image itself, at distance zero, comes first.
        *distances
            .select_nth_unstable_by(neighbour, f64::total_cmp)
            .1
    };
    images.iter().map(radius).collect()
}

/// The share of `images` that lie within a ball around one of `others`.
fn covered(images: &[&[f32]], others: &[&[f32]], radii: &[f64]) -> f64 {
    let within = |image: &&&[f32]| {
        let mut balls = others.iter().zip(radii);
        balls.any(|(other, radius)| square(image, other) <= *radius)
    };
    images.iter().filter(within).count() as f64 / images.len() as f64
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    a.iter().zip(b).map(square).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a line, each ball reaching to the nearest other: real 0, 1, 10 with radii 1, 1, 9; generated 0.5, 18, 40
    /// with radii 17.5, 17.5, 22.
    #[test]
    fn of_a_hand_computed_case() {
        let found = precision_recall(&[0.5, 18.0, 40.0], &[0.0, 1.0, 10.0], 1, 1).unwrap();
        assert_eq!(found.precision, 2.0 / 3.0);
        assert_eq!(found.recall, 1.0);
        assert_eq!(precision_recall(&[0.5], &[0.0, 1.0], 1, 1), None);
    }
}
