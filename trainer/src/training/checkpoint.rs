//! Checkpoints: all that a run needs to go on, in one file that is there whole or not at all.
//!
//! A checkpoint is a safetensors file: `model.*` and `ema.*`, `optimizer.*`, `state.*` of the method (on several devices also `state-1.*` and so on), and a header that says
//! where the run was and holds a checksum of all numbers. Random state needs no place, as
//! every draw comes from the seed and the iteration; nor does the position in the epoch.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use basin_shared::{
    arrays::{Array, Weights},
    file::{card::Origin, container::hex},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::optimizer::OptimizerState;
use crate::{
    atomic_file::{WriteError, write_atomically},
    methods::State,
};

/// The version that is written.
pub(crate) const VERSION: u32 = 5;
/// The oldest that is read: of one device, and begun with random weights.
const OLDEST: u32 = 2;
/// The oldest of a run that can go on: before it, the optimiser's state was kept otherwise.
const OLDEST_RESUMED: u32 = 5;
const HEADER_KEY: &str = "basin-checkpoint";
/// Checkpoints kept: the newest and one to fall back on …
const NEWEST: usize = 3;
/// … and those with the highest metric.
const BEST: usize = 3;

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Iterations done.
    pub iteration: usize,
    /// Factor of the learning rate, below 1 after roll-backs.
    pub rate_scale: f64,
    /// Roll-backs so far.
    pub roll_backs: usize,
    /// The iteration that the last roll-back went to.
    #[serde(default)]
    pub rolled_back_to: Option<usize>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The machines' devices so far, one machine after the other.
    #[serde(default)]
    pub hardware: Vec<String>,
}

impl Progress {
    /// The iterations among which a run that diverged in this one looks for its good weights: those before the number
    /// returned, where the newest checkpoint is of iteration `kept`. The figures that told of it are those of the
    /// weights that the iteration began with, so that a checkpoint of them is none to go on from; nor is one from
    /// which the run has come here once.
    pub(crate) fn good_before(&self, kept: usize) -> usize {
        match self.rolled_back_to {
            Some(before) if kept == before => before,
            _ => self.iteration,
        }
    }

    /// Notes where the run goes on.
    pub(crate) fn go_on_with(&mut self, hardware: &str) {
        if self.hardware.last().is_none_or(|last| last != hardware) {
            self.hardware.push(hardware.into());
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    progress: Progress,
    recipe: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun_with: Option<Origin>,
    /// The checksum of all tensors' names and bytes, in the order of the names.
    sha256: String,
}

/// All that a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// The version of the file; [`VERSION`] where it is new.
    pub version: u32,
    pub progress: Progress,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// The model file that the run began with.
    pub begun_with: Option<Origin>,
    pub model: Weights,
    pub ema: Weights,
    /// The optimiser's state; empty where the version is older than those that can go on.
    pub optimizer: OptimizerState,
    /// The method's state, one for each device; a single one where the method keeps nothing.
    pub states: Vec<State>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: not a whole checkpoint: {fault}")]
    Damaged { path: String, fault: String },
    #[error("{path}: checkpoint version {found}, this `basin` reads {OLDEST} to {VERSION}")]
    Version { path: String, found: u32 },
    #[error(
        "the checkpoint is of version {found}, and from version {OLDEST_RESUMED} on an optimiser's state is kept \
         otherwise: this one cannot go on. Make a model of it with `basin export`, and begin a run with --weights \
         and that file"
    )]
    Old { found: u32 },
    #[error("{directory}: no whole checkpoint there; start the run without --resume")]
    None { directory: String },
}

impl Checkpoint {
    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut array = |name: String, array: &Array| {
            let bytes = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((name, Dtype::F32, array.shape.clone(), bytes));
        };
        for (prefix, weights) in [("model", &self.model), ("ema", &self.ema)] {
            for (name, weight) in weights {
                array(format!("{prefix}.{name}"), weight);
            }
        }
        for (replica, state) in self.states.iter().enumerate() {
            for (name, numbers) in state.to_arrays() {
                array(format!("{}.{name}", state_part(replica)), &numbers);
            }
        }
        for (name, numbers) in &self.optimizer.arrays {
            array(format!("optimizer.{name}"), numbers);
        }
        for (name, count) in &self.optimizer.counts {
            let bytes = count.to_le_bytes().to_vec();
            tensors.push((format!("optimizer.{name}"), Dtype::U64, vec![], bytes));
        }
        let parts = tensors.iter();
        let parts = parts.map(|(name, _, _, bytes)| (name.as_str(), bytes.as_slice()));
        let header = Header {
            version: VERSION,
            progress: self.progress.clone(),
            recipe: self.recipe.clone(),
            begun_with: self.begun_with.clone(),
            sha256: checksum(parts.collect()),
        };
        let json = serde_json::to_string(&header).expect("a header is plain data");
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (
                name.as_str(),
                view.expect("as many bytes as the shape says"),
            )
        });
        let metadata = [(HEADER_KEY.to_owned(), json)].into();
        safetensors::serialize(views, Some(metadata)).expect("views are valid")
    }

    /// Writes `checkpoint-ITERATION-epoch-EPOCH-METRIC.safetensors` into the run's directory, without
    /// the metric where none was measured, then removes those that are neither among the newest nor
    /// among the best.
    pub(crate) fn write(
        &self,
        directory: &Path,
        epoch: usize,
        metric: Option<f64>,
    ) -> Result<PathBuf, CheckpointError> {
        let iteration = self.progress.iteration;
        let metric = metric.map_or_else(String::new, |metric| format!("-{metric:.4}"));
        let name = format!("checkpoint-{iteration:08}-epoch-{epoch}{metric}.safetensors");
        let path = directory.join(name);
        let bytes = self.to_bytes();
        // What could not be read again replaces nothing.
        Self::parse(&path, &bytes)?;
        write_atomically(&path, &bytes)?;
        // One of before a roll-back, of the same iteration, is no longer of this run.
        let mut others = list(directory)?;
        others.retain(|other| *other != path);
        let same = |other: &PathBuf| iteration_of(other) == Some(iteration);
        let (replaced, others): (Vec<_>, Vec<_>) = others.into_iter().partition(same);
        let mut ranked: Vec<_> = others.iter().chain([&path]).collect();
        ranked.sort_by(|a, b| metric_of(b).total_cmp(&metric_of(a)));
        let best: Vec<_> = ranked
            .into_iter()
            .filter(|path| metric_of(path) > f64::NEG_INFINITY)
            .take(BEST)
            .collect();
        let old = others.iter().rev().skip(NEWEST - 1);
        for path in old.filter(|path| !best.contains(path)).chain(&replaced) {
            // Another process may have removed it; it is in nobody's way.
            let _ = std::fs::remove_file(path);
        }
        Ok(path)
    }

    /// Whether a run can go on from here.
    pub(crate) fn check_resumable(&self) -> Result<(), CheckpointError> {
        match self.version {
            OLDEST_RESUMED.. => Ok(()),
            found => Err(CheckpointError::Old { found }),
        }
    }

    /// Reads a checkpoint.
    pub(crate) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let shown = || path.display().to_string();
        let damaged = |fault: &dyn ToString| CheckpointError::Damaged {
            path: shown(),
            fault: fault.to_string(),
        };
        let container = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(HEADER_KEY));
        let json = json.ok_or_else(|| damaged(&"no header"))?;
        let header: Header = serde_json::from_str(json).map_err(|error| damaged(&error))?;
        if !(OLDEST..=VERSION).contains(&header.version) {
            return Err(CheckpointError::Version {
                path: shown(),
                found: header.version,
            });
        }
        let tensors = container.tensors();
        let bytes = tensors
            .iter()
            .map(|(name, view)| (name.as_str(), view.data()));
        let found = checksum(bytes.collect());
        if found != header.sha256 {
            let expected = header.sha256;
            return Err(damaged(&format!(
                "its numbers have the SHA-256 {found}, expected {expected}"
            )));
        }
        let mut parts: BTreeMap<String, Weights> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for (name, view) in tensors {
            // What Burn wrote of an optimiser, up to version 4.
            if name == "optimizer" {
                continue;
            }
            let (numbers, _) = view.data().as_chunks::<4>();
            let values = numbers
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            let (part, name) = name
                .split_once('.')
                .ok_or_else(|| damaged(&format!("odd tensor `{name}`")))?;
            if view.dtype() == Dtype::U64 {
                let count = view.data().try_into().map(u64::from_le_bytes);
                let count = count.map_err(|_| damaged(&format!("odd tensor `{name}`")))?;
                counts.insert(name.into(), count);
                continue;
            }
            let array = Array {
                shape: view.shape().to_vec(),
                values,
            };
            parts
                .entry(part.into())
                .or_default()
                .insert(name.into(), array);
        }
        let mut take = |part: &str| parts.remove(part);
        let missing = |part: &str| damaged(&format!("no {part}"));
        let mut states = Vec::new();
        while let Some(mut arrays) = take(&state_part(states.len())) {
            let state = State::from_arrays(|name| arrays.remove(name));
            states.push(state.ok_or_else(|| missing("whole state of the method"))?);
        }
        if states.is_empty() {
            states.push(State::Stateless);
        }
        Ok(Self {
            version: header.version,
            progress: header.progress,
            recipe: header.recipe,
            begun_with: header.begun_with,
            model: take("model").ok_or_else(|| missing("model"))?,
            ema: take("ema").ok_or_else(|| missing("ema"))?,
            optimizer: OptimizerState {
                arrays: take("optimizer").unwrap_or_default(),
                counts,
            },
            states,
        })
    }

    /// The checkpoints of a run's directory, oldest first.
    pub(crate) fn all(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        list(directory)
    }

    /// The newest whole checkpoint of a run's directory; a damaged one is named on `warn`.
    pub(crate) fn newest(
        directory: &Path,
        warn: impl FnMut(String),
    ) -> Result<Self, CheckpointError> {
        let newest_first = list(directory)?.into_iter().rev();
        Ok(Self::first_whole(directory, newest_first, warn)?.1)
    }

    /// The newest whole checkpoint of an iteration before `limit` whose weights are finite, or where there is none
    /// the oldest there is. It is noted in the file itself as the one that the run went back to, its roll-backs
    /// being `roll_backs` and its rate `rate_scale` now, so that a run that is killed here goes on in the same way;
    /// and those of later iterations go, as the run that they are of is abandoned.
    pub(crate) fn roll_back(
        directory: &Path,
        limit: usize,
        (roll_backs, rate_scale): (usize, f64),
        warn: impl FnMut(String),
    ) -> Result<Self, CheckpointError> {
        let paths = list(directory)?;
        let (early, late): (Vec<_>, Vec<_>) = paths
            .into_iter()
            .partition(|path| iteration_of(path).is_some_and(|iteration| iteration < limit));
        let candidates = early.into_iter().rev().chain(late);
        let (path, mut good) = Self::first_whole(directory, candidates, warn)?;
        let iteration = good.progress.iteration;
        good.progress = Progress {
            roll_backs,
            rate_scale,
            rolled_back_to: Some(iteration),
            ..good.progress
        };
        write_atomically(&path, &good.to_bytes())?;
        for path in list(directory)? {
            if iteration_of(&path).is_some_and(|other| other > iteration) {
                // Another process may have removed it; it is in nobody's way.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(good)
    }

    /// Whether all weights, and the averaged ones, are numbers.
    fn is_finite(&self) -> bool {
        let mut arrays = self.model.values().chain(self.ema.values());
        arrays.all(|array| array.values.iter().all(|value| value.is_finite()))
    }

    /// How many checkpoints of a directory have a metric in their names.
    pub(crate) fn measured(directory: &Path) -> Result<usize, CheckpointError> {
        let paths = list(directory)?;
        let measured = paths
            .iter()
            .filter(|path| metric_of(path) > f64::NEG_INFINITY);
        Ok(measured.count())
    }

    /// The whole checkpoint with the highest metric, the newest of equals.
    pub(crate) fn best(
        directory: &Path,
        warn: impl FnMut(String),
    ) -> Result<Self, CheckpointError> {
        let mut paths = list(directory)?;
        paths.reverse();
        paths.sort_by(|a, b| metric_of(b).total_cmp(&metric_of(a)));
        Ok(Self::first_whole(directory, paths.into_iter(), warn)?.1)
    }

    fn first_whole(
        directory: &Path,
        paths: impl Iterator<Item = PathBuf>,
        mut warn: impl FnMut(String),
    ) -> Result<(PathBuf, Self), CheckpointError> {
        for path in paths {
            match Self::read(&path) {
                Ok(checkpoint) if checkpoint.is_finite() => return Ok((path, checkpoint)),
                Ok(_) => warn(format!(
                    "{}: has weights that are no numbers; trying the one before",
                    path.display()
                )),
                Err(error) => warn(format!("{error}; trying the one before")),
            }
        }
        Err(CheckpointError::None {
            directory: directory.display().to_string(),
        })
    }
}

/// What the names of a replica's state begin with.
fn state_part(replica: usize) -> String {
    match replica {
        0 => "state".into(),
        further => format!("state-{further}"),
    }
}

/// The metric in a checkpoint's name; below all others where there is none.
fn metric_of(path: &Path) -> f64 {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let metric = name.rsplit_once('-').map(|(_, last)| last);
    let metric = metric.filter(|last| last.contains('.'));
    metric
        .and_then(|metric| metric.parse().ok())
        .unwrap_or(f64::NEG_INFINITY)
}

/// The iteration in a checkpoint's name.
fn iteration_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("checkpoint-")?.get(..8)?.parse().ok()
}

/// The checkpoints of a directory, oldest first.
fn list(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: directory.display().to_string(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|n| n.starts_with("checkpoint-") && n.ends_with(".safetensors")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The SHA-256 of names and bytes, in the order of the names.
fn checksum(parts: BTreeMap<&str, &[u8]>) -> String {
    let mut hasher = Sha256::new();
    for (name, bytes) in parts {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::replay_buffer::ReplayBuffer;

    #[test]
    fn a_machine_is_noted_when_a_run_comes_to_it() {
        let mut progress = checkpoint(1).progress;
        for hardware in ["a", "b", "b", "a"] {
            progress.go_on_with(hardware);
        }
        assert_eq!(progress.hardware, ["a", "b", "a"]);
    }

    fn checkpoint(iteration: usize) -> Checkpoint {
        let weights_of = |name: &str| -> Weights {
            let array = Array {
                shape: vec![2, 1],
                values: vec![0.1, f32::MIN_POSITIVE],
            };
            [(name.to_owned(), array)].into()
        };
        let weights = weights_of("conv1.weight");
        Checkpoint {
            version: VERSION,
            progress: Progress {
                iteration,
                rate_scale: 0.5,
                roll_backs: 1,
                rolled_back_to: None,
                seconds: 2.5,
                hardware: vec!["a".into()],
            },
            recipe: "name = \"x\"".into(),
            begun_with: Some(Origin {
                file: "model.safetensors".into(),
                weights_sha256: "0".repeat(64),
            }),
            model: weights.clone(),
            ema: weights,
            optimizer: OptimizerState {
                arrays: weights_of("conv1.weight.momentum.moment_1"),
                counts: [("conv1.weight.momentum.time".to_owned(), 1 << 40)].into(),
            },
            states: vec![
                State::Replay(ReplayBuffer::new(vec![0.25; 8], vec![3, 9], [1, 2, 2])),
                State::Replay(ReplayBuffer::new(vec![0.75; 4], vec![1], [1, 2, 2])),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = checkpoint(7).write(directory.path(), 0, None).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint(7));
    }

    #[test]
    fn the_newest_and_the_best_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = [
            None,
            Some(0.9),
            Some(0.1),
            Some(0.4),
            Some(0.8),
            Some(0.2),
            None,
        ];
        for (iteration, metric) in metrics.into_iter().enumerate() {
            checkpoint(iteration)
                .write(directory.path(), 0, metric)
                .unwrap();
        }
        let kept = list(directory.path()).unwrap();
        let kept: Vec<usize> = kept.iter().filter_map(|path| iteration_of(path)).collect();
        assert_eq!(kept, [1, 3, 4, 5, 6]);
        let best = Checkpoint::best(directory.path(), |warning| panic!("{warning}")).unwrap();
        assert_eq!(best.progress.iteration, 1);
        // After a roll-back an iteration is done once more.
        checkpoint(6).write(directory.path(), 0, Some(0.3)).unwrap();
        let kept = list(directory.path()).unwrap();
        let kept: Vec<usize> = kept.iter().filter_map(|path| iteration_of(path)).collect();
        assert_eq!(kept, [1, 3, 4, 5, 6]);
    }

    #[test]
    fn a_run_goes_back_to_sound_weights_and_further_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let back = |limit| {
            let good = Checkpoint::roll_back(path, limit, (2, 0.25), |_| {}).unwrap();
            // As one would find it who goes on after a kill.
            assert_eq!(Checkpoint::newest(path, |_| {}).unwrap(), good);
            assert_eq!(
                (good.progress.roll_backs, good.progress.rate_scale),
                (2, 0.25)
            );
            let kept = good.progress.iteration;
            assert_eq!(good.progress.good_before(kept), kept);
            let left = list(path).unwrap();
            let left = left.iter().filter_map(|path| iteration_of(path)).collect();
            (good.progress.iteration, left)
        };
        for (iteration, metric) in [(0, 0.9), (2, 0.8), (4, 0.7)] {
            checkpoint(iteration).write(path, 0, Some(metric)).unwrap();
        }
        let mut spoilt = checkpoint(6);
        let array = spoilt.model.values_mut().next().unwrap();
        array.values[0] = f32::NAN;
        spoilt.write(path, 0, Some(0.5)).unwrap();
        // Of the weights of iteration 6 nothing is known yet that would speak for them.
        let (good, left): (_, Vec<usize>) = back(8);
        assert_eq!((good, left), (4, vec![0, 2, 4]));
        let (good, left): (_, Vec<usize>) = back(4);
        assert_eq!((good, left), (2, vec![0, 2]));
        // There is nothing before the first one.
        let (good, left): (_, Vec<usize>) = back(0);
        assert_eq!((good, left), (0, vec![0]));
    }

    #[test]
    fn every_state_is_read_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let delta = Array {
            shape: vec![1, 1, 1, 2],
            values: vec![-0.5, 0.25],
        };
        for state in [
            State::Stateless,
            State::Perturbation(delta),
            State::Robust(0.375),
            State::Ascents(crate::methods::Ascents {
                steps: 7,
                auc_sum: 12.5,
                images: 96,
            }),
        ] {
            let written = Checkpoint {
                states: vec![state],
                ..checkpoint(3)
            };
            let path = written.write(directory.path(), 0, None).unwrap();
            assert_eq!(Checkpoint::read(&path).unwrap(), written);
        }
    }

    /// Wherever a byte is wrong, the file is not taken for whole.
    #[test]
    fn no_flipped_byte_goes_unseen() {
        let directory = tempfile::tempdir().unwrap();
        let whole = checkpoint(7);
        let path = whole.write(directory.path(), 0, None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(read) = Checkpoint::read(&path) {
                // A letter of the header's recipe, or a digit of its progress: numbers are whole.
                assert_eq!((&read.model, &read.states), (&whole.model, &whole.states));
            }
        }
    }

    #[test]
    fn a_damaged_newest_falls_back_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        for iteration in [5, 10, 15] {
            checkpoint(iteration)
                .write(directory.path(), 3, Some(0.5))
                .unwrap();
        }
        let newest = directory
            .path()
            .join("checkpoint-00000015-epoch-3-0.5000.safetensors");
        let bytes = std::fs::read(&newest).unwrap();
        std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
        let mut warnings = Vec::new();
        let found = Checkpoint::newest(directory.path(), |text| warnings.push(text)).unwrap();
        assert_eq!(found.progress.iteration, 10);
        assert!(
            warnings[0].contains("not a whole checkpoint"),
            "{warnings:?}"
        );
    }
}
