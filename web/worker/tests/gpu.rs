//! The engine on a GPU against the engine on the processor, natively: `cargo xtask test gpu`. Here
//! rather than beside the engine, because this package is built without Burn.

#![cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
#![allow(missing_docs)]

use basin_shared::{
    Key, cpu,
    gpu::{Engine, Gpu},
    model_card::EnergyKind,
    models::{Activation, Normalization, WideResNetConfig},
    plan::Plan,
    weights::{Array, Weights},
};
use futures_executor::block_on;

/// Largest difference from the engine on the processor, as a share of the largest number.
const TOLERANCE: f32 = 1e-4;

fn plan(depth: usize, width: usize, channels: usize, size: usize, a: Activation) -> Plan {
    let config = WideResNetConfig {
        depth,
        width,
        channels,
        size,
        classes: 5,
        activation: a,
        normalization: Normalization {
            mean: vec![0.4, 0.5, 0.6][..channels].to_vec(),
            std: vec![0.2, 0.3, 0.5][..channels].to_vec(),
        },
    };
    let shapes = config.parameter_shapes().into_iter().enumerate();
    let weights: Weights = shapes
        .map(|(i, (name, shape))| {
            let count = shape.iter().product();
            let fan_in: usize = shape.iter().skip(1).product();
            let scale = 1.2 / (fan_in as f32).sqrt();
            let values = Key::new(i as u64).normals(count);
            let values = values.into_iter().map(|v| v * scale).collect();
            (name, Array { shape, values })
        })
        .collect();
    Plan::wide_resnet(&config, &weights)
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    let scale = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= TOLERANCE * scale,
            "{what}: number {i} is {a}, expected {b}, where numbers reach {scale}"
        );
    }
}

/// Needs a Vulkan driver; Mesa's software one will do.
#[test]
fn agrees_with_the_processor() {
    let gpu = block_on(Gpu::new()).expect("a GPU, or mesa-vulkan-drivers");
    for (depth, width, channels, size, batches) in [
        (10, 1, 1, 28, [1, 5]),
        (16, 1, 3, 32, [2, 3]),
        (10, 2, 3, 9, [4, 1]),
        (10, 3, 2, 14, [3, 3]),
        (10, 1, 1, 8, [17, 2]),
    ] {
        for activation in [Activation::Silu, Activation::LeakyRelu] {
            let plan = plan(depth, width, channels, size, activation);
            let oracle = cpu::Engine::new(plan.clone());
            let engine =
                block_on(Engine::new(gpu.clone(), plan)).unwrap_or_else(|error| panic!("{error}"));
            for (batch, energy) in batches
                .into_iter()
                .zip([EnergyKind::Joint, EnergyKind::Conditional])
            {
                let x = Key::new(7).uniforms(batch * channels * size * size);
                let classes = Key::new(8).integers(batch, 5);
                let expected = oracle.evaluate(&x, &classes, energy);
                let what = format!("{depth}-{width}, {size} pixels, batch {batch}");
                for _ in 0..2 {
                    let found = block_on(engine.evaluate(&x, &classes, energy)).unwrap();
                    assert_close(&found.logits, &expected.logits, &what);
                    assert_close(&found.gradient, &expected.gradient, &what);
                }
            }
        }
    }
}
