//! What the page computes of logits to show it: energies and probabilities of one image.

use basin_protocol::EnergyKind;

/// The energy of one image for class `y`.
pub fn of(kind: EnergyKind, logits: &[f32], y: usize) -> f32 {
    let joint = -logits[y];
    match kind {
        EnergyKind::Joint => joint,
        EnergyKind::Marginal => marginal(logits),
        EnergyKind::Conditional => joint - marginal(logits),
    }
}

/// E(x) = −log Σ_y exp f(x)\[y\].
pub fn marginal(logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    -(logits.iter().map(|f| (f - largest).exp()).sum::<f32>().ln() + largest)
}

/// p(y | x) for each y.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let marginal = marginal(logits);
    logits.iter().map(|f| (f + marginal).exp()).collect()
}

/// A number with a minus sign proper.
pub fn text(value: f32, digits: usize) -> String {
    format!("{value:.digits$}").replace('-', "−")
}

/// How the page writes an energy.
pub fn symbol(kind: EnergyKind) -> &'static str {
    match kind {
        EnergyKind::Joint => "E(x, y)",
        EnergyKind::Marginal => "E(x)",
        EnergyKind::Conditional => "E(y | x)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_energies_fit_each_other() {
        let logits = [1000.0, 999.0, -5.0];
        let [joint, marginal, conditional] = [
            EnergyKind::Joint,
            EnergyKind::Marginal,
            EnergyKind::Conditional,
        ]
        .map(|kind| of(kind, &logits, 1));
        assert!((joint - marginal - conditional).abs() < 1e-3);
        let p = probabilities(&logits);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-3);
        assert!((p[1].ln() + conditional).abs() < 1e-3);
    }
}
