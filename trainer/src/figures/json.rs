//! Figures as JSON: beside them the model by its checksum, the seed and the settings, so that they can be had again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use basin_shared::ModelFile;
use serde_json::{Value, json};

use crate::atomic_file::{try_out, write_atomically};

/// Figures by name, in the order of their names.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Where figures go beside the lines for people; nowhere if nobody asked for them.
#[derive(Clone, Debug)]
pub(crate) struct JsonReport(Option<PathBuf>);

impl JsonReport {
    /// A report in this file, `-` for the standard output, which is tried out before anything is computed.
    pub(crate) fn to(path: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = &path {
            try_out(path).context("--json")?;
        }
        Ok(Self(path))
    }

    fn is_on_stdout(&self) -> bool {
        self.0.as_deref() == Some(Path::new("-"))
    }

    /// A result for people: on the standard output, unless that is for JSON.
    pub(crate) fn tell(&self, line: &str) {
        match self.is_on_stdout() {
            true => tell!("{line}"),
            false => say!("{line}"),
        }
    }

    /// Writes what was found of a model, and how.
    pub(crate) fn write_figures(
        &self,
        file: &ModelFile,
        seed: u64,
        settings: Value,
        figures: &Figures,
    ) -> Result<()> {
        self.write(&json!({
            "model": file.card.name, "weights_sha256": file.card.weights_sha256, "seed": seed,
            "settings": settings, "figures": figures,
        }))
    }

    /// Writes the report.
    pub(crate) fn write(&self, report: &Value) -> Result<()> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        if self.is_on_stdout() {
            say!("{report}");
            return Ok(());
        }
        write_atomically(path, report.to_string().as_bytes()).context("--json")
    }
}
