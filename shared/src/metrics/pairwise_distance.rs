//! How far images are from each other.

/// Mean Euclidean distance of all pairs of images, each `size` numbers.
pub fn mean_pairwise_distance(images: &[f32], size: usize) -> f64 {
    let images: Vec<&[f32]> = images.chunks_exact(size).collect();
    let mut sum = 0.0;
    let mut pairs = 0;
    for (i, a) in images.iter().enumerate() {
        for b in &images[..i] {
            let square: f32 = a.iter().zip(*b).map(|(a, b)| (a - b) * (a - b)).sum();
            sum += (square as f64).sqrt();
            pairs += 1;
        }
    }
    sum / pairs as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_triangle() {
        let triangle = [0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        assert_eq!(
            mean_pairwise_distance(&triangle, 2),
            (5.0 + 5.0 + 0.0) / 3.0
        );
    }
}
