//! The Fisher score of an energy (JEAT 4.3, eq. 23 and 24; Hyvärinen 2005, "Estimation of non-normalized statistical
//! models by score matching", theorem 1): how far its score is from that of the data, but for a constant of the data.

use super::standard_error;
use crate::key::Key;

/// What the score is made of, for each image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FisherScore {
    /// ½ ‖∇E(x)‖²
    pub half_squares: Vec<f64>,
    /// tr ∇²E(x), estimated.
    pub traces: Vec<f64>,
}

impl FisherScore {
    /// ½ ‖∇E(x)‖² − tr ∇²E(x), the mean over the images.
    pub fn mean(&self) -> f64 {
        let scores = self.scores();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    /// The standard error of that mean. What the images and what the estimate of the trace add to it are both in it, as
    /// each image has its own probes.
    pub fn error(&self) -> f64 {
        standard_error(&self.scores())
    }

    /// tr ∇²E(x), the mean over the images.
    pub fn trace(&self) -> f64 {
        self.traces.iter().sum::<f64>() / self.traces.len() as f64
    }

    /// Takes what was found of further images.
    pub fn extend(&mut self, other: Self) {
        self.half_squares.extend(other.half_squares);
        self.traces.extend(other.traces);
    }

    fn scores(&self) -> Vec<f64> {
        let parts = self.half_squares.iter().zip(&self.traces);
        parts.map(|(half, trace)| half - trace).collect()
    }
}

/// The score at some images, by an energy's gradient alone: the trace is Hutchinson's (1990) estimate
/// E_v vᵀ ∇²E v with v ∈ {−1, 1}ᵈ, and ∇²E v ≈ (∇E(x + h v) − ∇E(x − h v)) / 2h. Where ∇²E is constant, the difference is
/// exact, and where it is diagonal the estimate is so too. The probes step out of [0, 1] by h at most.
///
/// `gradient` is ∇E of all images, of the shape of `x`; `step` is h in pixel units.
///
/// # Shapes
/// - `x`: `[images, channels, height, width]`
pub fn fisher_score(
    mut gradient: impl FnMut(&[f32]) -> Vec<f32>,
    x: &[f32],
    images: usize,
    probes: usize,
    step: f32,
    key: Key,
) -> FisherScore {
    let size = x.len() / images;
    let at = gradient(x);
    let half = |g: &[f32]| g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>() / 2.0;
    let half_squares = at.chunks_exact(size).map(half).collect();
    let mut traces = vec![0.0; images];
    for probe in 0..probes {
        let draws = key.fold_in(probe as u64).integers(x.len(), 2);
        let v: Vec<f32> = draws
            .into_iter()
            .map(|bit| 2.0 * bit as f32 - 1.0)
            .collect();
        let moved = |by: f32| -> Vec<f32> { x.iter().zip(&v).map(|(x, v)| x + by * v).collect() };
        let (ahead, behind) = (gradient(&moved(step)), gradient(&moved(-step)));
        let change = ahead.iter().zip(&behind).zip(&v);
        let along: Vec<f64> = change
            .map(|((ahead, behind), v)| f64::from(v * (ahead - behind)))
            .collect();
        for (trace, along) in traces.iter_mut().zip(along.chunks_exact(size)) {
            *trace += along.iter().sum::<f64>() / (2.0 * f64::from(step)) / probes as f64;
        }
    }
    FisherScore {
        half_squares,
        traces,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 6;
    const STEP: f32 = 1.0 / 1024.0;

    /// Numbers that single precision holds whatever is added to them here.
    fn images(count: usize) -> Vec<f32> {
        let draws = Key::new(1).integers(count * SIZE, 256).into_iter();
        draws.map(|byte| byte as f32 / 256.0).collect()
    }

    /// ∇ of ½ xᵀ A x for each image.
    fn gradient(a: &[f32], x: &[f32]) -> Vec<f32> {
        let of_image = |x: &[f32]| -> Vec<f32> {
            let row = |row: &[f32]| row.iter().zip(x).map(|(a, x)| a * x).sum();
            a.chunks_exact(SIZE).map(row).collect()
        };
        x.chunks_exact(SIZE).flat_map(of_image).collect()
    }

    #[test]
    fn of_a_diagonal_quadratic_it_is_exact() {
        let mut a = vec![0.0; SIZE * SIZE];
        for i in 0..SIZE {
            a[i * SIZE + i] = i as f32 - 1.0;
        }
        let x = images(3);
        let found = fisher_score(|x| gradient(&a, x), &x, 3, 1, STEP, Key::new(2));
        // −1 + 0 + 1 + 2 + 3 + 4
        assert_eq!(found.traces, [9.0; 3]);
        for (half, x) in found.half_squares.iter().zip(x.chunks_exact(SIZE)) {
            let squares = x.iter().enumerate();
            let expected: f64 = squares
                .map(|(i, &x)| ((i as f64 - 1.0) * f64::from(x)).powi(2) / 2.0)
                .sum();
            assert!((half - expected).abs() < 1e-6);
        }
        let mean = found.half_squares.iter().sum::<f64>() / 3.0 - 9.0;
        assert!((found.mean() - mean).abs() < 1e-12);
        assert_eq!(found.trace(), 9.0);
    }

    /// Of any quadratic the estimate has the right mean, and the variance 2 Σ_{i≠j} a_ij² that Hutchinson's has.
    #[test]
    fn of_a_quadratic_it_is_right_within_its_error() {
        let mut a: Vec<f32> = Key::new(5)
            .integers(SIZE * SIZE, 9)
            .iter()
            .map(|&n| n as f32 - 4.0)
            .collect();
        for i in 0..SIZE {
            for j in 0..i {
                a[i * SIZE + j] = a[j * SIZE + i];
            }
        }
        let trace: f32 = (0..SIZE).map(|i| a[i * SIZE + i]).sum();
        let off: f32 = (0..SIZE * SIZE)
            .filter(|place| place / SIZE != place % SIZE)
            .map(|place| a[place] * a[place])
            .sum();
        let (count, probes) = (2_000, 2);
        let x = [0.5; SIZE].repeat(count);
        let found = fisher_score(|x| gradient(&a, x), &x, count, probes, STEP, Key::new(7));
        let error = (2.0 * f64::from(off) / (count * probes) as f64).sqrt();
        assert!((found.trace() - f64::from(trace)).abs() < 5.0 * error);
        // All images are the same, so that all of the error is the estimate's.
        assert!(
            (found.error() / error - 1.0).abs() < 0.1,
            "{}",
            found.error()
        );
    }
}
