//! `cargo xtask bench`: one report of speed, size and memory, against those whom a user would pick
//! instead. Nothing here passes or fails.
//!
//! A machine's speed changes from minute to minute, so only ratios within one run count: ours and the
//! peer's measurement take turns, round after round, and each row compares the medians.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{cargo, output, root, run, step};
use crate::measurement::{Measurement, Row, smallest};
use crate::{page, system};

/// What to measure, and against whom.
pub(crate) struct Options {
    /// The folder of the peers: `tfjs/`, with its packages installed, and `torch/bench.py`.
    pub(crate) peers: Option<PathBuf>,
    /// A Python that has PyTorch.
    pub(crate) python: PathBuf,
    /// How often ours and the peers take turns.
    pub(crate) rounds: usize,
    /// Whether the WebGPU engine is measured.
    pub(crate) gpu: bool,
}

/// Ours may take as long as a peer.
const PEER: f64 = 1.0;

/// Measures in turn, and prints the report as JSON.
pub(crate) fn bench(options: &Options) -> Result<()> {
    system::ensure(system::BROWSER)?;
    system::ensure(system::NODE)?;
    page::build()?;
    output(&mut page::end_to_end(
        "npm",
        &["ci", "--no-audit", "--no-fund"],
    ))?;
    // Measured alone: whatever Cargo compiles must be compiled before.
    run(cargo(&SGLD_STEP[1..]).arg("--no-run"))?;
    run(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "--workspace",
    ]))?;
    let models = root().join("target/bench");
    write_models(&models)?;

    let rows = rows(options, &models);
    let mut found: Vec<[Vec<f64>; 2]> = rows.iter().map(|_| Default::default()).collect();
    for round in 0..options.rounds {
        step(
            &format!("round {} of {}", round + 1, options.rounds),
            || {
                // Several rows may read one command's numbers.
                let mut printed = BTreeMap::new();
                for (row, found) in rows.iter().zip(&mut found) {
                    if row.once && round > 0 {
                        continue;
                    }
                    let sides = [Some(&row.ours), row.peer.as_ref()];
                    // Who goes first changes too.
                    for side in [round % 2, 1 - round % 2] {
                        let Some(measurement) = sides[side] else {
                            continue;
                        };
                        let values = printed
                            .entry(measurement.command.clone())
                            .or_insert_with(|| measurement.run());
                        found[side].extend(smallest(values, measurement.pointer));
                    }
                }
                Ok(())
            },
        )?;
    }
    let rows: Vec<Value> = rows.iter().zip(found).map(|(r, f)| r.report(f)).collect();
    let methods = step("every method", methods)?;
    let report = json!({
        "rounds": options.rounds,
        "rows": rows,
        "methods": methods,
        "model_bytes": model_bytes()?,
    });
    println!("{report:#}");
    Ok(())
}

/// The model that the page starts with.
const MODEL: &str = "static/models/cifar-10-dsm.safetensors";

/// Networks of the rows: depth and width; colour images of 32 by 32 pixels, as the peers have.
const NETWORKS: [(usize, usize); 4] = [(16, 1), (16, 2), (22, 3), (16, 4)];

/// The whole workspace, so that Burn is compiled as for the tests.
const SGLD_STEP: [&str; 6] = [
    "cargo",
    "bench",
    "--locked",
    "--workspace",
    "--bench",
    "sgld_step",
];

/// Everything that is measured.
fn rows(options: &Options, models: &Path) -> Vec<Row> {
    let mut rows = vec![];
    wasm(options, models, &mut rows);
    if options.gpu {
        webgpu(options, models, &mut rows);
    }
    native(options, &mut rows);
    by_distance(options, models, &mut rows);
    training(options, &mut rows);
    sizes(options, &mut rows);
    start(options.gpu, &mut rows);
    rows
}

/// A step on the processor in the browser: one worker against TensorFlow.js in its best mode (input
/// gradients as convolutions with flipped filters), which has one thread whatever it is asked for; and
/// what further workers bring.
fn wasm(options: &Options, models: &Path, rows: &mut Vec<Row>) {
    for (depth, width, images, steps, times) in [
        (16, 1, 1, 120, 1.5),
        (16, 1, 16, 25, 2.0),
        (16, 2, 16, 14, 2.0),
        (22, 3, 5, 12, 1.0),
    ] {
        let model = model(models, depth, width);
        let network = format!("{depth}-{width}-{images}");
        rows.push(Row {
            name: format!("SGLD step in WebAssembly, {network}, one thread; peer: TensorFlow.js"),
            unit: "ms",
            ours: page_step("cpu", &model, images, steps, "one"),
            peer: options.tfjs("wasm", &network, "flip", 16, "/median_ms"),
            bar: Some(PEER / times),
            once: false,
        });
    }
    for (name, model) in [
        ("bundled", "bundled".to_string()),
        ("16-2", model(models, 16, 2)),
    ] {
        rows.push(Row {
            name: format!(
                "SGLD step in WebAssembly, {name}, 16 images, all workers; peer: one worker"
            ),
            unit: "ms",
            ours: page_step("cpu", &model, 16, 40, "all"),
            peer: Some(page_step("cpu", &model, 16, 40, "one")),
            bar: None,
            once: false,
        });
    }
}

/// A step on WebGPU, and the memory that it takes.
fn webgpu(options: &Options, models: &Path, rows: &mut Vec<Row>) {
    for (depth, width, images, steps) in [(16, 1, 1, 8), (16, 1, 16, 5), (16, 2, 16, 4)] {
        let model = model(models, depth, width);
        let network = format!("{depth}-{width}-{images}");
        rows.push(Row {
            name: format!("SGLD step on WebGPU, {network}; peer: TensorFlow.js"),
            unit: "ms",
            ours: page_step("gpu", &model, images, steps, "all"),
            peer: options.tfjs("webgpu", &network, "auto", 2, "/median_ms"),
            bar: Some(PEER / 3.0),
            once: false,
        });
    }
    let memory = ["memory", &model(models, 16, 4), "16", "4"];
    for (name, pointer, bar) in [
        ("the whole process", "/last_step_mb", Some(300.0)),
        ("before the page is opened", "/empty_mb", None),
        (
            "growth from the first step to the fourth",
            "/growth_mb",
            None,
        ),
    ] {
        rows.push(Row {
            name: format!("memory of the browser's GPU process, 16-4-16: {name}"),
            unit: "MB",
            ours: page_bench(&memory, pointer),
            peer: None,
            bar,
            once: true,
        });
    }
}

/// A step of the native engine.
fn native(options: &Options, rows: &mut Vec<Row>) {
    let command: Vec<&str> = SGLD_STEP
        .into_iter()
        .chain(["--", "2", "16-2-16", "16-2-64"])
        .collect();
    for (network, threads, pointer) in [
        ("16-2-16", 1, "/one_thread/16-2-16/milliseconds"),
        ("16-2-64", 1, "/one_thread/16-2-64/milliseconds"),
        ("16-2-16", 2, "/two_threads/16-2-16/milliseconds"),
        ("16-2-64", 2, "/two_threads/16-2-64/milliseconds"),
    ] {
        for (variant, peer, bar) in [
            ("cl", "PyTorch, channels_last, f32", Some(PEER)),
            (
                "bf16+cl",
                "PyTorch, channels_last, bf16, for information",
                None,
            ),
        ] {
            rows.push(Row {
                name: format!("SGLD step, native, {network}, threads: {threads}; peer: {peer}"),
                unit: "ms",
                ours: Measurement::new(&command, root(), pointer),
                peer: options.torch("sgld", network, threads, variant, "/median_ms"),
                bar,
                once: false,
            });
        }
    }
}

/// A step by distance against one of Langevin dynamics, on every engine; natively against one whose gradient
/// is normalised.
fn by_distance(options: &Options, models: &Path, rows: &mut Vec<Row>) {
    const MOST: f64 = 1.05;
    let command: Vec<&str> = SGLD_STEP
        .into_iter()
        .chain(["--", "2", "16-2-16"])
        .collect();
    let native = |pointer| Measurement::new(&command, root(), pointer);
    rows.push(Row {
        name: "step by distance, native, 16-2-16, threads: 2; peer: a normalised step".into(),
        unit: "ms",
        ours: native("/two_threads/16-2-16/by_distance_milliseconds"),
        peer: Some(native("/two_threads/16-2-16/normalized_milliseconds")),
        bar: Some(MOST),
        once: false,
    });
    let model = model(models, 16, 2);
    let engines = [
        ("WebAssembly", "cpu", "16", "14"),
        ("WebGPU", "gpu", "4", "6"),
    ];
    for (name, engine, images, steps) in engines {
        if engine == "gpu" && !options.gpu {
            continue;
        }
        let by = |sampler| {
            let step = ["step", engine, &model, images, steps, "one", sampler];
            page_bench(&step, "/milliseconds")
        };
        rows.push(Row {
            name: format!(
                "step by distance in {name}, 16-2-{images}; peer: a step of Langevin dynamics"
            ),
            unit: "ms",
            ours: by("distance"),
            peer: Some(by("langevin")),
            bar: Some(MOST),
            once: false,
        });
    }
}

/// An iteration of training, images made up: batch, inner problem, loss, backward pass, optimiser,
/// averaged weights. The peer's JEAT has chains of five steps.
fn training(options: &Options, rows: &mut Vec<Row>) {
    for (method, task, setting) in [
        ("standard", "ce", None),
        ("prejeat", "prejeat", None),
        ("jeat", "jeat5", Some("method.steps=5")),
    ] {
        let recipe = format!("trainer/recipes/{method}-cifar10.toml");
        for network in METHODS_NETWORKS {
            let mut command = benchmark(&[&recipe], network, 4);
            command.extend(setting.into_iter().flat_map(|s| ["--set".into(), s.into()]));
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            for (variant, peer, bar) in [
                ("cl", "PyTorch, channels_last, f32", Some(PEER)),
                (
                    "bf16+cl",
                    "PyTorch, channels_last, bf16, for information",
                    None,
                ),
            ] {
                let network = format!("{network}-64");
                rows.push(Row {
                    name: format!(
                        "training iteration, {method}, {network}, threads: 2; peer: {peer}"
                    ),
                    unit: "ms",
                    ours: Measurement::new(&command, root(), "/measurements/0/milliseconds"),
                    peer: options.torch(task, &network, 2, variant, "/median_ms"),
                    bar,
                    once: false,
                });
            }
        }
    }
}

/// Depth and width of JEM's Wide-ResNet, on which training is measured.
const METHODS_NETWORKS: [&str; 3] = ["16-1", "16-2", "16-4"];

/// An iteration of every method in time and memory, as `basin benchmark` prints it.
fn methods() -> Result<Value> {
    let folder = root().join("trainer/recipes");
    let mut recipes = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path().to_string_lossy().into_owned();
        if path.ends_with("-cifar10.toml") {
            recipes.push(path);
        }
    }
    recipes.sort();
    let recipes: Vec<&str> = recipes.iter().map(String::as_str).collect();
    let command = benchmark(&recipes, &METHODS_NETWORKS.join(","), 4);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let printed = Measurement::new(&command, root(), "").run();
    Ok(printed.into_iter().next().unwrap_or_default())
}

/// `basin benchmark` on two threads, with batches of 64.
fn benchmark(recipes: &[&str], networks: &str, seconds: usize) -> Vec<String> {
    let program = [
        "env",
        "RAYON_NUM_THREADS=2",
        "target/release/basin",
        "--device",
        "cpu",
        "benchmark",
    ];
    let seconds = seconds.to_string();
    let settings = [
        "--networks",
        networks,
        "--seconds",
        &seconds,
        "--set",
        "batch_size=64",
    ];
    let words = program.iter().chain(recipes).chain(&settings);
    words.map(|word| word.to_string()).collect()
}

/// What a visitor downloads, the model aside.
fn sizes(options: &Options, rows: &mut Vec<Row>) {
    for (part, pointer, bar) in [
        ("the page", "/page_kb", 350.0),
        ("the CPU engine", "/cpu_engine_kb", 350.0),
        (
            "the CPU engine without relaxed SIMD",
            "/plain_cpu_engine_kb",
            350.0,
        ),
        ("the GPU engine", "/gpu_engine_kb", 600.0),
    ] {
        rows.push(Row {
            name: format!("size with brotli, {part}"),
            unit: "kB",
            ours: page_bench(&["sizes"], pointer),
            peer: None,
            bar: Some(bar),
            once: true,
        });
    }
    for (engine, pointer, backend) in [
        ("CPU", "/page_and_cpu_engine_mb_quality_9", "wasm"),
        ("GPU", "/page_and_gpu_engine_mb_quality_9", "webgpu"),
    ] {
        let (mode, steps) = if backend == "wasm" {
            ("flip", 16)
        } else {
            ("auto", 2)
        };
        rows.push(Row {
            name: format!(
                "size with brotli, page and {engine} engine; peer: a page of TensorFlow.js"
            ),
            unit: "MB",
            ours: page_bench(&["sizes"], pointer),
            peer: options.tfjs(backend, "16-1-1", mode, steps, "/mb_brotli"),
            bar: None,
            once: true,
        });
    }
}

/// From nothing to the first picture that moved, in a browser that has nothing.
fn start(gpu: bool, rows: &mut Vec<Row>) {
    let mut row = |name: &str, engine: &str, pointer, bar| {
        rows.push(Row {
            name: name.into(),
            unit: "ms",
            ours: page_bench(&["start", engine], pointer),
            peer: None,
            bar: Some(bar),
            once: false,
        });
    };
    row(
        "cold page to the first moving picture, CPU engine",
        "cpu",
        "/moving_ms",
        1200.0,
    );
    row(
        "longest task of the page's own thread, 0 if all are below 50",
        "cpu",
        "/longest_task_ms",
        50.0,
    );
    if gpu {
        row(
            "cold page to the first step, GPU engine",
            "gpu",
            "/moving_ms",
            3000.0,
        );
    }
}

impl Options {
    fn tfjs(
        &self,
        backend: &str,
        network: &str,
        modes: &str,
        steps: usize,
        pointer: &'static str,
    ) -> Option<Measurement> {
        let folder = self.peers.as_ref()?.join("tfjs");
        let [backend, network, modes, steps] = [
            format!("backend={backend}"),
            format!("cfg={network}"),
            format!("mode={modes}"),
            format!("steps={steps}"),
        ];
        let command = ["node", "drive.mjs", &network, &backend, &modes, &steps];
        Some(Measurement::new(&command, folder, pointer))
    }

    fn torch(
        &self,
        task: &str,
        network: &str,
        threads: usize,
        variant: &str,
        pointer: &'static str,
    ) -> Option<Measurement> {
        let folder = self.peers.as_ref()?.join("torch");
        let python = self.python.to_string_lossy();
        let threads = threads.to_string();
        let command = [
            &python,
            "bench.py",
            "--tasks",
            task,
            "--configs",
            network,
            "--threads",
            &threads,
            "--variants",
            variant,
            "--budget",
            "2",
        ];
        Some(Measurement::new(&command, folder, pointer))
    }
}

fn page_bench(arguments: &[&str], pointer: &'static str) -> Measurement {
    let command: Vec<&str> = ["node", "bench.mjs"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    Measurement::new(&command, root().join("tests/e2e"), pointer)
}

fn page_step(engine: &str, model: &str, images: usize, steps: usize, workers: &str) -> Measurement {
    let [images, steps] = [images, steps].map(|number| number.to_string());
    let arguments = ["step", engine, model, &images, &steps, workers];
    page_bench(&arguments, "/milliseconds")
}

fn model(models: &Path, depth: usize, width: usize) -> String {
    let path = models.join(format!("{depth}-{width}.safetensors"));
    path.to_string_lossy().into_owned()
}

/// Writes models with random weights.
fn write_models(models: &Path) -> Result<()> {
    fs::create_dir_all(models).with_context(|| format!("cannot make {}", models.display()))?;
    let build = ["run", "--release", "--locked", "-p", "basin-worker"];
    for (depth, width) in NETWORKS {
        let [numbers @ .., size] = [depth, width, 3, 32].map(|number| number.to_string());
        run(cargo(&build)
            .args(["--example", "untrained_model", "--"])
            .arg(model(models, depth, width))
            .args(numbers)
            .arg(size))?;
    }
    Ok(())
}

fn model_bytes() -> Result<u64> {
    Ok(fs::metadata(root().join(MODEL))
        .with_context(|| format!("cannot read {MODEL}"))?
        .len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_peers_nothing_is_compared_and_without_a_gpu_none_is_used() {
        let options = |peers: Option<&str>, gpu| Options {
            peers: peers.map(PathBuf::from),
            python: "python3".into(),
            rounds: 3,
            gpu,
        };
        let names = |options: Options| {
            let rows = rows(&options, Path::new("models"));
            let compared = rows.iter().filter(|row| row.peer.is_some());
            (rows.len(), compared.count())
        };
        let (all, compared) = names(options(Some("peers"), true));
        let (alone, own) = names(options(None, true));
        assert!(all == alone && own < compared, "{own} of {compared}");
        assert!(names(options(None, false)).0 < all);
    }
}
