//! How far away the data are, as the energy tells: the tables of a model card.
//!
//! Trained for it, an energy grows with the distance ‖x̃ − x‖ of an image x̃ from the clean one x. How
//! exactly is measured on validation images and kept beside the weights, so that a sampler can take
//! steps of the right length, and an observer can read the distance off.

use serde::{Deserialize, Serialize};

use crate::energy::EnergyKind;

/// Most entries of a table.
const MOST_ENTRIES: usize = 256;

/// What a model's energies tell of distances, in [0, 1] pixel units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distances {
    /// The table of E(x, y), y being the image's own class.
    pub joint: DistanceTable,
    /// The table of E(x).
    pub marginal: DistanceTable,
    /// How far to descend E(x) where the noise is known.
    pub known_noise: NoiseTable,
}

/// Distance and length of the best step, by the energy; linear in between, and constant beyond the ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistanceTable {
    /// Increasing.
    pub energies: Vec<f32>,
    /// The mean of ‖x̃ − x‖ at each of the energies, never decreasing.
    pub distances: Vec<f32>,
    /// The factor c at each of the energies with which x̃ − c ∇E(x̃) comes nearest to x on average,
    /// Σ ⟨x̃ − x, ∇E⟩ / Σ ‖∇E‖², never decreasing. (Of an energy that is s times the distance, whose gradient
    /// has length s and points away from x, it is the distance over s.)
    pub factors: Vec<f32>,
}

/// How far to go down E(x), by the deviation of Gaussian noise; linear in between, and constant beyond the
/// end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseTable {
    /// Standard deviations of the noise before x̃ is clamped to [0, 1], increasing from 0.
    pub stds: Vec<f32>,
    /// The mean of ⟨x̃ − x, ∇E/‖∇E‖⟩ at each of them, never decreasing.
    pub lengths: Vec<f32>,
}

/// Why numbers are no table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum TableError {
    #[error("{found} entries, expected 2 to {MOST_ENTRIES}")]
    Entries { found: usize },
    #[error("{found} numbers in column `{column}`, expected {expected} as in `{first}`")]
    Length {
        column: &'static str,
        found: usize,
        first: &'static str,
        expected: usize,
    },
    #[error("`{column}` holds {value} at entry {entry}, expected a finite number, {expected}")]
    Number {
        column: &'static str,
        entry: usize,
        value: f32,
        expected: &'static str,
    },
    #[error(
        "`{column}` has {value} at entry {entry} behind {before}, expected {expected}: a table must be monotone"
    )]
    NotMonotone {
        column: &'static str,
        entry: usize,
        value: f32,
        before: f32,
        expected: &'static str,
    },
}

impl Distances {
    /// Checks all three tables.
    ///
    /// # Errors
    /// The name of the first table that is none, and why.
    pub fn check(&self) -> Result<(), (&'static str, TableError)> {
        let named = |name| move |error| (name, error);
        self.joint.check().map_err(named("joint"))?;
        self.marginal.check().map_err(named("marginal"))?;
        self.known_noise.check().map_err(named("known_noise"))
    }

    /// The table of an energy; none of one that tells no distance.
    pub fn table(&self, energy: EnergyKind) -> Option<&DistanceTable> {
        match energy {
            EnergyKind::Joint => Some(&self.joint),
            EnergyKind::Marginal => Some(&self.marginal),
            EnergyKind::Conditional => None,
        }
    }
}

impl DistanceTable {
    /// Checks that the columns are of one length, finite and monotone.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), TableError> {
        check_keys("energies", &self.energies, f32::NEG_INFINITY, "of any sign")?;
        let first = ("energies", self.energies.len());
        check_values("distances", &self.distances, first)?;
        check_values("factors", &self.factors, first)
    }

    /// d̂, the distance that an energy tells.
    pub fn distance(&self, energy: f32) -> f32 {
        interpolate(&self.energies, &self.distances, energy)
    }

    /// The factor of ∇E that leads to the best guess of the clean image.
    pub fn factor(&self, energy: f32) -> f32 {
        interpolate(&self.energies, &self.factors, energy)
    }
}

impl DistanceTable {
    /// The same factor for a distance that is known.
    pub fn factor_at(&self, distance: f32) -> f32 {
        interpolate(&self.distances, &self.factors, distance)
    }
}

impl NoiseTable {
    /// Checks that the columns are of one length, finite and monotone.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), TableError> {
        check_keys("stds", &self.stds, 0.0, "not below 0")?;
        check_values("lengths", &self.lengths, ("stds", self.stds.len()))
    }

    /// How far to go where the noise has this standard deviation.
    pub fn length(&self, std: f32) -> f32 {
        interpolate(&self.stds, &self.lengths, std)
    }
}

fn check_keys(
    column: &'static str,
    keys: &[f32],
    least: f32,
    expected: &'static str,
) -> Result<(), TableError> {
    let found = keys.len();
    if !(2..=MOST_ENTRIES).contains(&found) {
        return Err(TableError::Entries { found });
    }
    check_finite(column, keys, least, expected)?;
    check_order(column, keys, "more", |before, value| before < value)
}

fn check_values(
    column: &'static str,
    values: &[f32],
    (first, expected): (&'static str, usize),
) -> Result<(), TableError> {
    let found = values.len();
    if found != expected {
        return Err(TableError::Length {
            column,
            found,
            first,
            expected,
        });
    }
    check_finite(column, values, 0.0, "not below 0")?;
    check_order(column, values, "no less", |before, value| before <= value)
}

fn check_finite(
    column: &'static str,
    values: &[f32],
    least: f32,
    expected: &'static str,
) -> Result<(), TableError> {
    let fault = values.iter().position(|v| !v.is_finite() || *v < least);
    fault.map_or(Ok(()), |entry| {
        Err(TableError::Number {
            column,
            entry,
            value: values[entry],
            expected,
        })
    })
}

fn check_order(
    column: &'static str,
    values: &[f32],
    expected: &'static str,
    right: impl Fn(f32, f32) -> bool,
) -> Result<(), TableError> {
    let fault = values.windows(2).position(|pair| !right(pair[0], pair[1]));
    fault.map_or(Ok(()), |place| {
        Err(TableError::NotMonotone {
            column,
            entry: place + 1,
            value: values[place + 1],
            before: values[place],
            expected,
        })
    })
}

/// The value at `key`: linear between two entries, that of the nearest one beyond the ends.
fn interpolate(keys: &[f32], values: &[f32], key: f32) -> f32 {
    let behind = keys.partition_point(|&k| k < key);
    if behind == 0 {
        return values[0];
    }
    if behind == keys.len() {
        return values[behind - 1];
    }
    let share = (key - keys[behind - 1]) / (keys[behind] - keys[behind - 1]);
    values[behind - 1] + share * (values[behind] - values[behind - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> DistanceTable {
        DistanceTable {
            energies: vec![-1.0, 1.0, 5.0],
            distances: vec![0.5, 2.5, 2.5],
            factors: vec![1.0, 4.0, 8.0],
        }
    }

    #[test]
    fn it_is_linear_between_entries_and_constant_beyond() {
        let table = table();
        table.check().unwrap();
        let found = [-9.0, -1.0, 0.0, 1.0, 3.0, 5.0, 9.0].map(|e| table.distance(e));
        assert_eq!(found, [0.5, 0.5, 1.5, 2.5, 2.5, 2.5, 2.5]);
        let found = [-9.0, 0.0, 3.0, 9.0].map(|e| table.factor(e));
        assert_eq!(found, [1.0, 2.5, 6.0, 8.0]);
    }

    #[test]
    fn what_is_no_table_is_said() {
        let fault = |change: &dyn Fn(&mut DistanceTable)| {
            let mut table = table();
            change(&mut table);
            table.check().unwrap_err().to_string()
        };
        assert_eq!(
            fault(&|t| t.energies.truncate(1)),
            "1 entries, expected 2 to 256"
        );
        assert_eq!(
            fault(&|t| t.energies[1] = -1.0),
            "`energies` has -1 at entry 1 behind -1, expected more: a table must be monotone"
        );
        assert_eq!(
            fault(&|t| t.distances[2] = 2.0),
            "`distances` has 2 at entry 2 behind 2.5, expected no less: a table must be monotone"
        );
        assert_eq!(
            fault(&|t| t.factors[0] = f32::NAN),
            "`factors` holds NaN at entry 0, expected a finite number, not below 0"
        );
        assert_eq!(
            fault(&|t| t.factors.truncate(2)),
            "2 numbers in column `factors`, expected 3 as in `energies`"
        );
        let noise = NoiseTable {
            stds: vec![-0.1, 1.0],
            lengths: vec![0.0, 1.0],
        };
        let fault = noise.check().unwrap_err().to_string();
        assert!(fault.starts_with("`stds` holds -0.1 at entry 0"), "{fault}");
    }
}
