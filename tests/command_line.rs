//! The built program, run as a user runs it, on the small real subset in `tests/data`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use basin_shared::ModelFile;
use safetensors::SafeTensors;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Runs `basin` in `directory` on the processor.
fn basin(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basin"))
        .current_dir(directory)
        .args(["--device", "cpu"])
        .args(arguments)
        .output()
        .unwrap()
}

/// As [`basin`], which must succeed; its standard output.
fn succeed(directory: &Path, arguments: &[&str]) -> String {
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
fn fail(directory: &Path, arguments: &[&str]) -> String {
    let output = basin(directory, arguments);
    assert!(
        !output.status.success(),
        "basin {} succeeds",
        arguments.join(" ")
    );
    String::from_utf8(output.stderr).unwrap()
}

fn recipes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("trainer/recipes")).unwrap();
    let mut recipes: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert!(recipes.len() >= 5, "{recipes:?}");
    recipes
}

/// Trains a recipe on the subset for some iterations, with small settings.
fn train<'a>(recipe: &'a Path, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", recipe.to_str().unwrap(), "--data-dir", data];
    for setting in [
        "validation=20",
        "batch_size=8",
        "checkpoint_every=2",
        "validate_every=1000",
        "architecture.depth=10",
        "architecture.width=1",
        "generation.steps=2",
    ] {
        arguments.extend(["--set", setting]);
    }
    if recipe
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .starts_with("jeat")
    {
        arguments.extend([
            "--set",
            "method.buffer.capacity=32",
            "--set",
            "method.steps=2",
        ]);
    }
    arguments.extend(more);
    arguments
}

fn data() -> String {
    root().join("tests/data").to_str().unwrap().to_owned()
}

fn newest_checkpoint(run: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let checkpoints = entries.filter(|path| path.to_str().unwrap().contains("checkpoint-"));
    std::fs::read(checkpoints.max().unwrap()).unwrap()
}

/// A checkpoint's tensors but the optimiser's, which Burn writes in no particular order; that it is
/// the same shows in the weights two iterations on. The header holds seconds, which differ.
fn tensors(checkpoint: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let container = SafeTensors::deserialize(checkpoint).unwrap();
    let tensors = container.tensors().into_iter();
    tensors
        .filter(|(name, _)| name != "optimizer")
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

#[test]
fn every_recipe_trains_and_resumes_bit_exactly() {
    let data = data();
    for recipe in recipes() {
        let directory = tempfile::tempdir().unwrap();
        let run = |name: &'static str, iterations: &'static str, resume: bool| {
            let mut more = vec!["--run", name, "--set", iterations];
            more.extend(resume.then_some("--resume"));
            succeed(directory.path(), &train(&recipe, &data, &more));
        };
        run("through", "iterations=4", false);
        // Interrupted: the last checkpoints of a run through are taken away.
        run("resumed", "iterations=4", false);
        std::fs::remove_file(
            directory
                .path()
                .join("resumed/checkpoint-00000004.safetensors"),
        )
        .unwrap();
        run("resumed", "iterations=4", true);
        let [through, resumed] =
            ["through", "resumed"].map(|name| newest_checkpoint(&directory.path().join(name)));
        assert!(
            tensors(&through) == tensors(&resumed),
            "{} resumes otherwise",
            recipe.display()
        );
        let log = std::fs::read_to_string(directory.path().join("resumed/metrics.jsonl")).unwrap();
        let iterations: Vec<u64> = log
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["iteration"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(iterations, [1, 2, 3, 4], "{}", recipe.display());
    }
}

#[test]
fn a_model_goes_from_training_to_pictures_and_figures() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let more = ["--run", "run", "--set", "iterations=2"];
    succeed(directory, &train(&recipe, &data, &more));
    succeed(
        directory,
        &[
            "export",
            "run",
            "-o",
            "model.safetensors",
            "--rank",
            "8",
            "--data-dir",
            &data,
        ],
    );
    let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
    let file = ModelFile::read(&bytes).unwrap();
    assert_eq!(file.card.method, "jeat");
    assert_eq!(file.card.class_names[9], "Ankle boot");

    let generate = |output: &str, seed: &str| {
        let energies = format!("{output}.json");
        let arguments = [
            "generate",
            "model.safetensors",
            "-o",
            output,
            "--seed",
            seed,
            "--steps",
            "3",
            "--count",
            "2",
            "--classes",
            "Bag,1",
            "--energies",
            &energies,
        ];
        succeed(directory, &arguments);
        std::fs::read(directory.join(output)).unwrap()
    };
    let first = generate("a.png", "1");
    assert_eq!(
        first,
        generate("b.png", "1"),
        "the same seed draws the same picture"
    );
    assert_ne!(first, generate("c.png", "2"), "another seed draws another");
    let energies: Value =
        serde_json::from_slice(&std::fs::read(directory.join("a.png.json")).unwrap()).unwrap();
    assert_eq!(energies["energies"].as_array().unwrap().len(), 3);
    assert_eq!(energies["energies"][0].as_array().unwrap().len(), 4);

    let arguments = [
        "denoise",
        "model.safetensors",
        "--count",
        "3",
        "--steps",
        "2",
        "--data-dir",
        &data,
    ];
    assert!(succeed(directory, &arguments).contains("dB denoised"));
    // Its own output is a picture that it reads.
    succeed(
        directory,
        &[
            "denoise",
            "model.safetensors",
            "a.png",
            "--noise",
            "0",
            "--steps",
            "1",
        ],
    );

    let arguments = [
        "evaluate",
        "model.safetensors",
        "--judge",
        "model.safetensors",
        "--attacked",
        "20",
        "--generated",
        "2",
        "--json",
        "-",
        "--update-card",
        "--data-dir",
        &data,
    ];
    let figures: Value = serde_json::from_str(&succeed(directory, &arguments)).unwrap();
    for name in [
        "clean_accuracy",
        "judge_agrees_uniform",
        "denoising_psnr_gain",
        "diversity_uniform",
    ] {
        assert!(
            figures["figures"][name].is_number(),
            "{name} is missing in {figures}"
        );
    }
    let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
    let card = ModelFile::read(&bytes).unwrap().card;
    assert_eq!(
        card.metrics["clean_accuracy"],
        figures["figures"]["clean_accuracy"]
    );
}

#[test]
fn a_run_goes_on_under_another_recipe_only_where_asked() {
    let data = data();
    let directory = tempfile::tempdir().unwrap();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let arguments = |more: &[&'static str]| -> Vec<String> {
        let all = train(&recipe, &data, &["--run", "run"]).into_iter();
        all.chain(more.iter().copied()).map(String::from).collect()
    };
    let run = |more: &[&'static str]| {
        let arguments = arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        basin(directory.path(), &arguments)
    };
    assert!(run(&["--set", "iterations=2"]).status.success());
    let longer = ["--resume", "--set", "iterations=4"];
    let refused = run(&longer);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && text.contains("--change-recipe"),
        "{text}"
    );
    let changed = [&longer[..], &["--change-recipe"]].concat();
    assert!(run(&changed).status.success());
    let kept = directory.path().join("run/recipe-00000002.toml");
    assert!(
        std::fs::read_to_string(kept)
            .unwrap()
            .contains("iterations = 4")
    );
    let other = [&changed[..], &["--set", "architecture.width=2"]].concat();
    let refused = run(&other);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && text.contains("the network"),
        "{text}"
    );
}

#[test]
fn divergence_rolls_back_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let data = data();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    // A rate that explodes at once, whatever the clipping.
    let more = [
        "--run",
        "run",
        "--set",
        "iterations=6",
        "--set",
        "schedule.peak=1e20",
        "--set",
        "divergence.rate_factor=1e-23",
    ];
    let output = basin(directory.path(), &train(&recipe, &data, &more));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("diverged") && text.contains("back to iteration"),
        "{text}"
    );
}

#[test]
fn errors_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let recipe = recipe.to_str().unwrap();
    std::fs::write(directory.join("odd.toml"), "name = \"x\"\ncolour = 3\n").unwrap();
    std::fs::write(directory.join("broken.safetensors"), b"<html>").unwrap();
    for (arguments, expected) in [
        (vec!["train", "odd.toml"], "colour"),
        (vec!["train", "nowhere.toml"], "nowhere.toml"),
        (
            vec!["train", recipe, "--set", "speed=3", "--data-dir", &data],
            "the recipe has no `speed`",
        ),
        (
            vec![
                "train",
                recipe,
                "--set",
                "architecture.depth=11",
                "--data-dir",
                &data,
            ],
            "6n + 4",
        ),
        (
            vec!["train", recipe, "--set", "batch_size", "--data-dir", &data],
            "expected key=value",
        ),
        (
            vec![
                "train",
                recipe,
                "--resume",
                "--set",
                "validation=20",
                "--run",
                "empty",
                "--data-dir",
                &data,
            ],
            "without --resume",
        ),
        (
            vec!["generate", "broken.safetensors"],
            "broken.safetensors: this is no safetensors file",
        ),
        (vec!["export", "nowhere"], "nowhere"),
        (
            vec!["train", recipe, "--data-dir", &data],
            "validation is 2000, expected fewer than the 500 training images",
        ),
    ] {
        let error = fail(directory, &arguments);
        assert!(
            error.contains(expected),
            "`{error}` should say `{expected}`"
        );
    }
}
