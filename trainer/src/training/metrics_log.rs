//! `metrics.jsonl`: a line of figures for each iteration.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use crate::{atomic_file::write_atomically, training::checkpoint::CheckpointError};

/// The name of the note that a run was rolled back.
pub(crate) const ROLLED_BACK: &str = "rolled_back";

/// The file, and the lines that it had no room for yet: a full disk stops no training.
pub(crate) struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Bytes of the file's whole lines.
    length: u64,
    waiting: String,
}

impl MetricsLog {
    /// Opens the file of a run that has done so many iterations, without the lines of later ones.
    pub(crate) fn open(path: &Path, iteration: usize) -> Result<Self, CheckpointError> {
        // Where a run was rolled back, iterations come again: what was abandoned goes.
        let mut kept: Vec<(u64, String)> = Vec::new();
        if let Ok(file) = File::open(path) {
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                let Some(at) = iteration_of(&line) else { break };
                let note = line.contains(ROLLED_BACK);
                let repeated = |(before, _): &(u64, String)| match note {
                    true => *before > at,
                    false => *before >= at,
                };
                while kept.last().is_some_and(repeated) {
                    kept.pop();
                }
                kept.push((at, line));
            }
        }
        kept.retain(|(at, _)| *at <= iteration as u64);
        let text: String = kept.into_iter().map(|(_, line)| line + "\n").collect();
        write_atomically(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            path: path.into(),
            file: file.map_err(|source| CheckpointError::Io {
                path: path.display().to_string(),
                source,
            })?,
            length: text.len() as u64,
            waiting: String::new(),
        })
    }

    /// Whether lines wait for room.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Appends a line. Where that fails it waits for the next one, and the file keeps whole lines.
    pub(crate) fn append(&mut self, line: &serde_json::Value) -> Result<(), CheckpointError> {
        self.waiting += &format!("{line}\n");
        match self.file.write_all(self.waiting.as_bytes()) {
            Ok(()) => {
                self.length += self.waiting.len() as u64;
                self.waiting.clear();
                Ok(())
            }
            Err(source) => {
                // Part of a line may have had room.
                let _ = self.file.set_len(self.length);
                Err(CheckpointError::Io {
                    path: self.path.display().to_string(),
                    source,
                })
            }
        }
    }
}

fn iteration_of(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["iteration"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_of_later_iterations_are_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        for iteration in 1..=3 {
            log.append(&json!({"iteration": iteration})).unwrap();
        }
        let mut log = MetricsLog::open(&path, 2).unwrap();
        log.append(&json!({"iteration": 3, "again": true})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "{\"iteration\":1}\n{\"iteration\":2}\n{\"again\":true,\"iteration\":3}\n";
        assert_eq!(text, expected);
    }

    /// The second pass is the run; the first is not, and the note says where it ended.
    #[test]
    fn what_a_roll_back_abandoned_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        for iteration in 1..=6 {
            log.append(&json!({"iteration": iteration, "pass": 1}))
                .unwrap();
        }
        log.append(&json!({"iteration": 4, ROLLED_BACK: "diverged"}))
            .unwrap();
        for iteration in 5..=9 {
            log.append(&json!({"iteration": iteration, "pass": 2}))
                .unwrap();
        }
        MetricsLog::open(&path, 8).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let found: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| (line["iteration"].as_u64().unwrap(), line["pass"].as_u64()))
            .collect();
        let first = (1..=4).map(|i| (i, Some(1)));
        let second = (5..=8).map(|i| (i, Some(2)));
        let expected: Vec<_> = first.chain([(4, None)]).chain(second).collect();
        assert_eq!(found, expected);
    }

    /// `/dev/full` has room for nothing.
    #[cfg(target_os = "linux")]
    #[test]
    fn lines_wait_for_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let there = std::mem::replace(&mut log.file, full);
        let error = log.append(&json!({"iteration": 1})).unwrap_err();
        assert!(error.to_string().contains("metrics.jsonl"), "{error}");
        log.file = there;
        log.append(&json!({"iteration": 2})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"iteration\":1}\n{\"iteration\":2}\n");
    }
}
