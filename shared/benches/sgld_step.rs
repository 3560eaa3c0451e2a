//! How long one SGLD step (forward pass and input gradient of 16 images) takes on the processor,
//! on one thread and on all.
//!
//! `cargo bench -p basin-shared --features flex,rayon --bench sgld_step -- [MODEL] [STEPS]`
//! prints JSON. Without a model file it is the bundled one; without a number it is 41 steps.

use std::{env, error::Error, fs, path::PathBuf, process::Command, time::Instant};

use basin_shared::{
    Energy, Key, ModelFile,
    model_card::Architecture,
    samplers::{Chain, GradientScaling, Sgld},
};
use burn::tensor::{Device, Int, Tensor};
use serde_json::{Value, json};

const BATCH: usize = 16;
const STEPS: usize = 41;
/// Steps that are not counted: threads start and memory is first touched.
const WARM_UP: usize = 5;
/// Tells the child process to measure and not to start children.
const CHILD: &str = "BASIN_BENCH_CHILD";

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo passes --bench itself.
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let bundled = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../static/models/fashion-mnist-jeat.safetensors"
    );
    let path = PathBuf::from(arguments.first().map_or(bundled, String::as_str));
    let steps = arguments
        .get(1)
        .map_or(Ok(STEPS), |steps| steps.parse())?
        .max(1);
    if env::var_os(CHILD).is_some() {
        println!("{}", measure(&path, steps)?);
        return Ok(());
    }
    // The pool of threads is made once a process, so each number of threads gets its own.
    let in_child = |threads: usize| -> Result<Value, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?);
        child.arg(&path).arg(steps.to_string()).env(CHILD, "1");
        let output = child
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let threads = std::thread::available_parallelism()?.get();
    let report = json!({
        "batch": BATCH,
        "steps": steps,
        "one_thread": in_child(1)?,
        "all_threads": in_child(threads)?,
        "threads": threads,
    });
    println!("{report:#}");
    Ok(())
}

/// Median and fastest time of a step.
fn measure(path: &PathBuf, steps: usize) -> Result<Value, Box<dyn Error>> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = ModelFile::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let device = Device::flex();
    let model = file.model(&device);
    let Architecture::WideResnet(config) = &file.card.architecture;
    let shape = [BATCH, config.channels, config.size, config.size];
    let y: Tensor<1, Int> = Tensor::arange(0..BATCH as i64, &device) % model.classes() as i32;
    let energy = Energy::Joint(y);
    let sampler = Sgld {
        step_size: 0.01,
        noise_std: 0.005,
        friction: 0.0,
        gradient: GradientScaling::Raw,
        clamp: true,
    };
    let [start_key, chain_key] = Key::new(0).split();
    let mut chain = Chain::init(start_key.uniform(shape, &device));
    let mut times = Vec::with_capacity(steps);
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        let (next, info) = sampler.step(chain_key, &model, &energy, chain);
        // Reading the energies waits for the step on any backend.
        let _ = info.energy.into_data();
        chain = next;
        if step >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    Ok(json!({
        "milliseconds": median,
        "fastest_milliseconds": times[0],
        "images_per_second": BATCH as f64 * 1e3 / median,
    }))
}
