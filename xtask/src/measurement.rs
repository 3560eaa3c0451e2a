//! A measurement, and the rows that compare two.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{output, program};

/// A command, and where in the JSON that it prints the number is; where it prints several, the
/// smallest counts: a peer's best mode.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) command: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) pointer: &'static str,
}

/// One line of the report.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Measurement,
    pub(crate) peer: Option<Measurement>,
    /// Most that ours, as a share of the peer's where there is one, may be.
    pub(crate) bar: Option<f64>,
    /// Takes minutes, or is the same every time: only measured in the first round.
    pub(crate) once: bool,
}

impl Measurement {
    pub(crate) fn new(command: &[&str], folder: PathBuf, pointer: &'static str) -> Self {
        Self {
            command: command.iter().map(|word| word.to_string()).collect(),
            folder,
            pointer,
        }
    }

    /// What the command printed; nothing where it failed, which is told and costs only its rows.
    pub(crate) fn run(&self) -> Vec<Value> {
        let arguments: Vec<&str> = self.command[1..].iter().map(String::as_str).collect();
        let mut command = program(&self.command[0], &arguments);
        let printed = output(command.current_dir(&self.folder)).and_then(|text| parse(&text));
        printed.unwrap_or_else(|error| {
            eprintln!("xtask: not measured: {error:#}");
            Vec::new()
        })
    }
}

impl Row {
    /// `found` has the numbers of all rounds, ours and the peer's.
    pub(crate) fn report(&self, found: [Vec<f64>; 2]) -> Value {
        let [ours, peer] = found.each_ref().map(|numbers| median(numbers));
        let ratio = ours.zip(peer).map(|(ours, peer)| ours / peer);
        let judged = if self.peer.is_some() { ratio } else { ours };
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": ours,
            "peer": peer,
            "ratio": ratio,
            "bar": self.bar,
            "met": judged.zip(self.bar).map(|(judged, bar)| judged <= bar),
            "rounds": { "ours": found[0], "peer": found[1] },
        })
    }
}

/// The JSON values in what a program printed, which may follow lines of another kind.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    let start = text.find('{').context("the benchmark printed no JSON")?;
    let values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
    let values: Result<_, _> = values.collect();
    values.context("the benchmark printed broken JSON")
}

/// The smallest number at this place of the values that have one.
pub(crate) fn smallest(values: &[Value], pointer: &str) -> Option<f64> {
    let numbers = values.iter().filter_map(|v| v.pointer(pointer)?.as_f64());
    numbers.min_by(f64::total_cmp)
}

pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        Some((sorted.get(middle.checked_sub(1)?)? + sorted[middle]) / 2.0)
    } else {
        sorted.get(middle).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::root;

    fn row(peer: bool, bar: Option<f64>) -> Row {
        let measurement = Measurement::new(&["true"], root(), "/a");
        Row {
            name: "a row".into(),
            unit: "ms",
            peer: peer.then(|| measurement.clone()),
            ours: measurement,
            bar,
            once: false,
        }
    }

    #[test]
    fn a_row_with_a_peer_is_judged_by_the_ratio_of_the_medians() {
        let found = || [vec![9.0, 2.0, 4.0], vec![5.0, 1.0, 50.0]];
        let report = row(true, Some(1.0)).report(found());
        assert_eq!(
            (&report["ours"], &report["peer"]),
            (&json!(4.0), &json!(5.0))
        );
        assert_eq!(
            (&report["ratio"], &report["met"]),
            (&json!(0.8), &json!(true))
        );
        assert_eq!(row(true, Some(0.7)).report(found())["met"], false);
        assert!(row(true, None).report(found())["met"].is_null());
    }

    #[test]
    fn a_row_without_a_peer_is_judged_by_itself_and_an_unmeasured_one_not_at_all() {
        let report = row(false, Some(50.0)).report([vec![49.0, 53.0], vec![]]);
        assert_eq!(
            (&report["ours"], &report["met"]),
            (&json!(51.0), &json!(false))
        );
        assert!(report["ratio"].is_null());
        let report = row(true, Some(1.0)).report([vec![3.0], vec![]]);
        assert!(report["peer"].is_null() && report["ratio"].is_null() && report["met"].is_null());
        assert!(row(false, Some(1.0)).report([vec![], vec![]])["met"].is_null());
    }

    #[test]
    fn json_is_found_after_other_lines_and_the_best_mode_counts() {
        let text = "\n> basin-e2e\n{\"ms\": 3}\n{\"ms\": 2.5}\n{\"error\": \"no\"}\n";
        let values = parse(text).unwrap();
        assert_eq!(smallest(&values, "/ms"), Some(2.5));
        assert_eq!(smallest(&values, "/absent"), None);
        assert!(parse("nothing").is_err() && parse("{\"a\"").is_err());
    }
}
