//! The built program, run as a user runs it, on the small real subset in `tests/data`.

#[path = "program/mod.rs"]
mod program;

use std::{path::Path, process::Output};

use basin_shared::ModelFile;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use program::{
    basin, checkpoint_of, checkpoints, data, fail, newest_checkpoint, recipes, root, succeed,
    tensors, train,
};

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
        bytes(&file.card.architecture.normalization().mean),
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
        // What the network was trained with is what the file says, and that is told.
        let text = succeed(directory, &other);
        assert!(
            text.contains("normalisation: mean [0.5], the state dictionary's"),
            "{text}"
        );
        let bytes = std::fs::read(directory.join("imported.safetensors")).unwrap();
        assert_eq!(
            ModelFile::read(&bytes).unwrap().probe(),
            file.probe(),
            "{name}"
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
    assert!(succeed(directory, &arguments).contains("dB sharp"));
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
        "--transfer",
        "model.safetensors",
        "--attacked",
        "20",
        "--attacked-again",
        "5",
        "--check-dir",
        &data,
        "--generated",
        "2",
        "--json",
        "-",
        "--card",
        "--data-dir",
        &data,
    ];
    let figures: Value = serde_json::from_str(&succeed(directory, &arguments)).unwrap();
    for name in [
        "clean_accuracy",
        "judge_agrees_uniform",
        "denoising_0.3_psnr_sharp",
        "denoising_0.5_ssim_blur",
        "energy_orders_noise",
        "frechet_uniform",
        "diversity_uniform",
        "energy_generated_class_gaussian",
        "pgd_100_restarts_accuracy",
        "transfer_accuracy",
        "check_energy",
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

    let arguments = [
        "tune-sampler",
        "model.safetensors",
        "--judge",
        "model.safetensors",
        "--trials",
        "1",
        "--images",
        "2",
        "--data-dir",
        &data,
    ];
    let found = succeed(directory, &arguments);
    let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
    let card = ModelFile::read(&bytes).unwrap().card;
    let quick = card.quick.expect("settings for those in a hurry");
    assert!(quick.steps <= 20 && card.generation.steps <= 150, "{found}");
    assert!(found.contains("quick: {"), "{found}");
}

/// A grey picture of so many rows and columns.
fn picture(path: &Path, size: u32, grey: impl Fn(u32, u32) -> u8) {
    let picture =
        image::GrayImage::from_fn(size, size, |column, row| image::Luma([grey(row, column)]));
    picture.save(path).unwrap();
}

#[test]
fn a_model_that_tells_distances_draws_cleans_and_restores_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = data();
    let recipe = root().join("trainer/recipes/dsm-wrn-16-2-cifar10.toml");
    let more = ["--run", "run", "--set", "iterations=2"];
    succeed(directory, &train(&recipe, &data, &more));
    let ours = "model.safetensors";
    let card = || {
        let bytes = std::fs::read(directory.join(ours)).unwrap();
        ModelFile::read(&bytes).unwrap().card
    };
    succeed(
        directory,
        &[
            "export",
            "run",
            "-o",
            ours,
            "--rank",
            "8",
            "--data-dir",
            &data,
        ],
    );
    let exported = card();
    assert_eq!(exported.method, "dsm");
    let tables = exported.distances.as_ref().expect("export has measured it");
    assert!(tables.marginal.energies.len() > 2);

    let run = |command: &str, more: &[&str]| {
        let data = ["--data-dir", &data];
        let data: &[&str] = if command == "generate" { &[] } else { &data };
        let arguments = [&[command, ours], more, data].concat();
        succeed(directory, &arguments);
        more.iter()
            .position(|&argument| argument == "-o")
            .map(|place| std::fs::read(directory.join(more[place + 1])).unwrap())
    };
    let few = [
        "--steps",
        "4",
        "--h",
        "0.5",
        "--last-steps",
        "1",
        "--count",
        "2",
    ];
    let with = |more: &[&'static str]| [&few[..], more].concat();
    let first = run("generate", &with(&["--beta", "0.5", "-o", "a.png"]));
    assert_eq!(
        first,
        run("generate", &with(&["--beta", "0.5", "-o", "b.png"]))
    );
    assert_ne!(
        first,
        run("generate", &with(&["--beta", "1", "-o", "c.png"]))
    );
    let told = run("denoise", &with(&["-o", "a.png"]));
    assert_ne!(
        told,
        run("denoise", &with(&["-o", "b.png", "--known-noise", "0.3"]))
    );

    let hole = |i: u32, j: u32| {
        if (8..20).contains(&i) && j < 9 {
            255
        } else {
            0
        }
    };
    picture(&directory.join("hole.png"), 32, hole);
    picture(&directory.join("small.png"), 31, hole);
    picture(&directory.join("empty.png"), 32, |_, _| 0);
    picture(&directory.join("full.png"), 32, |_, _| 255);
    for what in [
        &["--mask", "hole.png"][..],
        &["--enlarge", "4", "--class", "frog"],
        &["--colour"],
        &["--colour", "--mask", "hole.png"],
    ] {
        let arguments = [&few[..], what, &["-o", "a.png"]].concat();
        let first = run("restore", &arguments);
        let other = [&arguments[..], &["--seed", "7"]].concat();
        assert_ne!(first, run("restore", &other), "{what:?}");
        let again = run("restore", &arguments);
        assert_eq!(first, again, "{what:?}");
    }
    for (arguments, expected) in [
        (
            vec!["restore", ours, "--mask", "small.png"],
            "small.png is a picture of 31×31, expected 32×32",
        ),
        (
            vec!["restore", ours, "--mask", "empty.png"],
            "the mask is empty: no pixel is to be filled in",
        ),
        (
            vec!["restore", ours, "--mask", "full.png"],
            "covers the whole image",
        ),
        (
            vec!["restore", ours, "--enlarge", "5"],
            "expected a factor from 2 to 32 that divides 32",
        ),
        (
            vec!["restore", ours, "--enlarge", "4", "--colour"],
            "cannot be used with",
        ),
        (vec!["restore", ours], "--mask"),
        (
            vec!["restore", ours, "--colour", "--start-noise", "nan"],
            "start_noise is NaN, expected above 0 to 1",
        ),
        (
            vec!["restore", ours, "--colour", "--class", "unicorn"],
            "class `unicorn` is not known",
        ),
        (
            vec!["generate", ours, "--step-size", "0.1"],
            "expected --h, --beta or --last-steps",
        ),
        (vec!["generate", ours, "--h", "1.5"], "h is 1.5"),
        (
            vec!["denoise", ours, "--known-noise=-0.1"],
            "known_noise is -0.1, expected 0 to 10",
        ),
        (vec!["generate", ours, "--quick"], "no quick settings"),
    ] {
        let error = fail(directory, &[&arguments[..], &["--count", "1"]].concat());
        assert!(
            error.contains(expected),
            "`{error}` should say `{expected}`"
        );
    }

    let tune = ["--judge", ours, "--trials", "1", "--images", "2"];
    run("tune-sampler", &tune);
    let tuned = card();
    let quick = tuned.quick.expect("settings for those in a hurry");
    assert!(quick.steps <= 20 && tuned.generation.steps <= 120);
    run("generate", &["--quick", "--count", "1", "-o", "a.png"]);
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

    // Of two classes AutoAttack has an attack less, and says so under another name; so does a model that is always wrong.
    let evaluate = [
        "evaluate",
        "model.safetensors",
        "--suite",
        "paper",
        "--attacked",
        "4",
        "--attacked-again",
        "1",
        "--images",
        "1",
        "--generated",
        "1",
        "--epsilon",
        "0.5",
        "--run",
        "run",
        "--json",
        "-",
    ];
    let found: Value = serde_json::from_str(&succeed(directory, &evaluate)).unwrap();
    let figures = &found["figures"];
    assert!(
        figures["auto_attack_without_apgd_t_accuracy"].is_number(),
        "{found}"
    );
    assert!(figures.get("auto_attack_accuracy").is_none(), "{found}");
    assert!(left_out(&found, "apgd-t").contains("compares 4 classes, the model has 2"));
    // From the random weights to those after two iterations.
    let changes = &found["details"]["training_energies"];
    assert_eq!(
        changes[0]["iterations"],
        serde_json::json!([0, 2]),
        "{found}"
    );
    assert_eq!(
        figures["training_delta_theta_energy_joint"],
        changes[0]["delta_theta_energy_joint"]
    );
    assert!(
        figures["training_delta_x_energy_joint"].as_f64().unwrap() > 0.0,
        "{found}"
    );
    // One image alone has no error bar.
    assert!(left_out(&found, "joint_fisher_score_error").contains("no value here"));
    assert!(figures["joint_fisher_score"].is_number() && figures["ece"].is_number());
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
        !refused.status.success()
            && text.contains("iterations is 2 there, 4 here")
            && text.contains("--change-recipe"),
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

/// The numbers of a checkpoint's tensor.
fn numbers(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|&n| f32::from_le_bytes(n)).collect()
}

/// The largest difference between tensors of two checkpoints whose names begin alike.
fn difference(a: &[u8], b: &[u8], prefix: &str) -> f32 {
    let (a, b) = (tensors(a), tensors(b));
    let mut largest = 0.0_f32;
    for (name, a) in a.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let pairs = numbers(a).into_iter().zip(numbers(&b[name]));
        largest = pairs.fold(largest, |most, (a, b)| most.max((a - b).abs()));
    }
    largest
}

/// The layers are rounded, the weights and their sums of small steps are not.
#[test]
fn training_in_bf16_goes_nearly_where_f32_goes() {
    let data = data();
    let directory = tempfile::tempdir().unwrap();
    let single = root().join("trainer/recipes/standard-cifar10.toml");
    let text = std::fs::read_to_string(&single).unwrap();
    let half = directory.path().join("half.toml");
    let text = text.replace("precision = \"f32\"", "precision = \"bf16\"");
    std::fs::write(&half, text).unwrap();
    let [single, half] = [("single", &single), ("half", &half)].map(|(run, recipe)| {
        let more = ["--run", run, "--set", "iterations=2"];
        succeed(directory.path(), &train(recipe, &data, &more));
        directory.path().join(run)
    });
    let first = checkpoint_of(&single, 0);
    let [single, half] = [single, half].map(|run| checkpoint_of(&run, 2));
    let (moved, apart) = (
        difference(&first, &single, "model."),
        difference(&single, &half, "model."),
    );
    assert!(apart > 0.0 && apart < 0.1 * moved, "{apart} of {moved}");
    let half = SafeTensors::deserialize(&half).unwrap();
    for (name, view) in half.tensors() {
        assert!(
            !name.starts_with("model.") || view.dtype() == Dtype::F32,
            "{name}"
        );
    }
}

/// Two shares of a batch give the gradient of the whole batch.
#[test]
fn two_devices_train_as_one_does() {
    let data = data();
    let directory = tempfile::tempdir().unwrap();
    let recipe = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let run = |name: &'static str, more: &[&'static str]| {
        let all = ["--run", name, "--set", "iterations=4"];
        let all = train(&recipe, &data, &[&all[..], more].concat());
        succeed(directory.path(), &all);
        directory.path().join(name)
    };
    let one = run("one", &["--set", "checkpoint_every=4"]);
    let more = ["--set", "checkpoint_every=4", "--devices", "cpu,cpu"];
    let two = run("two", &more);
    let [first, one, two] = [
        checkpoint_of(&one, 0),
        checkpoint_of(&one, 4),
        checkpoint_of(&two, 4),
    ];
    for part in ["model.", "ema."] {
        let (moved, apart) = (difference(&first, &one, part), difference(&one, &two, part));
        assert!(moved > 1e-3 && apart < 1e-5, "{part}: {moved}, {apart}");
    }
}

#[test]
fn a_fault_of_the_recipe_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = root().join("trainer/recipes/fast-cifar10.toml");
    let recipe = recipe.to_str().unwrap();
    let text = fail(
        directory.path(),
        &["benchmark", recipe, "--set", "architecture.width=24"],
    );
    let fault = "recipe: width is 24, expected a multiple of 16 for this architecture\n";
    assert!(text.ends_with(fault), "{text}");
    assert_eq!(text.matches("width is 24").count(), 1, "{text}");
}

/// Chains, a perturbation of the batch, ascents and running statistics: each in its way is of a device.
#[test]
fn runs_on_two_devices_resume_bit_exactly() {
    let data = data();
    for name in ["jeat-fashion-mnist", "free-cifar10", "dat-cifar10"] {
        let directory = tempfile::tempdir().unwrap();
        let recipe = root().join(format!("trainer/recipes/{name}.toml"));
        let run = |run: &'static str, more: &[&'static str]| {
            let all = ["--run", run, "--set", "iterations=4"];
            let all = train(&recipe, &data, &[&all[..], more].concat());
            let output = basin(directory.path(), &all);
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{name}: {text}");
            text
        };
        let two = ["--devices", "cpu,cpu"];
        run("through", &two);
        run("resumed", &two);
        let resumed = directory.path().join("resumed");
        let last = || std::fs::remove_file(checkpoints(&resumed).pop().unwrap()).unwrap();
        last();
        run("resumed", &[&two[..], &["--resume"]].concat());
        let through = tensors(&newest_checkpoint(&directory.path().join("through")));
        assert!(
            through == tensors(&newest_checkpoint(&resumed)),
            "{name} resumes otherwise"
        );
        let of_second = through.keys().filter(|name| name.starts_with("state-1."));
        assert_ne!(of_second.count(), 0, "{name}");

        // On one device it goes on too, with all chains.
        last();
        let text = run("resumed", &["--resume"]);
        assert!(
            text.contains("that of 2 devices and is dealt out to 1"),
            "{text}"
        );
        let one = tensors(&newest_checkpoint(&resumed));
        if let Some(labels) = one.get("state.buffer.labels") {
            assert_eq!(numbers(labels).len(), 32);
            assert_eq!(numbers(&through["state-1.buffer.labels"]).len(), 16);
        }
        assert!(!one.keys().any(|name| name.starts_with("state-1.")));
    }
}

/// The second stage of training, or fine-tuning.
#[test]
fn a_run_begins_with_the_weights_of_a_model_file() {
    let data = data();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = root().join("trainer/recipes/standard-fashion-mnist.toml");
    let second = root().join("trainer/recipes/jeat-fashion-mnist.toml");
    let of_first = ["--run", "first", "--set", "iterations=2"];
    succeed(path, &train(&first, &data, &of_first));
    let export = |run: &str, output: &str| {
        let arguments = ["export", run, "-o", output, "--rank", "4", "--f32"];
        succeed(path, &[&arguments[..], &["--data-dir", &data]].concat());
        ModelFile::read(&std::fs::read(path.join(output)).unwrap()).unwrap()
    };
    let file = export("first", "first.safetensors");
    assert_eq!(file.card.begun_with, None);

    let arguments = |more: &[&'static str]| -> Vec<String> {
        let all = [
            "--set",
            "iterations=2",
            "--set",
            "checkpoint_every=1",
            "--set",
            "ema_decay=0.875",
        ];
        let all = train(&second, &data, &[&all[..], more].concat());
        all.into_iter().map(String::from).collect()
    };
    let run = |more: &[&'static str]| {
        let arguments = arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        basin(path, &arguments)
    };
    let weights = ["--weights", "first.safetensors", "--run", "second"];
    let output = run(&weights);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("beginning with the weights of first.safetensors"));
    // Of three checkpoints two are kept.
    let [one, two] = [1, 2].map(|i| tensors(&checkpoint_of(&path.join("second"), i)));
    for (name, array) in file.weights() {
        let [model, ema] = ["model", "ema"].map(|part| numbers(&one[&format!("{part}.{name}")]));
        for ((begun, model), ema) in array.values.iter().zip(model).zip(ema) {
            // An average of random weights would have forgotten nine tenths of them.
            let expected = 0.875 * begun + 0.125 * model;
            assert!((ema - expected).abs() < 1e-6, "{name}: {ema}, {expected}");
        }
    }
    // The average of a resumed run is that of one that began with weights, too.
    std::fs::remove_file(checkpoints(&path.join("second")).pop().unwrap()).unwrap();
    assert!(run(&["--resume", "--run", "second"]).status.success());
    assert!(two == tensors(&newest_checkpoint(&path.join("second"))));
    let card = export("second", "second.safetensors").card;
    let [hardware] = &card.hardware[..] else {
        panic!("one machine, resumed or not: {:?}", card.hardware);
    };
    assert!(
        text.contains(&format!("device: {hardware}\n")),
        "{hardware}"
    );
    let begun_with = card.begun_with.unwrap();
    assert_eq!(begun_with.file, "first.safetensors");
    assert_eq!(begun_with.weights_sha256, file.card.weights_sha256);

    let pair = ["average", "second.safetensors", "first.safetensors"];
    succeed(path, &[&pair[..], &["-o", "mean.safetensors"]].concat());
    let read = |name: &str| ModelFile::read(&std::fs::read(path.join(name)).unwrap()).unwrap();
    let [mean, second_file] = ["mean.safetensors", "second.safetensors"].map(read);
    for (name, array) in mean.weights() {
        let [first, second] = [&file, &second_file].map(|file| &file.weights()[name].values);
        for ((mean, first), second) in array.values.iter().zip(first).zip(second) {
            let expected = (first + second) / 2.0;
            assert!(
                (mean - expected).abs() <= 1e-6 * expected.abs(),
                "{name}: {mean}"
            );
        }
    }
    assert_eq!(mean.card.averaged.len(), 2);
    assert_eq!(mean.card.averaged[1], begun_with);
    assert!(!mean.card.metrics.is_empty());
    assert_ne!(mean.probe().logits, second_file.probe().logits);
    let other = root().join("static/models/cifar-10-dsm.safetensors");
    let error = fail(
        path,
        &["average", "first.safetensors", other.to_str().unwrap()],
    );
    assert!(
        error.contains("cifar-10-dsm.safetensors: ") && error.contains("expected the first file's")
    );

    for (more, expected) in [
        (
            &[
                "--set",
                "architecture.width=2",
                "--weights",
                "first.safetensors",
            ][..],
            &["Wide-ResNet 10-1", "Wide-ResNet 10-2"][..],
        ),
        (
            &["--weights", "nowhere.safetensors"],
            &["nowhere.safetensors"],
        ),
        (
            &["--resume", "--weights", "first.safetensors"],
            &["cannot be used with"],
        ),
    ] {
        let refused = run(&[&["--run", "third"], more].concat());
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{more:?}");
        for words in expected {
            assert!(text.contains(words), "`{text}` should say `{words}`");
        }
    }
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

/// What needs no device: recipes by name, completions, the manual.
#[test]
fn the_program_tells_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let list = succeed(directory, &["recipes"]);
    assert!(
        list.contains("jeat-fashion-mnist\n    JEAT (Zhu et al. 2021"),
        "{list}"
    );
    let json = succeed(directory, &["recipes", "--json"]);
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(json.len(), recipes().len());
    let shown = succeed(directory, &["recipes", "at-cifar10"]);
    let kept = std::fs::read_to_string(root().join("trainer/recipes/at-cifar10.toml")).unwrap();
    assert_eq!(shown.trim_end(), kept.trim_end());
    assert!(fail(directory, &["recipes", "x"]).contains("`x` is not known"));
    assert!(succeed(directory, &["completions", "bash"]).contains("_basin()"));
    succeed(directory, &["man", "-o", "man"]);
    let page = std::fs::read_to_string(directory.join("man/basin-tune-sampler.1")).unwrap();
    assert!(page.contains("by\\-distance"), "{page}");
    let help = succeed(directory, &["train", "--help"]);
    assert!(
        help.contains("Examples:\n  basin train jeat-fashion-mnist"),
        "{help}"
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
        (vec!["export", "run", "--rank", "0"], "1..=512"),
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
            "broken.safetensors: this is a web page",
        ),
        (vec!["export", "nowhere"], "nowhere"),
        (
            vec!["evaluate", "x", "--epsilon", "8"],
            "epsilon is 8, expected 0 to 1",
        ),
        (vec!["attack", "x", "--epsilon", "8"], "did you mean 8/255?"),
        (
            vec!["attack", "x", "--epsilon", "8/0"],
            "a fraction such as 8/255",
        ),
        (
            vec!["attack", "x", "--norm", "l2", "--epsilon", "-1/2"],
            "l2.epsilon is -0.5, expected 0 to 1000",
        ),
        (vec!["attack", "x", "--attack", "apgdt"], "apgd-t"),
        (vec!["evaluate", "x", "--epsilon", "inf"], "epsilon is inf"),
        (
            vec!["evaluate", "x", "--epsilon", "-0.03"],
            "epsilon is -0.03",
        ),
        (vec!["evaluate", "x", "--epsilon", "nan"], "epsilon is NaN"),
        (vec!["generate", "x", "--count", "0"], "count is 0"),
        (
            vec!["generate", "x", "-o", "x.bmp"],
            "x.bmp: pictures are written as PNG or JPEG",
        ),
        (
            vec!["train", "jeat-mnist"],
            "no recipe of this name; `basin recipes` lists",
        ),
        (
            vec!["generate", "x", "--step-size", "-1"],
            "step_size is -1",
        ),
        (vec!["denoise", "x", "--noise", "nan"], "noise is NaN"),
        (
            vec!["train", recipe, "--set", "optimizer.clip_norm=0"],
            "optimizer.clip_norm is 0, expected above 0",
        ),
        (
            vec!["train", recipe, "--set", "divergence.largest_energy=nan"],
            "divergence.largest_energy is NaN",
        ),
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
            vec![
                "train",
                recipe,
                "--set",
                "batch_size=9",
                "--devices",
                "cpu,cpu",
            ],
            "--devices names 2 devices, and batch_size is 9: expected a multiple of 2",
        ),
        (
            vec!["train", recipe, "--devices", "cpu,gpu"],
            "device `gpu` is not known",
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

/// Why something was left out of an evaluation.
fn left_out(report: &Value, what: &str) -> String {
    let all = report["left_out"].as_array().unwrap();
    let found = all.iter().find(|left| left["what"] == what);
    let found = found.unwrap_or_else(|| panic!("{what} is not left out of {report}"));
    found["why"].as_str().unwrap().to_owned()
}

/// A copy of a bundled model in a directory.
fn bundled(directory: &Path, name: &str) -> Vec<u8> {
    let path = root().join("static/models/fashion-mnist-dsm.safetensors");
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(directory.join(name), &bytes).unwrap();
    bytes
}

#[test]
fn every_figure_of_the_papers_is_measured_or_left_out_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    bundled(directory, "model.safetensors");
    std::fs::create_dir(directory.join("nothing")).unwrap();
    let data = data();
    let evaluate = |seed: &str| {
        let arguments = [
            "evaluate",
            "model.safetensors",
            "--suite",
            "paper",
            "--judge",
            "model.safetensors",
            "--attacked",
            "20",
            "--attacked-again",
            "5",
            "--images",
            "6",
            "--generated",
            "1",
            "--epsilon",
            "0.3",
            "--outliers",
            "nothing",
            "--neighbours",
            "nearest.png",
            "--robustbench",
            "robustbench.json",
            "--state",
            "state.json",
            "--card",
            "--json",
            "-",
            "--seed",
            seed,
            "--data-dir",
            &data,
        ];
        basin(directory, &arguments)
    };
    let report = |output: &Output| -> Value {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = report(&evaluate("2"));
    for name in [
        "clean_accuracy",
        "ece",
        "ece_fgsm",
        "energy_attack_accuracy",
        "delta_x_energy_joint_normal_attack",
        "joint_fisher_score",
        "marginal_fisher_score_error",
        "auroc_log_p_mnist",
        "auroc_gradient_norm_interpolations",
        "curve_linf_0.3000_accuracy",
        "curve_l2_1.5000_accuracy",
        "frechet_uniform",
        "judge_kernel_distance_uniform",
        "judge_precision_uniform",
        "nearest_ssim_generated",
        "nearest_feature_distance_test",
        "auto_attack_accuracy",
        "robust_accuracy",
    ] {
        assert!(
            first["figures"][name].is_number(),
            "{name} is missing in {first}"
        );
    }
    assert_eq!(first["figures"]["outlier_images"], 6.0);
    assert_eq!(
        first["details"]["reliability"].as_array().unwrap().len(),
        20
    );
    // The energy attack raises E(x, y), which is what it is for.
    let figure = |name: &str| first["figures"][name].as_f64().unwrap();
    assert!(
        figure("delta_x_energy_joint_energy_attack") > 0.0,
        "{first}"
    );
    for (what, why) in [
        ("outliers of nothing", "no picture there"),
        ("energies over training", "there is no --run"),
        ("AutoAttack in L2", "no usual radius"),
        ("FID, KID and Inception score", "torch-fidelity"),
    ] {
        assert!(left_out(&first, what).contains(why), "{first}");
    }
    let robust = &first["headline"]["robust_accuracy"];
    assert_eq!(robust["accuracy"], first["figures"]["robust_accuracy"]);
    assert!(figure("robust_accuracy") <= figure("pgd_20_accuracy"));
    assert!(
        std::fs::read(directory.join("nearest.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    let shaped: Value =
        serde_json::from_slice(&std::fs::read(directory.join("robustbench.json")).unwrap())
            .unwrap();
    assert_eq!(shaped["dataset"], "fashionmnist");
    assert_eq!(shaped["eps"], "0.3000");
    let bytes = std::fs::read(directory.join("model.safetensors")).unwrap();
    let metrics = ModelFile::read(&bytes).unwrap().card.metrics;
    assert_eq!(
        metrics["auto_attack_accuracy"],
        figure("auto_attack_accuracy")
    );

    // As if it had been killed before two of its parts were done.
    let path = directory.join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let models = state["models"].as_object_mut().unwrap();
    for parts in models.values_mut() {
        let parts = parts.as_object_mut().unwrap();
        assert!(parts.remove("outliers").is_some() && parts.remove("auto_attack").is_some());
    }
    std::fs::write(&path, state.to_string()).unwrap();
    let again = evaluate("2");
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("going on from state.json"), "{told}");
    assert_eq!(report(&again)["figures"], first["figures"]);
    let other = evaluate("3");
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(
        !other.status.success() && told.contains("whose seed is 2, and this one's is 3"),
        "{told}"
    );
}

#[test]
fn models_are_compared_in_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let bytes = bundled(directory, "a.safetensors");
    bundled(directory, "b.safetensors");
    let data = data();
    let little = ["--attacked", "0", "--generated", "0", "--data-dir", &data];
    let evaluate = |arguments: &[&'static str]| [&["evaluate"], arguments, &little[..]].concat();
    let text = succeed(directory, &evaluate(&["a.safetensors", "b.safetensors"]));
    let head = text.lines().next().unwrap();
    assert!(head.ends_with("a.safetensors  b.safetensors"), "{text}");
    let row = text.lines().find(|line| line.contains("clean_accuracy"));
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert!(cells.len() == 3 && cells[1] == cells[2], "{text}");
    let error = fail(
        directory,
        &evaluate(&[
            "a.safetensors",
            "b.safetensors",
            "--suite",
            "paper",
            "--robustbench",
            "x",
        ]),
    );
    assert!(
        error.contains("--robustbench is of one model, and 2 are given"),
        "{error}"
    );
    let error = fail(
        directory,
        &evaluate(&["a.safetensors", "--robustbench", "x"]),
    );
    assert!(error.contains("of the figures of --suite paper"), "{error}");

    // A radius of nothing takes nothing.
    let nothing = [
        "evaluate",
        "a.safetensors",
        "--epsilon",
        "0",
        "--generated",
        "0",
        "--json",
        "-",
        "--data-dir",
        &data,
    ];
    let found: Value = serde_json::from_str(&succeed(directory, &nothing)).unwrap();
    assert_eq!(
        found["figures"]["pgd_20_accuracy"],
        found["figures"]["clean_accuracy"]
    );
    assert_eq!(
        found["figures"]["robust_accuracy"],
        found["figures"]["clean_accuracy"]
    );

    // Weights that are numbers, and logits that are none.
    let file = ModelFile::read(&bytes).unwrap();
    let mut weights = file.weights().clone();
    for value in &mut weights.get_mut("class_output.weight").unwrap().values {
        *value *= 1e38;
    }
    let start = file.class_gaussian().clone();
    let broken = ModelFile::new(file.card.clone(), weights, start, file.probe().clone());
    let broken = broken
        .unwrap()
        .write(basin_shared::file::container::Storage::Single);
    std::fs::write(directory.join("a.safetensors"), broken.unwrap()).unwrap();
    let error = fail(directory, &evaluate(&["a.safetensors"]));
    assert!(error.contains("test image 0 are no numbers"), "{error}");
}

#[test]
fn weights_go_to_pytorch_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let file = ModelFile::read(&bundled(directory, "model.safetensors")).unwrap();
    let data = data();
    let export = [
        "export",
        "model.safetensors",
        "--pytorch",
        "weights.safetensors",
    ];
    assert!(succeed(directory, &export).contains("weights.safetensors: "));
    let bytes = std::fs::read(directory.join("weights.safetensors")).unwrap();
    let names = SafeTensors::deserialize(&bytes).unwrap();
    assert!(names.tensor("f.layer2.0.shortcut.0.weight").is_ok());
    let import = [
        "import",
        "weights.safetensors",
        "--recipe",
        "jeat-fashion-mnist",
        "-o",
        "again.safetensors",
        "--rank",
        "4",
        "--set",
        "validation=20",
        "--data-dir",
        &data,
    ];
    assert!(succeed(directory, &import).contains("the state dictionary's"));
    let again = std::fs::read(directory.join("again.safetensors")).unwrap();
    let again = ModelFile::read(&again).unwrap();
    assert!(again.weights() == file.weights());
    assert_eq!(again.card.architecture, file.card.architecture);
    let error = fail(directory, &["export", "model.safetensors"]);
    assert!(error.contains("expected the directory of a run"), "{error}");
}

/// A network that no engine runs, from its recipe to PyTorch, back behind a wrapper, and under attack.
#[test]
fn a_plain_network_is_trained_exported_imported_and_attacked() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, data) = (folder.path(), data());
    let recipe = root().join("trainer/recipes/fast-mnist.toml");
    succeed(
        directory,
        &train(&recipe, &data, &["--run", "run", "--set", "iterations=4"]),
    );
    let made = ["-o", "model.safetensors", "--rank", "4", "--f32"];
    let from_data = ["--data-dir", &data];
    succeed(
        directory,
        &[&["export", "run"], &made[..], &from_data[..]].concat(),
    );
    let read = |name: &str| ModelFile::read(&std::fs::read(directory.join(name)).unwrap()).unwrap();
    let file = read("model.safetensors");
    let names: Vec<&String> = file.weights().keys().collect();
    assert_eq!(
        names,
        [
            "0.bias", "0.weight", "2.bias", "2.weight", "5.bias", "5.weight", "7.bias", "7.weight"
        ]
    );
    std::fs::write(
        directory.join("theirs.safetensors"),
        state_dictionary(&file),
    )
    .unwrap();
    let import = [
        "import",
        "theirs.safetensors",
        "--recipe",
        "fast-mnist",
        "-o",
        "imported.safetensors",
        "--rank",
        "4",
        "--f32",
        "--set",
        "validation=20",
    ];
    succeed(directory, &[&import[..], &from_data[..]].concat());
    let imported = read("imported.safetensors");
    assert_eq!(imported.weights(), file.weights());
    assert_eq!(imported.probe(), file.probe());
    let attack = [
        "attack",
        "imported.safetensors",
        "--attack",
        "apgd-ce",
        "--steps",
        "5",
        "--epsilon",
        "0.3",
        "--images",
        "8",
        "--json",
        "-",
        "-o",
        "sheet.png",
    ];
    let told = succeed(directory, &[&attack[..], &from_data[..]].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    let [clean, robust] = ["clean_accuracy", "robust_accuracy"].map(|name| told[name].as_f64());
    assert!(robust.unwrap() <= clean.unwrap(), "{told}");
    // A judge is asked for its features, which the engine gives.
    let judged = [
        "evaluate",
        "imported.safetensors",
        "--judge",
        "imported.safetensors",
    ];
    let error = fail(directory, &[&judged[..], &from_data[..]].concat());
    assert!(
        error.contains("imported.safetensors: Basin's own engines run residual networks"),
        "{error}"
    );
}

#[test]
fn attacks_are_made_kept_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let model = root().join("docs/fashion-mnist-jeat/model.safetensors");
    let data = root().join("tests/data/fashion-mnist");
    let attack = |epsilon: &str, seed: &str, attacks: &str| {
        let [model, data] = [&model, &data].map(|path| path.to_str().unwrap().to_owned());
        let arguments = [
            "attack",
            &model,
            "--attack",
            attacks,
            "--steps",
            "10",
            "--epsilon",
            epsilon,
            "--images",
            "16",
            "--seed",
            seed,
            "--json",
            "-",
            "--save",
            "adv.safetensors",
            "--state",
            "state.safetensors",
            "-o",
            "sheet.png",
            "--data-dir",
            &data,
        ];
        basin(directory, &arguments)
    };
    let report = |output: &Output| -> Value {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = report(&attack("1/10", "3", "apgd-ce,apgd-t,square"));
    let figure = |name: &str| first[name].as_f64().unwrap();
    let (clean, robust) = (figure("clean_accuracy"), figure("robust_accuracy"));
    assert!(robust < clean, "{first}");
    let energy = |of: &str| first["energies"][of]["joint"].as_f64().unwrap();
    assert!(energy("attacked") > energy("clean"), "{first}");
    let steps: Vec<f64> = first["attacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attack| attack["accuracy"].as_f64().unwrap())
        .collect();
    assert!(
        steps.len() == 3 && steps.is_sorted_by(|a, b| a >= b) && steps[2] == robust,
        "{first}"
    );

    // What is saved says the same.
    let bytes = std::fs::read(directory.join("adv.safetensors")).unwrap();
    let saved = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(saved.tensor("x_adv").unwrap().shape(), [16, 1, 28, 28]);
    let fooled_by = saved.tensor("fooled_by").unwrap();
    let numbers = fooled_by.data().as_chunks::<4>().0.iter();
    let withstood = numbers
        .filter(|number| i32::from_le_bytes(**number) == -2)
        .count();
    assert_eq!(withstood as f64 / 16.0, robust);
    assert!(
        std::fs::read(directory.join("sheet.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );

    // All is known already.
    let again = attack("0.1", "3", "apgd-ce,apgd-t,square");
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("going on from state.safetensors"), "{told}");
    assert_eq!(report(&again)["robust_accuracy"], robust);
    let other = attack("0.1", "4", "apgd-ce,apgd-t,square");
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(
        !other.status.success() && told.contains("the state of another run"),
        "{told}"
    );
}
