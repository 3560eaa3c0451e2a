//! How long one SGLD step of a batch of images takes on the processor by the compiled plan, noise
//! included, and next to it one whose gradient is normalised and one by distance; and how long Burn's tensors
//! take for its gradient alone; on one thread and on two.
//!
//! `cargo bench --workspace --bench sgld_step -- [SECONDS [ROW ...]]` prints JSON, by the number of
//! threads a row for each network as depth-width-batch, each measured for so long (2 s unless given).
//! `bundled` is the network of the page's model, with 16 images. Where rows are named, only those
//! are measured, and without Burn's tensors.

use std::{env, error::Error, process::Command, time::Instant};

use basin_shared::{
    Key,
    energy::{EnergyKind, Joint},
    engine::{cpu::CompiledNetwork, plan::Plan},
    models::{Architecture, Initialization, WideResNetConfig},
    samplers::{Annealing, ByDistance, DistanceTable, GradientScaling, HostChain, Sgld, Step},
    tensors::{gradient::logits_and_gradient, parameters},
};
use burn::tensor::Device;
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
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let seconds = arguments.first().map_or(Ok(2.0), |s| s.parse())?;
    let named = arguments.get(1..).unwrap_or_default();
    let known = |name: &&String| ROWS.iter().any(|row| row.0 == name.as_str());
    if let Some(name) = named.iter().find(|name| !known(name)) {
        let rows: Vec<_> = ROWS.iter().map(|row| row.0).collect();
        return Err(format!("there is no row {name}, expected some of {rows:?}").into());
    }
    if env::var_os(CHILD).is_some() {
        println!("{}", measure(seconds, named));
        return Ok(());
    }
    // The pool of threads is made once a process, so each number of threads gets its own.
    let in_child = |threads: usize| -> Result<Value, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?);
        child.args(&arguments).env(CHILD, "1");
        let output = child
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let report = json!({ "one_thread": in_child(1)?, "two_threads": in_child(2)? });
    println!("{report:#}");
    Ok(())
}

fn measure(seconds: f64, named: &[String]) -> Value {
    let rows = ROWS
        .iter()
        .filter(|row| named.is_empty() || named.iter().any(|name| name == row.0))
        .map(|&(name, depth, width, channels, size, batch)| {
            let config = WideResNetConfig::new([depth, width], [channels, size], 10);
            let initialization = Initialization {
                gain: 1.4,
                residual_scale: 0.5,
            };
            let device = Device::flex();
            let model =
                Architecture::WideResnet(config.clone()).init(initialization, Key::new(0), &device);
            let engine =
                CompiledNetwork::new(Plan::wide_resnet(&config, &parameters::collect(&model)));
            let images = Key::new(1).uniform([batch, channels, size, size], &device);
            let x: Vec<f32> = images.clone().into_data().iter().collect();
            let classes: Vec<usize> = (0..batch).map(|i| i % 10).collect();
            let objective = Joint {
                classes: classes.clone(),
            };
            let sgld = |gradient| {
                Step::Sgld(Sgld {
                    step_size: 0.5,
                    noise_std: 0.01,
                    friction: 0.0,
                    gradient,
                    clamp: true,
                })
            };
            let by_distance = Step::ByDistance(Annealing {
                sampler: ByDistance {
                    h: 0.1,
                    beta: 0.5,
                    last_steps: 0,
                    last_h: 0.1,
                },
                noisy_steps: u64::MAX,
                table: DistanceTable {
                    energies: vec![-1.0, 1.0],
                    distances: vec![1.0, 2.0],
                    factors: vec![1.0, 2.0],
                },
                observation: None,
            });
            let chain = |walk| HostChain {
                walk,
                noise: Key::new(2).into(),
                energy: EnergyKind::Joint,
                classes: classes.clone(),
                mixture: None,
                x: x.clone(),
                velocity: vec![0.0; x.len()],
                step: 0,
            };
            let steps = [
                sgld(GradientScaling::Raw),
                sgld(GradientScaling::Normalize),
                by_distance,
            ];
            let [plan, normalized, by_distance] = medians(seconds, steps.map(chain), |chain| {
                chain.advance(&engine, 1);
            });
            let burn = named.is_empty().then(|| {
                let [median] = medians(seconds, [()], |()| {
                    let (_, gradient) =
                        logits_and_gradient(|x| model.logits(x), images.clone(), &objective);
                    gradient.into_data();
                });
                median
            });
            let row = json!({
                "milliseconds": plan,
                "images_per_second": batch as f64 * 1e3 / plan,
                "normalized_milliseconds": normalized,
                "by_distance_milliseconds": by_distance,
                "burn_milliseconds": burn,
            });
            (name.to_string(), row)
        });
    Value::Object(Map::from_iter(rows))
}

/// Median milliseconds of `step` of each of these, which take turns, for so long and at least five times after
/// two more.
fn medians<T, const N: usize>(
    seconds: f64,
    mut of: [T; N],
    mut step: impl FnMut(&mut T),
) -> [f64; N] {
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let begun = Instant::now();
    while times[0].len() < 7 || begun.elapsed().as_secs_f64() < seconds * N as f64 {
        for (of, times) in of.iter_mut().zip(&mut times) {
            let start = Instant::now();
            step(of);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.map(|mut times| {
        times.drain(..2);
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
