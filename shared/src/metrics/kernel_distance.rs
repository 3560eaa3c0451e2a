//! The kernel distance of features (Bińkowski et al. 2018, "Demystifying MMD GANs", section 4): of Inception's it is the
//! KID.

/// The unbiased estimate of the squared maximum mean discrepancy under k(a, b) = (a · b / size + 1)³. It may be
/// negative; NaN where a list has fewer than two images.
///
/// # Shapes
/// - `a`: `[images, size]`, `b`: `[other images, size]`
pub fn kernel_distance(a: &[f32], b: &[f32], size: usize) -> f64 {
    let (a, b): (Vec<&[f32]>, Vec<&[f32]>) = (
        a.chunks_exact(size).collect(),
        b.chunks_exact(size).collect(),
    );
    let kernel = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        (products.sum::<f64>() / size as f64 + 1.0).powi(3)
    };
    let within = |images: &[&[f32]]| {
        let mut sum = 0.0;
        for (i, a) in images.iter().enumerate() {
            sum += images[..i].iter().map(|b| kernel(a, b)).sum::<f64>();
        }
        let count = images.len() as f64;
        2.0 * sum / (count * (count - 1.0))
    };
    let across: f64 = a.iter().flat_map(|a| b.iter().map(|b| kernel(a, b))).sum();
    within(&a) + within(&b) - 2.0 * across / (a.len() * b.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, of one feature: k(1, 1) = 8, k(0, ·) = 1, k(1, 2) = 27, k(2, 2) = 125.
    #[test]
    fn of_a_hand_computed_case() {
        let found = kernel_distance(&[0.0, 1.0], &[1.0, 2.0], 1);
        let expected = 1.0 + 27.0 - 2.0 * (1.0 + 1.0 + 8.0 + 27.0) / 4.0;
        assert!((found - expected).abs() < 1e-12, "{found}");
        assert!(kernel_distance(&[1.0], &[1.0, 2.0], 1).is_nan());
    }
}
