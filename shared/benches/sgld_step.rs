//! How long the gradient of the energy of a batch of images takes on the processor, the work of one
//! SGLD step: by the compiled plan and by Burn's tensors, on one thread and on all.
//!
//! `cargo bench --workspace --bench sgld_step -- [SECONDS]` prints JSON, a row for each network as
//! depth-width-batch; each row is measured for so long (2 s unless given). `bundled` is the network
//! of the page's model, with 16 images.

use std::{env, error::Error, process::Command, time::Instant};

use basin_shared::{
    Energy, Key,
    cpu::Engine,
    gradient::value_and_gradient,
    model_card::EnergyKind,
    models::{Activation, Initialization, Normalization, WideResNetConfig},
    plan::Plan,
    tensors,
};
use burn::tensor::{Device, Int, Tensor};
use serde_json::{Map, Value, json};

/// Name, depth, width, channels and size of the images, batch.
const ROWS: &[(&str, usize, usize, usize, usize, usize)] = &[
    ("bundled", 16, 1, 1, 28, 16),
    ("16-1-1", 16, 1, 3, 32, 1),
    ("16-1-16", 16, 1, 3, 32, 16),
    ("16-2-16", 16, 2, 3, 32, 16),
    ("16-4-4", 16, 4, 3, 32, 4),
    ("16-2-64", 16, 2, 3, 32, 64),
];
/// Tells the child process to measure and not to start children.
const CHILD: &str = "BASIN_BENCH_CHILD";

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo passes --bench itself.
    let mut arguments = env::args().skip(1).filter(|a| a != "--bench");
    let seconds = arguments.next().map_or(Ok(2.0), |s| s.parse())?;
    if env::var_os(CHILD).is_some() {
        println!("{}", measure(seconds));
        return Ok(());
    }
    // The pool of threads is made once a process, so each number of threads gets its own.
    let in_child = |threads: usize| -> Result<Value, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?);
        child.arg(seconds.to_string()).env(CHILD, "1");
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
        "one_thread": in_child(1)?,
        "all_threads": in_child(threads)?,
        "threads": threads,
    });
    println!("{report:#}");
    Ok(())
}

fn measure(seconds: f64) -> Value {
    let rows = ROWS
        .iter()
        .map(|&(name, depth, width, channels, size, batch)| {
            let config = WideResNetConfig {
                depth,
                width,
                channels,
                size,
                classes: 10,
                activation: Activation::Silu,
                normalization: Normalization {
                    mean: vec![0.5; channels],
                    std: vec![0.5; channels],
                },
            };
            let initialization = Initialization {
                gain: 1.4,
                residual_scale: 0.5,
            };
            let device = Device::flex();
            let model = config.init(initialization, Key::new(0), &device);
            let engine = Engine::new(Plan::wide_resnet(&config, &tensors::collect(&model)));
            let images = Key::new(1).uniform([batch, channels, size, size], &device);
            let x: Vec<f32> = images.clone().into_data().iter().collect();
            let classes: Vec<usize> = (0..batch).map(|i| i % 10).collect();
            let y: Tensor<1, Int> = Tensor::arange(0..batch as i64, &device) % 10;
            let energy = Energy::Joint(y);
            let plan = median(seconds, || {
                engine.evaluate(&x, &classes, EnergyKind::Joint);
            });
            let burn = median(seconds, || {
                let f = |x| energy.of_logits(basin_shared::Classifier::logits(&model, x));
                value_and_gradient(f, images.clone()).1.into_data();
            });
            let row = json!({
                "milliseconds": plan,
                "images_per_second": batch as f64 * 1e3 / plan,
                "burn_milliseconds": burn,
            });
            (name.to_string(), row)
        });
    Value::Object(Map::from_iter(rows))
}

/// Median milliseconds of `step`, repeated for so long and at least five times after two more.
fn median(seconds: f64, mut step: impl FnMut()) -> f64 {
    step();
    step();
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || begun.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
