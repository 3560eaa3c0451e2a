//! The formula of the Inception score (Salimans et al. 2016, "Improved techniques for training GANs", section 4). Of
//! another classifier's logits than Inception's it is another figure, and has another name.

/// exp E_x KL(p(y | x) ‖ p(y)) of each of `splits` parts, one behind the other: the mean and the standard deviation
/// over the parts. NaN where a part is empty.
///
/// # Shapes
/// - `logits`: `[images, classes]`
pub fn inception_score(logits: &[f32], classes: usize, splits: usize) -> [f64; 2] {
    let rows: Vec<Vec<f64>> = logits.chunks_exact(classes).map(log_softmax).collect();
    let score = |part: usize| {
        let rows = &rows[part * rows.len() / splits..(part + 1) * rows.len() / splits];
        let count = rows.len() as f64;
        let marginal = |class: usize| rows.iter().map(|row| row[class].exp()).sum::<f64>() / count;
        let marginal: Vec<f64> = (0..classes).map(marginal).collect();
        let divergence = |row: &Vec<f64>| -> f64 {
            let terms = row.iter().zip(&marginal);
            // What is so unlikely that it is never expected adds nothing.
            let terms = terms.filter(|(_, marginal)| **marginal > 0.0);
            terms.map(|(log_p, q)| log_p.exp() * (log_p - q.ln())).sum()
        };
        (rows.iter().map(divergence).sum::<f64>() / count).exp()
    };
    let scores: Vec<f64> = (0..splits).map(score).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let variance = scores
        .iter()
        .map(|score| (score - mean).powi(2))
        .sum::<f64>()
        / splits as f64;
    [mean, variance.sqrt()]
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&f| f64::from(f)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|f| (f - largest).exp()).sum();
    let normalizer = largest + sum.ln();
    logits.iter().map(|f| f - normalizer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One class alone scores 1; every class as often, each image certain, as many as there are classes.
    #[test]
    fn the_extremes_are_known() {
        let same = [0.3, -1.0, 2.0].repeat(4);
        let [score, spread] = inception_score(&same, 3, 2);
        assert!((score - 1.0).abs() < 1e-12 && spread < 1e-12, "{score}");
        let certain: Vec<f32> = (0..9)
            .map(|i| if i % 4 == 0 { 2000.0 } else { 0.0 })
            .collect();
        let [score, _] = inception_score(&certain, 3, 1);
        assert!((score - 3.0).abs() < 1e-12, "{score}");
        assert!(inception_score(&certain, 3, 4)[0].is_nan());
    }
}
