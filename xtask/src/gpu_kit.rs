//! `cargo xtask gpu-kit`: a folder to carry to a borrowed GPU, where nothing is installed. See docs/MACHINES.md.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command::{cargo, output, program, root, run, step};

/// Largest file of the data set, in bytes.
const LARGEST_SHARD: usize = 60_000_000;

/// What goes into the kit.
pub(crate) struct Options {
    /// The folder of the kit; made anew.
    pub(crate) output: PathBuf,
    /// A folder that `basin --data-dir` understands.
    pub(crate) data: PathBuf,
    /// The peer's program, `bench.py`.
    pub(crate) peer: Option<PathBuf>,
    /// Without CUDA, to try the kit on the processor.
    pub(crate) cpu: bool,
    /// Leave CubeCL's LLVM unresolved, where it cannot be downloaded.
    pub(crate) without_llvm: bool,
}

/// Makes the kit.
pub(crate) fn make(options: &Options) -> Result<()> {
    let kit = &options.output;
    let built = step("the trainer", || build(options))?;
    if kit.exists() {
        // Nothing but an older kit is removed.
        ensure!(
            kit.join("run.sh").exists() || fs::read_dir(kit)?.next().is_none(),
            "{}: holds no kit; expected one, or a folder that is not there yet",
            kit.display()
        );
        fs::remove_dir_all(kit)?;
    }
    fs::create_dir_all(kit.join("recipes"))?;
    let path = |path: &Path| path.to_string_lossy().into_owned();

    let stripped = kit.join("basin");
    fs::copy(&built, &stripped).with_context(|| path(&built))?;
    run(&mut program("strip", &[&path(&stripped)]))?;
    run(&mut program("gzip", &["-9", &path(&stripped)]))?;
    for entry in fs::read_dir(root().join("trainer/recipes"))? {
        let entry = entry?;
        fs::copy(entry.path(), kit.join("recipes").join(entry.file_name()))?;
    }
    fs::copy(root().join("xtask/gpu-kit/run.sh"), kit.join("run.sh"))?;
    if let Some(peer) = &options.peer {
        fs::copy(peer, kit.join("bench.py")).with_context(|| path(peer))?;
    }
    shard(&options.data, kit)?;
    write_checksums(kit)?;
    println!("{}", kit.display());
    Ok(())
}

/// Builds `basin`; where it lies then.
fn build(options: &Options) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let mut target = target.map_or_else(|| root().join("target"), PathBuf::from);
    let mut build = match options.cpu {
        // As the unit tests build it: for these it is built again only after a change.
        true => cargo(&["test", "--release", "--locked", "--workspace", "--no-run"]),
        false => cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "basin",
            "--features",
            "cuda",
        ]),
    };
    if options.without_llvm {
        // CubeCL compiles its LLVM back end into every CUDA build and never calls it here, as the feature chooses
        // the one that goes through NVRTC: its symbols may stay unresolved, if every crate binds them lazily. With
        // DOCS_RS its build script fetches nothing. Other flags are another build of everything.
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let lazily = "-Crelro-level=partial -Clink-arg=-Wl,-z,lazy \
                      -Clink-arg=-Wl,--unresolved-symbols=ignore-all";
        target = target.join("without-llvm");
        build.env("DOCS_RS", "1");
        build.env("RUSTFLAGS", format!("{flags} {lazily}"));
    }
    run(build.env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release/basin"))
}

/// The data set as an archive in parts.
fn shard(data: &Path, kit: &Path) -> Result<()> {
    ensure!(
        data.is_dir(),
        "{}: no folder; expected the data set's",
        data.display()
    );
    let archive = kit.join("data.tar");
    let mut tar = program("tar", &["--create", "--file"]);
    run(tar.arg(&archive).arg("--directory").arg(data).arg("."))?;
    let bytes = fs::read(&archive)?;
    for (i, part) in bytes.chunks(LARGEST_SHARD).enumerate() {
        fs::write(kit.join(format!("data.tar.part-{i:03}")), part)?;
    }
    fs::remove_file(archive)?;
    Ok(())
}

/// As `sha256sum --check` reads them.
fn write_checksums(kit: &Path) -> Result<()> {
    let mut names = Vec::new();
    for folder in ["", "recipes/"] {
        for entry in fs::read_dir(kit.join(folder))? {
            let entry = entry?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.path().is_file() {
                names.push(name);
            }
        }
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let hash = Sha256::digest(fs::read(kit.join(&name))?);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{hash}  {name}\n");
    }
    fs::write(kit.join("SHA256SUMS"), text)?;
    Ok(())
}

/// Makes a kit without CUDA and runs it on the processor, for half a minute.
pub(crate) fn dry_run() -> Result<()> {
    let folder = root().join("target/gpu-kit-on-the-processor");
    make(&Options {
        output: folder.clone(),
        data: root().join("tests/data"),
        peer: None,
        cpu: true,
        without_llvm: false,
    })?;
    let script = folder.join("run.sh");
    let kit = |seconds: &str| {
        let mut script = program(&script.to_string_lossy(), &[seconds, "standard-cifar10"]);
        script
            .env("DEVICE", "cpu")
            .env("NETWORKS", "10-1")
            .env("BATCH", "8")
            .env("PRECISIONS", "f32")
            .env("CHECKS", "1")
            .env(
                "SETTINGS",
                "architecture.depth=10 architecture.width=1 batch_size=8 validation=20 validate_every=100000 \
                 checkpoint_every=100000 generation.steps=2",
            );
        output(&mut script)
    };
    let first = kit("60")?;
    eprint!("{first}");
    for expected in [
        "dsm-wrn-16-2-cifar10",
        "images/s",
        "\"loss\":",
        "results/checkpoint",
    ] {
        ensure!(
            first.contains(expected),
            "the kit's table lacks {expected}; its last lines say why"
        );
    }
    ensure!(
        folder.join("results/checkpoint/part-000").exists(),
        "the kit packed no checkpoint"
    );
    Ok(())
}
