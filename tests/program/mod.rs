//! The built program, and what its runs leave behind.

#![allow(dead_code, reason = "each file of tests needs a part of it")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use safetensors::SafeTensors;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Runs `basin` in `directory` on the processor.
pub(crate) fn basin(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basin"))
        // Burn's default device, which nobody asks for here: to touch it ends the program.
        .env("BURN_DEVICE", "none")
        .current_dir(directory)
        .args(["--device", "cpu"])
        .args(arguments)
        .output()
        .unwrap()
}

/// As [`basin`], which must succeed; its standard output.
pub(crate) fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = basin(directory, arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "basin {}: {text}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}

/// As [`basin`], which must fail; its standard error.
pub(crate) fn fail(directory: &Path, arguments: &[&str]) -> String {
    let output = basin(directory, arguments);
    assert!(
        !output.status.success(),
        "basin {} succeeds",
        arguments.join(" ")
    );
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn recipes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("trainer/recipes")).unwrap();
    let mut recipes: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert!(recipes.len() >= 5, "{recipes:?}");
    recipes
}

/// Trains a recipe on the subset for some iterations, with small settings.
pub(crate) fn train<'a>(recipe: &'a Path, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", recipe.to_str().unwrap(), "--data-dir", data];
    for setting in [
        "validation=20",
        "batch_size=8",
        "checkpoint_every=2",
        "validate_every=1000",
        "generation.steps=2",
    ] {
        arguments.extend(["--set", setting]);
    }
    let text = std::fs::read_to_string(recipe).unwrap();
    let toml: toml::Table = toml::from_str(&text).unwrap();
    for setting in [
        "architecture.depth=10",
        "architecture.width=1",
        "method.steps=2",
        "method.buffer.capacity=32",
        "method.negatives.capacity=32",
        "method.negatives.gaussian_rank=4",
        "method.sampler.outer_steps=2",
        // So that its energy stage begins, and its ascents grow.
        "method.energy_from=0.25",
        "method.auc_images=8",
        "method.auc=0.0",
    ] {
        let mut keys = setting.split('=').next().unwrap().split('.');
        let section = &toml[keys.next().unwrap()];
        let there = keys
            .try_fold(section, |value, key| value.get(key))
            .is_some();
        // This network's width is in channels.
        let network = toml["architecture"]["name"].as_str().unwrap();
        let residual = network.ends_with("resnet_18");
        if there && !(residual && setting == "architecture.width=1") {
            arguments.extend(["--set", setting]);
        } else if residual && setting == "architecture.width=1" {
            arguments.extend(["--set", "architecture.width=16"]);
        }
    }
    arguments.extend(more);
    arguments
}

pub(crate) fn data() -> String {
    root().join("tests/data").to_str().unwrap().to_owned()
}

/// Oldest first.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| {
            // A kill may leave a `.part` behind, which is none.
            let path = path.to_str().unwrap();
            path.contains("checkpoint-") && path.ends_with(".safetensors")
        })
        .collect();
    found.sort();
    found
}

pub(crate) fn newest_checkpoint(run: &Path) -> Vec<u8> {
    std::fs::read(checkpoints(run).pop().unwrap()).unwrap()
}

/// A checkpoint's tensors but the optimiser's, which Burn writes in no particular order; that it is
/// the same shows in the weights two iterations on. The header holds seconds, which differ.
pub(crate) fn tensors(checkpoint: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let container = SafeTensors::deserialize(checkpoint).unwrap();
    let tensors = container.tensors().into_iter();
    tensors
        .filter(|(name, _)| name != "optimizer")
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

/// The checkpoint of an iteration.
pub(crate) fn checkpoint_of(run: &Path, iteration: usize) -> Vec<u8> {
    let name = format!("checkpoint-{iteration:08}");
    let mut found = checkpoints(run).into_iter();
    let path = found.find(|path| path.to_str().unwrap().contains(&name));
    std::fs::read(path.unwrap()).unwrap()
}
