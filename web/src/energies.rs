//! What the page computes of logits to show it: energies and probabilities of one image.

use basin_protocol::{EnergyKind, Model};

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

/// d̂, the distance to the data that an energy tells; none of a model or an energy that does not tell it.
pub fn distance(model: &Model, kind: EnergyKind, energy: f32) -> Option<f32> {
    let [joint, marginal] = model.distances.as_ref()?;
    let table = match kind {
        EnergyKind::Joint => joint,
        EnergyKind::Marginal => marginal,
        EnergyKind::Conditional => return None,
    };
    let (keys, values) = (&table.energies, &table.distances);
    let behind = keys.partition_point(|&key| key < energy);
    Some(match behind {
        0 => values[0],
        _ if behind == keys.len() => values[behind - 1],
        _ => {
            let share = (energy - keys[behind - 1]) / (keys[behind] - keys[behind - 1]);
            values[behind - 1] + share * (values[behind] - values[behind - 1])
        }
    })
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
    #[test]
    fn a_distance_is_read_off_its_energys_table() {
        let mut model = crate::tests::model();
        assert_eq!(distance(&model, EnergyKind::Marginal, 1.0), None);
        let table = |distances: [f32; 3]| basin_protocol::DistanceTable {
            energies: vec![-1.0, 1.0, 3.0],
            distances: distances.into(),
        };
        model.distances = Some([table([0.0, 1.0, 9.0]), table([0.5, 2.5, 4.5])]);
        let found = [-5.0, -1.0, 0.0, 2.0, 7.0].map(|e| distance(&model, EnergyKind::Marginal, e));
        assert_eq!(found, [0.5, 0.5, 1.5, 3.5, 4.5].map(Some));
        assert_eq!(distance(&model, EnergyKind::Joint, 2.0), Some(5.0));
        assert_eq!(distance(&model, EnergyKind::Conditional, 2.0), None);
    }
}
