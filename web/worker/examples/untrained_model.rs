//! Writes a model file with random weights: the smallest Wide-ResNet there is, which tests use, or one
//! of the depth, width, channels and size given, which benchmarks use.
//!
//! `cargo run -p basin-worker --example untrained_model -- tests/e2e/fixtures/untrained.safetensors`

use std::collections::BTreeMap;

use basin_shared::{
    Classifier, Key, ModelCard, ModelFile,
    arrays::{Array, Weights},
    energy::{EnergyKind, Joint},
    engine::cpu::CompiledNetwork,
    file::{
        card::SCHEMA,
        container::{Probe, Storage, probe_images},
    },
    models::{Activation, Architecture, WideResNetConfig},
    samplers::{
        ClassGaussian, DistanceTable, Distances, GradientScaling, NoiseTable, Sampler,
        SamplerSettings, Sgld, Start,
    },
};

const CLASSES: usize = 3;
const RANK: usize = 2;

fn main() {
    let path = std::env::args().nth(1).expect("the path to write to");
    let numbers: Vec<usize> = std::env::args()
        .skip(2)
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [depth, width, channels, size] = numbers.try_into().unwrap_or([10, 1, 1, 8]);
    let config = WideResNetConfig {
        activation: Activation::LeakyRelu,
        ..WideResNetConfig::new([depth, width], [channels, size], CLASSES)
    };
    // Every layer keeps the scale of its input, so that logits are of the order of one.
    let shapes = config.parameter_shapes().into_iter().enumerate();
    let weights = shapes.map(|(i, (name, shape))| {
        let inputs: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 {
            0.0
        } else {
            1.2 / (inputs as f32).sqrt()
        };
        let values = Key::new(1)
            .fold_in(i as u64)
            .normals(shape.iter().product());
        let values = values.into_iter().map(|value| value * scale).collect();
        (name, Array { shape, values })
    });
    let weights: Weights = weights.collect();
    let architecture = Architecture::WideResnet(config);
    let settings = SamplerSettings {
        energy: EnergyKind::Joint,
        steps: 20,
        start: Start::Uniform,
        sampler: Sampler::Sgld(Sgld {
            step_size: 0.5,
            noise_std: 0.005,
            friction: 0.0,
            gradient: GradientScaling::Raw,
            clamp: true,
        }),
    };
    // The energies of random weights tell nothing: these numbers only have a sampler do something.
    let table = DistanceTable {
        energies: vec![-1.0, 0.0, 1.0],
        distances: vec![0.5, 1.0, 3.0],
        factors: vec![0.5, 1.0, 2.0],
    };
    let distances = Distances {
        joint: table.clone(),
        marginal: table,
        known_noise: NoiseTable {
            stds: vec![0.0, 1.0],
            lengths: vec![0.0, 5.0],
        },
    };
    let denoising = SamplerSettings {
        energy: EnergyKind::Marginal,
        ..settings
    };
    let card = ModelCard {
        schema: SCHEMA,
        name: "untrained".into(),
        architecture: architecture.clone(),
        class_names: ["alpha", "beta", "gamma"].map(String::from).into(),
        data_set: "none".into(),
        method: "none: random weights, for tests".into(),
        recipe: "# none".into(),
        begun_with: None,
        averaged: Vec::new(),
        hardware: Vec::new(),
        metrics: BTreeMap::new(),
        generation: settings,
        quick: None,
        denoising,
        distances: Some(distances),
        licence: "MIT OR Apache-2.0".into(),
        author: "Basin's tests".into(),
        basin_version: env!("CARGO_PKG_VERSION").into(),
        weights_sha256: "0".repeat(64),
    };
    let pixels = channels * size * size;
    let mut factor = vec![0.0; CLASSES * RANK * RANK];
    factor
        .iter_mut()
        .step_by(RANK + 1)
        .for_each(|diagonal| *diagonal = 0.2);
    let start = ClassGaussian {
        mean: array(
            [CLASSES, channels, size, size],
            Key::new(2).uniforms(CLASSES * pixels),
        ),
        basis: array(
            [RANK, channels, size, size],
            vec![1.0 / size as f32; RANK * pixels],
        ),
        factor: array([CLASSES, RANK, RANK], factor),
    };

    // Half precision rounds the weights: the probe is of those that a reader will find.
    let empty = Probe {
        logits: array([2, CLASSES], vec![0.0; 2 * CLASSES]),
        gradient: array([2, channels, size, size], vec![0.0; 2 * pixels]),
    };
    let file = ModelFile::new(card.clone(), weights, start, empty).expect("the parts fit");
    let bytes = file
        .write(Storage::Half)
        .expect("half precision holds the weights");
    let rounded = ModelFile::read(&bytes).expect("the file is sound");
    let x = probe_images(&architecture);
    let found = CompiledNetwork::new(rounded.plan().expect("a residual network")).evaluate(
        &x.values,
        2,
        &Joint {
            classes: vec![0, 1],
        },
    );
    let probe = Probe {
        logits: array([2, CLASSES], found.logits),
        gradient: array([2, channels, size, size], found.gradient),
    };
    let start = rounded.class_gaussian().clone();
    let file =
        ModelFile::new(card, rounded.weights().clone(), start, probe).expect("the parts fit");
    std::fs::write(
        &path,
        file.write(Storage::Half)
            .expect("half precision holds the weights"),
    )
    .unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn array<const D: usize>(shape: [usize; D], values: Vec<f32>) -> Array {
    Array {
        shape: shape.into(),
        values,
    }
}
