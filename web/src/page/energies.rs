//! What the page computes of logits to show it, and how it writes energies.

use basin_protocol::{EnergyKind, Model, softmax};

/// p(y | x) for each y.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let mut probabilities = vec![0.0; logits.len()];
    softmax(logits, &mut probabilities);
    probabilities
}

/// The class that the logits speak for most, the last of several.
pub fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

/// That class, and its name with how sure the network is of it.
pub fn verdict(logits: &[f32], names: &[String]) -> Option<(usize, String)> {
    let p = probabilities(logits);
    let best = likeliest(&p)?;
    Some((
        best,
        format!("{} {:.0} %", names.get(best)?, 100.0 * p[best]),
    ))
}

/// d̂, the distance to the data that an energy tells; none of a model or an energy that does not tell it.
pub fn distance(model: &Model, kind: EnergyKind, energy: f32) -> Option<f32> {
    let table = model.distances.as_ref()?.table(kind)?;
    Some(table.distance(energy))
}

/// A number with a minus sign proper, which zero has not.
pub fn text(value: f32, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let zero = text.bytes().all(|byte| b"-0.".contains(&byte));
    text.replace('-', if zero { "" } else { "−" })
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
    fn zero_has_no_sign() {
        let texts = [-0.04, -0.06, 0.0, 1.25].map(|value| text(value, 1));
        assert_eq!(texts, ["0.0", "−0.1", "0.0", "1.2"]);
    }

    #[test]
    fn a_distance_is_read_off_its_energys_table() {
        let mut model = crate::tests::model();
        assert_eq!(distance(&model, EnergyKind::Marginal, 1.0), None);
        let table = |distances: [f32; 3]| basin_protocol::DistanceTable {
            energies: vec![-1.0, 1.0, 3.0],
            distances: distances.into(),
            factors: vec![0.0, 1.0, 2.0],
        };
        model.distances = Some(basin_protocol::Distances {
            joint: table([0.0, 1.0, 9.0]),
            marginal: table([0.5, 2.5, 4.5]),
            known_noise: basin_protocol::NoiseTable::default(),
        });
        let found = [-5.0, -1.0, 0.0, 2.0, 7.0].map(|e| distance(&model, EnergyKind::Marginal, e));
        assert_eq!(found, [0.5, 0.5, 1.5, 3.5, 4.5].map(Some));
        assert_eq!(distance(&model, EnergyKind::Joint, 2.0), Some(5.0));
        assert_eq!(distance(&model, EnergyKind::Conditional, 2.0), None);
    }
}
