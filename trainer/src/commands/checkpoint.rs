//! `basin checkpoint pack` and `unpack`: a run in files small enough to be carried anywhere.
//!
//! The newest checkpoint, compressed, is cut into parts; `pack.json` beside them says how many there
//! are and what their checksums are.

use std::{
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use basin_shared::file::container::hex;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{atomic_file::write_atomically, cli, methods::State, training::checkpoint::Checkpoint};

const MANIFEST: &str = "pack.json";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// The checkpoint's file name.
    checkpoint: String,
    parts: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: usize,
    sha256: String,
}

pub(crate) fn run(arguments: cli::Checkpoint) -> Result<()> {
    match arguments {
        cli::Checkpoint::Pack {
            run,
            output,
            part_size,
            without_buffer,
        } => pack(&run, &output, part_size, without_buffer),
        cli::Checkpoint::Unpack { parts, run } => unpack(&parts, &run),
    }
}

fn pack(run: &Path, output: &Path, part_size: usize, without_buffer: bool) -> Result<()> {
    ensure!(part_size > 0, "--part-size is 0, expected at least 1");
    let mut checkpoint = Checkpoint::newest(run, |text| tell!("{text}"))?;
    let has_buffer = |state: &State| matches!(state, State::Replay(_));
    if without_buffer && checkpoint.states.iter().any(has_buffer) {
        checkpoint.states = vec![State::Stateless];
    }
    std::fs::create_dir_all(output).with_context(|| output.display().to_string())?;
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&checkpoint.to_bytes())?;
    let packed = packer.finish()?;
    let mut parts = Vec::new();
    for (number, bytes) in packed.chunks(part_size * 1_000_000).enumerate() {
        let name = format!("part-{number:03}");
        write_atomically(&output.join(&name), bytes)?;
        parts.push(Part {
            name,
            bytes: bytes.len(),
            sha256: hex(&Sha256::digest(bytes)),
        });
    }
    let manifest = Manifest {
        version: VERSION,
        checkpoint: format!(
            "checkpoint-{:08}-epoch-packed.safetensors",
            checkpoint.progress.iteration
        ),
        parts,
    };
    let json = serde_json::to_vec_pretty(&manifest)?;
    write_atomically(&output.join(MANIFEST), &json)?;
    tell!(
        "{}: {} parts of iteration {}; make a run of them with `basin checkpoint unpack`",
        output.display(),
        manifest.parts.len(),
        checkpoint.progress.iteration
    );
    Ok(())
}

fn unpack(parts: &Path, run: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = parts.join(name);
        std::fs::read(&path).with_context(|| path.display().to_string())
    };
    let manifest: Manifest = serde_json::from_slice(&read(MANIFEST)?)
        .with_context(|| format!("{}: {MANIFEST}", parts.display()))?;
    ensure!(
        manifest.version == VERSION,
        "{}: version {}, this `basin` reads {VERSION}",
        parts.display(),
        manifest.version
    );
    let mut packed = Vec::new();
    for part in &manifest.parts {
        let bytes = read(&part.name)?;
        let found = hex(&Sha256::digest(&bytes));
        ensure!(
            found == part.sha256,
            "{}: {} bytes with the SHA-256 {found}, expected {} bytes with {}; copy it again",
            parts.join(&part.name).display(),
            bytes.len(),
            part.bytes,
            part.sha256
        );
        packed.extend(bytes);
    }
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .with_context(|| parts.display().to_string())?;
    std::fs::create_dir_all(run).with_context(|| run.display().to_string())?;
    let recipe = run.join("recipe.toml");
    ensure!(
        !recipe.exists(),
        "{}: holds a run already; name another directory with --run",
        run.display()
    );
    let path = run.join(&manifest.checkpoint);
    write_atomically(&path, &bytes)?;
    let checkpoint = Checkpoint::read(&path)?;
    write_atomically(&recipe, checkpoint.recipe.as_bytes())?;
    tell!(
        "{}: iteration {}; go on with `basin train {} --run {} --resume`",
        run.display(),
        checkpoint.progress.iteration,
        recipe.display(),
        run.display()
    );
    Ok(())
}
