//! Checkpoints: all that a run needs to go on, in one file that is there whole or not at all.
//!
//! A checkpoint is a safetensors file: `model.*` and `ema.*`, the optimiser's state as Burn writes
//! it, the replay buffer, and a header that says where the run was. Random state needs no place, as
//! every draw comes from the seed and the iteration; nor does the position in the epoch.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use basin_shared::weights::{Array, Weights};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{methods::State, replay_buffer::ReplayBuffer};

const VERSION: u32 = 1;
const HEADER_KEY: &str = "basin-checkpoint";
/// Checkpoints kept: the newest, and one to fall back on.
const KEPT: usize = 2;

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
    /// Seconds of training so far.
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    progress: Progress,
    recipe: String,
}

/// All that a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    pub progress: Progress,
    /// The resolved recipe, TOML.
    pub recipe: String,
    pub model: Weights,
    pub ema: Weights,
    /// The optimiser's state.
    pub optimizer: Vec<u8>,
    pub state: State,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: not a whole checkpoint: {fault}")]
    Damaged { path: String, fault: String },
    #[error("{path}: checkpoint version {found}, this `basin` reads {VERSION}")]
    Version { path: String, found: u32 },
    #[error("{directory}: no whole checkpoint there; start the run without --resume")]
    None { directory: String },
}

impl Checkpoint {
    /// Writes `checkpoint-ITERATION.safetensors` into the run's directory, then removes older ones.
    pub(crate) fn write(&self, directory: &Path) -> Result<PathBuf, CheckpointError> {
        let path = directory.join(format!(
            "checkpoint-{:08}.safetensors",
            self.progress.iteration
        ));
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
        if let State::Replay(buffer) = &self.state {
            let [images, labels] = buffer.to_arrays();
            array("buffer.images".into(), &images);
            array("buffer.labels".into(), &labels);
        }
        let state = self.optimizer.clone();
        tensors.push(("optimizer".into(), Dtype::U8, vec![state.len()], state));
        let header = Header {
            version: VERSION,
            progress: self.progress.clone(),
            recipe: self.recipe.clone(),
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
        let bytes = safetensors::serialize(views, Some(metadata)).expect("views are valid");
        write_atomically(&path, &bytes)?;
        for old in list(directory)?.into_iter().rev().skip(KEPT) {
            // Another process may have removed it; it is in nobody's way.
            let _ = std::fs::remove_file(old);
        }
        Ok(path)
    }

    /// Reads a checkpoint.
    pub(crate) fn read(path: &Path) -> Result<Self, CheckpointError> {
        let shown = || path.display().to_string();
        let damaged = |fault: &dyn ToString| CheckpointError::Damaged {
            path: shown(),
            fault: fault.to_string(),
        };
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            path: shown(),
            source,
        })?;
        let container = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(HEADER_KEY));
        let json = json.ok_or_else(|| damaged(&"no header"))?;
        let header: Header = serde_json::from_str(json).map_err(|error| damaged(&error))?;
        if header.version != VERSION {
            return Err(CheckpointError::Version {
                path: shown(),
                found: header.version,
            });
        }
        let mut parts: BTreeMap<String, Weights> = BTreeMap::new();
        let mut optimizer = None;
        for (name, view) in container.tensors() {
            if name == "optimizer" {
                optimizer = Some(view.data().to_vec());
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
        let state = match take("buffer") {
            None => State::Stateless,
            Some(mut buffer) => {
                let arrays = buffer.remove("images").zip(buffer.remove("labels"));
                let buffer = arrays.and_then(|(x, y)| ReplayBuffer::from_arrays([x, y]));
                State::Replay(buffer.ok_or_else(|| missing("whole buffer"))?)
            }
        };
        Ok(Self {
            progress: header.progress,
            recipe: header.recipe,
            model: take("model").ok_or_else(|| missing("model"))?,
            ema: take("ema").ok_or_else(|| missing("ema"))?,
            optimizer: optimizer.ok_or_else(|| missing("optimizer"))?,
            state,
        })
    }

    /// The newest whole checkpoint of a run's directory; a damaged one is named on `warn`.
    pub(crate) fn newest(
        directory: &Path,
        mut warn: impl FnMut(String),
    ) -> Result<Self, CheckpointError> {
        for path in list(directory)?.into_iter().rev() {
            match Self::read(&path) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error) => warn(format!("{error}; trying the one before")),
            }
        }
        Err(CheckpointError::None {
            directory: directory.display().to_string(),
        })
    }
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

/// Writes a file beside its place, flushes it to the disk and renames it: a reader meets the old
/// bytes or the new ones, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let mut file = File::create(&partial).map_err(io)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    std::fs::rename(&partial, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(iteration: usize) -> Checkpoint {
        let array = Array {
            shape: vec![2, 1],
            values: vec![0.1, f32::MIN_POSITIVE],
        };
        let weights: Weights = [("conv1.weight".to_owned(), array)].into();
        Checkpoint {
            progress: Progress {
                iteration,
                rate_scale: 0.5,
                roll_backs: 1,
                seconds: 2.5,
            },
            recipe: "name = \"x\"".into(),
            model: weights.clone(),
            ema: weights,
            optimizer: vec![1, 2, 3],
            state: State::Replay(ReplayBuffer::new(vec![0.25; 8], vec![3, 9], [1, 2, 2])),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = checkpoint(7).write(directory.path()).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint(7));
    }

    #[test]
    fn a_damaged_newest_falls_back_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        for iteration in [5, 10, 15] {
            checkpoint(iteration).write(directory.path()).unwrap();
        }
        let newest = directory.path().join("checkpoint-00000015.safetensors");
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
