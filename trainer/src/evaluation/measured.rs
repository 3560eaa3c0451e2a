//! What a part of an evaluation has found.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::figures::json::Figures;

/// Figures by name, and what else is to be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measured {
    /// In the order in which they were found; every one is finite.
    pub figures: Vec<(String, f64)>,
    /// Lists of numbers by name, such as those of a diagram.
    pub details: Map<String, Value>,
    /// What was not measured, and why.
    pub left_out: Vec<(String, String)>,
    /// Sentences that belong to the figures.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Measured {
    /// A figure; one that has no value here, as the distance of two images has none where there is one, is left out.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        match value.is_finite() {
            true => self.figures.push((name.into(), value)),
            false => self.leave_out(name, "it has no value here"),
        }
    }

    /// Something that cannot be measured.
    pub(crate) fn leave_out(&mut self, what: &str, why: impl Into<String>) {
        self.left_out.push((what.into(), why.into()));
    }

    /// A list of numbers.
    pub(crate) fn detail(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("plain data");
        self.details.insert(name.into(), value);
    }

    /// A figure by its name.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| *value)
    }

    /// Takes what another part has found.
    pub(crate) fn extend(&mut self, other: Self) {
        self.figures.extend(other.figures);
        self.details.extend(other.details);
        self.left_out.extend(other.left_out);
        self.notes.extend(other.notes);
        self.seconds += other.seconds;
    }

    /// The figures in the order of their names.
    pub(crate) fn by_name(&self) -> Figures {
        self.figures.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_left_out_with_its_name() {
        let mut measured = Measured::default();
        measured.add("diversity", f64::NAN);
        measured.add("accuracy", 0.0);
        assert_eq!(measured.figure("accuracy"), Some(0.0));
        assert_eq!(measured.figure("diversity"), None);
        assert_eq!(measured.left_out[0].0, "diversity");
        // As a state keeps it.
        let text = serde_json::to_string(&measured).unwrap();
        assert_eq!(serde_json::from_str::<Measured>(&text).unwrap(), measured);
    }
}
