//! The built program, run as a user runs it, on the small real subset in `tests/data`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use basin_shared::ModelFile;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
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

fn data() -> String {
    root().join("tests/data").to_str().unwrap().to_owned()
}

/// Oldest first.
fn checkpoints(run: &Path) -> Vec<PathBuf> {
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

fn newest_checkpoint(run: &Path) -> Vec<u8> {
    std::fs::read(checkpoints(run).pop().unwrap()).unwrap()
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
            checkpoints(&directory.path().join("resumed"))
                .pop()
                .unwrap(),
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

/// As `torch.nn.DataParallel` and a wrapper that normalises would save it.
fn state_dictionary(file: &ModelFile) -> Vec<u8> {
    let bytes = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let weights = file.weights().iter();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = weights
        .map(|(name, array)| {
            let name = format!("module.model.{name}");
            (name, Dtype::F32, array.shape.clone(), bytes(&array.values))
        })
        .collect();
    let counter = "module.model.bn1.num_batches_tracked".into();
    tensors.push((counter, Dtype::I64, vec![], vec![0; 8]));
    let unused = "module.model.sub_block1.layer.0.conv1.weight".into();
    tensors.push((unused, Dtype::F32, vec![1], vec![0; 4]));
    tensors.push((
        "module.mean".into(),
        Dtype::F32,
        vec![1, 1, 1],
        bytes(&[0.5]),
    ));
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Training with BatchNorm: running statistics are part of checkpoint, average and model file.
#[test]
fn networks_with_batch_norm_train_resume_and_export() {
    let data = data();
    let standard = root().join("trainer/recipes/at-fashion-mnist.toml");
    let standard = std::fs::read_to_string(standard).unwrap();
    let (before, rest) = standard.split_once("[architecture]").unwrap();
    let (_, after) = rest.split_once("[initialization]").unwrap();
    let wide = "depth = 10\nwidth = 1\nactivation = \"silu\"";
    let pre_act = "width = 16\nfinal_batch_norm = false";
    for (name, fields, statistic) in [
        (
            "standard_wide_resnet",
            wide,
            "block1.layer.0.bn2.running_var",
        ),
        (
            "dm_wide_resnet",
            wide,
            "layer.0.block.0.batchnorm_1.running_var",
        ),
        ("pre_act_resnet_18", pre_act, "layer1.0.bn2.running_var"),
        ("resnet_18", "width = 16", "layer2.0.shortcut.1.running_var"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let architecture = format!(
            "[architecture]\nname = \"{name}\"\n{fields}\n\
             normalization = {{ mean = [0.5], std = [0.5] }}\n"
        );
        let recipe = directory.join("recipe.toml");
        std::fs::write(
            &recipe,
            format!("{before}{architecture}[initialization]{after}"),
        )
        .unwrap();
        let train = |run: &str, iterations: &str, more: &[&str]| {
            let mut arguments = vec!["train", "recipe.toml", "--run", run, "--data-dir", &data];
            for setting in [
                "validation=20",
                "batch_size=8",
                "checkpoint_every=2",
                "validate_every=1000",
                "generation.steps=2",
                "method.attack.steps=2",
                iterations,
            ] {
                arguments.extend(["--set", setting]);
            }
            arguments.extend(more);
            succeed(directory, &arguments);
        };
        train("through", "iterations=4", &[]);
        train("resumed", "iterations=4", &[]);
        std::fs::remove_file(checkpoints(&directory.join("resumed")).pop().unwrap()).unwrap();
        train("resumed", "iterations=4", &["--resume"]);
        let [through, resumed] =
            ["through", "resumed"].map(|run| tensors(&newest_checkpoint(&directory.join(run))));
        assert!(through == resumed, "{name} resumes otherwise");
        let first = checkpoints(&directory.join("through")).into_iter();
        let mut first = first.filter(|path| path.to_str().unwrap().contains("checkpoint-00000002"));
        let first = tensors(&std::fs::read(first.next().unwrap()).unwrap());
        for part in ["model", "ema"] {
            let tensor = format!("{part}.{statistic}");
            assert_ne!(
                first[&tensor], through[&tensor],
                "{name}: {tensor} stands still"
            );
        }

        let export = [
            "export",
            "through",
            "-o",
            "model.safetensors",
            "--rank",
            "8",
        ];
        succeed(directory, &[&export[..], &["--data-dir", &data]].concat());
        let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
        let file = ModelFile::read(&bytes).unwrap();
        assert!(!file.holds_single_precision());
        let stored = file.weights()[statistic].values.iter();
        let stored: Vec<u8> = stored.flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(
            stored,
            through[&format!("ema.{statistic}")],
            "{name}: {statistic}"
        );
        // The same as a state dictionary comes back from PyTorch, and in again.
        let saved = state_dictionary(&file);
        std::fs::write(directory.join("pytorch.safetensors"), saved).unwrap();
        let import = [
            "import",
            "pytorch.safetensors",
            "--recipe",
            "recipe.toml",
            "--rank",
            "8",
        ];
        let import = [
            &import[..],
            &["-o", "imported.safetensors", "--data-dir", &data],
        ]
        .concat();
        succeed(directory, &import);
        let bytes = std::fs::read(directory.join("imported.safetensors")).unwrap();
        let imported = ModelFile::read(&bytes).unwrap();
        assert_eq!(imported.weights(), file.weights(), "{name}");
        assert_eq!(imported.probe(), file.probe(), "{name}");
        let other = [
            &import[..],
            &["--set", "architecture.normalization.mean=[0.25]"],
        ]
        .concat();
        let text = fail(directory, &other);
        assert!(
            text.contains("`mean` is [0.5], the recipe's normalization has [0.25]"),
            "{text}"
        );
        let other = [&import[..], &["--set", "architecture.width=32"]].concat();
        if name.ends_with("resnet_18") {
            let text = fail(directory, &other);
            assert!(
                text.contains("the architecture wants [32, 1, 3, 3]"),
                "{text}"
            );
        }

        let generate = [
            "generate",
            "model.safetensors",
            "-o",
            "a.png",
            "--steps",
            "2",
        ];
        succeed(
            directory,
            &[&generate[..], &["--count", "1", "--classes", "Bag"]].concat(),
        );
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
fn a_folder_of_pictures_trains_and_names_its_classes() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (class, shade) in [("night", 30), ("day", 220)] {
        let folder = directory.join("times").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..40 {
            let shade = |x, y| image::Luma([(shade + (x * y + n) % 16) as u8]);
            let path = folder.join(format!("{n}.png"));
            image::GrayImage::from_fn(28, 28, shade).save(path).unwrap();
        }
    }
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let set = "data_set={ folder = { path = \"times\", classes = 2, size = 28, channels = 1 } }";
    let cutout = "augmentation.cutout.size=8";
    let more = [
        "--run",
        "run",
        "--set",
        "iterations=2",
        "--set",
        set,
        "--set",
        cutout,
    ];
    succeed(directory, &train(&recipe, ".", &more));
    let export = ["export", "run", "-o", "model.safetensors", "--rank", "4"];
    succeed(directory, &export);
    let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
    let card = ModelFile::read(&bytes).unwrap().card;
    assert_eq!(card.data_set, "times");
    assert_eq!(card.class_names, ["day", "night"]);

    // The card's recipe says where the pictures are.
    let denoise = [
        "denoise",
        "model.safetensors",
        "--count",
        "2",
        "--steps",
        "1",
    ];
    assert!(succeed(directory, &denoise).contains("2 images"));
    std::fs::rename(directory.join("times/night"), directory.join("times/dusk")).unwrap();
    let error = fail(directory, &denoise);
    assert!(
        error.contains("has the classes day, dusk, the model has day, night"),
        "{error}"
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

/// Wherever a run is killed, it goes on to the same bits.
#[test]
fn a_run_survives_being_killed_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let data = data();
    let recipe = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let arguments = |run: &'static str, resume: bool| {
        let mut more = vec!["--run", run, "--set", "iterations=12"];
        more.extend(["--set", "checkpoint_every=1"]);
        more.extend(resume.then_some("--resume"));
        let arguments = train(&recipe, &data, &more).into_iter();
        arguments.map(String::from).collect::<Vec<_>>()
    };
    let strings = |arguments: &[String]| -> String {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        succeed(directory.path(), &arguments)
    };
    strings(&arguments("through", false));

    let run = directory.path().join("killed");
    let (mut kills, mut attempts) = (0, 0);
    // Longer and longer, as a busy machine may need long to get anywhere.
    while kills < 5 || !run.is_dir() || checkpoints(&run).len() < 2 {
        assert!(
            attempts < 60,
            "killed {kills} times, and no two checkpoints"
        );
        let pause = [150, 40, 230, 90, 310, 170, 60][attempts % 7] + 20 * attempts as u64;
        attempts += 1;
        let resume = run.join("recipe.toml").exists() && !checkpoints(&run).is_empty();
        if !resume {
            let _ = std::fs::remove_dir_all(&run);
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_basin"))
            .args(arguments("killed", resume))
            .current_dir(directory.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if ended {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "the run ended before it could be killed");
    // And a newest checkpoint that the disk has spoilt.
    let newest = checkpoints(&run).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();

    strings(&arguments("killed", true));
    let [through, killed] =
        ["through", "killed"].map(|name| newest_checkpoint(&directory.path().join(name)));
    assert!(tensors(&through) == tensors(&killed));
    assert!(run.join("report.html").is_file());
}

#[test]
fn a_run_is_packed_and_goes_on_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let run = |run, iterations, resume: bool| {
        let mut more = vec!["--run", run, "--set", iterations];
        more.extend(resume.then_some("--resume"));
        let mut arguments = train(&recipe, &data, &more);
        // So large that it takes several parts.
        let capacity = arguments.iter().position(|a| a.contains("capacity"));
        arguments[capacity.unwrap()] = "method.buffer.capacity=800";
        arguments.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let succeed = |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        succeed(path, &arguments)
    };
    succeed(run("through", "iterations=4", false));
    succeed(run("here", "iterations=4", false));
    std::fs::remove_file(checkpoints(&path.join("here")).pop().unwrap()).unwrap();

    let text = |arguments: &[&str]| arguments.iter().map(|&a| a.to_owned()).collect();
    succeed(text(&[
        "checkpoint",
        "pack",
        "here",
        "-o",
        "parts",
        "--part-size",
        "1",
    ]));
    let largest = std::fs::read_dir(path.join("parts")).unwrap();
    let sizes: Vec<u64> = largest
        .map(|f| f.unwrap().metadata().unwrap().len())
        .collect();
    assert!(
        sizes.len() > 2 && sizes.iter().all(|&size| size <= 1_000_000),
        "{sizes:?}"
    );
    succeed(text(&["checkpoint", "unpack", "parts", "--run", "there"]));
    succeed(run("there", "iterations=4", true));
    let [through, there] = ["through", "there"].map(|name| newest_checkpoint(&path.join(name)));
    assert!(tensors(&through) == tensors(&there));

    succeed(text(&[
        "checkpoint",
        "pack",
        "here",
        "-o",
        "small",
        "--without-buffer",
    ]));
    succeed(text(&["checkpoint", "unpack", "small", "--run", "anew"]));
    succeed(run("anew", "iterations=4", true));
    let part = path.join("parts/part-001");
    std::fs::write(&part, "spoilt").unwrap();
    let error = fail(path, &["checkpoint", "unpack", "parts", "--run", "never"]);
    assert!(
        error.contains("part-001") && error.contains("SHA-256"),
        "{error}"
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
            vec![
                "train",
                recipe,
                "--set",
                "augmentation.cutout.size=29",
                "--data-dir",
                &data,
            ],
            "cutout.size is 29, expected at most 28",
        ),
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
