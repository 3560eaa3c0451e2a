//! Small networks of every architecture, with made-up weights.

use basin_shared::{
    Key,
    arrays::{Array, Weights},
    engine::plan::Plan,
    models::{
        Activation, Architecture, Normalization, PreActResNet18Config, ResNet18Config,
        WideResNetConfig,
    },
};

/// Logits of each of them.
pub(crate) const CLASSES: usize = 5;

pub(crate) fn normals(key: u64, count: usize, scale: f32) -> Vec<f32> {
    let values = Key::new(key).normals(count).into_iter();
    values.map(|value| value * scale).collect()
}

pub(crate) fn normalization(channels: usize) -> Normalization {
    Normalization {
        mean: vec![0.4, 0.5, 0.6][..channels].to_vec(),
        std: vec![0.2, 0.3, 0.5][..channels].to_vec(),
    }
}

pub(crate) fn wide(
    [depth, width, channels, size]: [usize; 4],
    activation: Activation,
) -> WideResNetConfig {
    WideResNetConfig {
        activation,
        normalization: normalization(channels),
        ..WideResNetConfig::new([depth, width], [channels, size], CLASSES)
    }
}

pub(crate) fn pre_act([channels, size]: [usize; 2], final_batch_norm: bool) -> Architecture {
    Architecture::PreActResnet18(PreActResNet18Config {
        width: 16,
        final_batch_norm,
        channels,
        size,
        classes: CLASSES,
        normalization: normalization(channels),
    })
}

pub(crate) fn resnet([channels, size]: [usize; 2]) -> Architecture {
    Architecture::Resnet18(ResNet18Config {
        width: 16,
        channels,
        size,
        classes: CLASSES,
        normalization: normalization(channels),
    })
}

/// The plan of a network with random weights, and BatchNorm that is far from the identity.
pub(crate) fn plan_of(architecture: &Architecture) -> Plan {
    let shapes = architecture.parameter_shapes().into_iter().enumerate();
    let weights: Weights = shapes
        .map(|(i, (name, shape))| {
            let count = shape.iter().product();
            let norms = ["bn", "batchnorm", "shortcut.1"];
            let values = if norms.iter().any(|norm| name.contains(norm)) {
                let draws = Key::new(i as u64).uniforms(count).into_iter();
                draws.map(|draw| 0.2 + draw).collect()
            } else {
                let fan_in: usize = shape.iter().skip(1).product();
                normals(i as u64, count, 1.2 / (fan_in as f32).sqrt())
            };
            (name, Array { shape, values })
        })
        .collect();
    architecture.plan(&weights).expect("a residual network")
}
