//! The Fréchet distance of two sets of features, each taken for a Gaussian (Dowson and Landau 1982; Heusel et
//! al. 2017 for pictures).

use nalgebra::{DMatrix, DVector};

/// A Gaussian with the mean and covariance of some features.
#[derive(Clone, Debug)]
pub(crate) struct Gaussian {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Gaussian {
    /// The Gaussian of `features`, `[count, size]`.
    ///
    /// # Panics
    /// If there are fewer than two.
    pub(crate) fn of(features: &[f32], size: usize) -> Self {
        let count = features.len() / size;
        assert!(count > 1, "{count} examples have no covariance");
        let numbers = features.iter().map(|&v| f64::from(v));
        // A column for each example.
        let columns = DMatrix::from_iterator(size, count, numbers);
        let mean = columns.column_mean();
        let mut centred = columns;
        for mut column in centred.column_iter_mut() {
            column -= &mean;
        }
        let covariance = &centred * centred.transpose() / (count as f64 - 1.0);
        Self { mean, covariance }
    }

    /// |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        let root = self.root();
        let middle = (&root * &other.covariance * &root).symmetric_eigenvalues();
        let geometric: f64 = middle.iter().map(|value| value.max(0.0).sqrt()).sum();
        let apart = (&self.mean - &other.mean).norm_squared();
        apart + self.covariance.trace() + other.covariance.trace() - 2.0 * geometric
    }

    /// Σ^½
    fn root(&self) -> DMatrix<f64> {
        let eigen = self.covariance.clone().symmetric_eigen();
        let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
        &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::chirp;
    use basin_shared::Key;

    /// scipy's matrix root says the same (tests/reference/metrics.py).
    #[test]
    fn of_given_features_as_by_scipy() {
        let reference = include_str!("../../../tests/reference/metrics.json");
        let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
        let expected = reference["frechet"].as_f64().unwrap();
        let [a, b] = chirp::features().map(|features| Gaussian::of(&features, chirp::SIZE));
        let found = a.distance(&b);
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found}, {expected}"
        );
    }

    /// By hand: means (0, 0) and (3, 4), covariances diag(1, 4) and diag(9, 1), which commute:
    /// 25 + (1 − 3)² + (2 − 1)² = 30.
    #[test]
    fn of_gaussians_that_commute() {
        let gaussian = |mean: [f64; 2], covariance: [f64; 2]| Gaussian {
            mean: DVector::from_row_slice(&mean),
            covariance: DMatrix::from_diagonal(&DVector::from_row_slice(&covariance)),
        };
        let (a, b) = (
            gaussian([0.0, 0.0], [1.0, 4.0]),
            gaussian([3.0, 4.0], [9.0, 1.0]),
        );
        assert!((a.distance(&b) - 30.0).abs() < 1e-9);
        assert!((b.distance(&a) - 30.0).abs() < 1e-9);
    }

    /// Four corners of a rectangle, by hand.
    #[test]
    fn features_have_their_moments() {
        let features = [0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 2.0, 4.0];
        let found = Gaussian::of(&features, 2);
        assert_eq!(found.mean.as_slice(), [1.0, 2.0]);
        let expected = [4.0 / 3.0, 0.0, 0.0, 16.0 / 3.0];
        for (found, expected) in found.covariance.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
        let draws = Key::new(1).normals(3 * 500);
        let same = Gaussian::of(&draws, 3);
        assert!(same.distance(&same).abs() < 1e-9);
    }
}
