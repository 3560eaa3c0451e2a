//! Burn's tensors as the oracle of the engine on the processor, with every set of instructions that it has.

use crate::{
    Classifier, Key,
    energy::EnergyKind,
    engine::{cpu::CompiledNetwork, plan::Plan, simd::Isa},
    models::{
        Activation, Architecture, Initialization, Normalization, PreActResNet18Config,
        ResNet18Config, WideResNetConfig,
    },
    tensors::{gradient::logits_and_gradient, parameters, to_host},
};
use burn::tensor::Device;

/// Largest difference from Burn's numbers, as a share of the largest of them. Each layer adds
/// some 1e-6, Winograd's transforms the most of it.
const TOLERANCE: f32 = 1e-4;

fn config(depth: usize, width: usize, channels: usize, size: usize) -> WideResNetConfig {
    WideResNetConfig {
        normalization: Normalization {
            mean: vec![0.4, 0.5, 0.6][..channels].to_vec(),
            std: vec![0.2, 0.3, 0.5][..channels].to_vec(),
        },
        ..WideResNetConfig::new([depth, width], [channels, size], 5)
    }
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= TOLERANCE * scale,
            "{what}: number {i} is {a}, expected {b}, where numbers reach {scale}"
        );
    }
}

fn check(architecture: &Architecture, batch: usize, kind: EnergyKind) {
    let device = Device::flex();
    let initialization = Initialization {
        gain: 1.4,
        residual_scale: 0.7,
    };
    let model = architecture.init(initialization, Key::new(3), &device);
    // BatchNorm begins as the identity: here it is none.
    let mut weights = parameters::collect(&model);
    for (n, (name, array)) in weights.iter_mut().enumerate() {
        if ["bn", "batchnorm", "shortcut.1"]
            .iter()
            .any(|norm| name.contains(norm))
        {
            let draws = Key::new(6).fold_in(n as u64).uniforms(array.values.len());
            array.values = draws.into_iter().map(|draw| 0.2 + draw).collect();
        }
    }
    let model = parameters::load(model, &weights);
    let [channels, height, width] = architecture.image();
    let x = Key::new(4).uniform([batch, channels, height, width], &device);
    let classes = Key::new(5).integers(batch, architecture.classes());
    let objective = kind.of(classes);
    let (logits, gradient) = logits_and_gradient(|x| model.logits(x), x.clone(), &*objective);
    let (gradient, x) = (to_host(gradient), to_host(x));

    let plan = architecture.plan(&weights).unwrap();
    for isa in Isa::available() {
        let engine = CompiledNetwork::with_isa(plan.clone(), isa);
        let what = format!("{isa:?} {architecture:?} batch {batch} {kind:?}");
        // Twice: the second time the memory is no longer new.
        for _ in 0..2 {
            let found = engine.evaluate(&x, batch, &*objective);
            assert_close(&found.logits, &logits, &format!("logits, {what}"));
            assert_close(&found.gradient, &gradient, &format!("gradient, {what}"));
        }
    }
}

#[test]
fn agrees_with_burn_at_every_size() {
    for (depth, width, channels, size, batch) in [
        (10, 1, 1, 28, 1),
        (16, 1, 1, 28, 5),
        (10, 2, 3, 32, 17),
        (10, 3, 2, 9, 3),
        (10, 1, 3, 11, 2),
        (22, 1, 1, 8, 2),
        (10, 5, 3, 14, 1),
    ] {
        let config = config(depth, width, channels, size);
        check(&Architecture::WideResnet(config), batch, EnergyKind::Joint);
    }
}

#[test]
fn agrees_with_burn_for_every_energy_and_activation() {
    for kind in [
        EnergyKind::Joint,
        EnergyKind::Marginal,
        EnergyKind::Conditional,
    ] {
        for activation in [Activation::Silu, Activation::LeakyRelu] {
            let config = WideResNetConfig {
                activation,
                ..config(10, 1, 1, 12)
            };
            check(&Architecture::WideResnet(config), 3, kind);
        }
    }
}

#[test]
fn agrees_with_burn_for_every_architecture() {
    let wide = |size| config(16, 2, 3, size);
    let relu = |size| WideResNetConfig {
        activation: Activation::Relu,
        ..wide(size)
    };
    let pre_act = |final_batch_norm| {
        Architecture::PreActResnet18(PreActResNet18Config {
            width: 16,
            final_batch_norm,
            channels: 3,
            size: 18,
            classes: 5,
            normalization: wide(18).normalization,
        })
    };
    for architecture in [
        Architecture::StandardWideResnet(wide(13)),
        Architecture::StandardWideResnet(relu(32)),
        Architecture::DmWideResnet(wide(20)),
        Architecture::DmWideResnet(relu(12)),
        pre_act(false),
        pre_act(true),
        Architecture::Resnet18(ResNet18Config {
            width: 16,
            channels: 3,
            size: 18,
            classes: 5,
            normalization: wide(18).normalization,
        }),
    ] {
        check(&architecture, 5, EnergyKind::Conditional);
    }
}

#[test]
fn an_image_is_the_same_alone_as_in_company() {
    let config = config(10, 1, 1, 10);
    let initialization = Initialization {
        gain: 1.4,
        residual_scale: 0.7,
    };
    let model = config.init(initialization, Key::new(3), &Device::flex());
    let engine = CompiledNetwork::new(Plan::wide_resnet(&config, &parameters::collect(&model)));
    let x = Key::new(1).uniforms(20 * 100);
    let classes = Key::new(2).integers(20, 5);
    let last = EnergyKind::Joint.of(classes[19..].to_vec());
    let last = engine.evaluate(&x[1900..], 1, &*last);
    let all = engine.evaluate(&x, 20, &*EnergyKind::Joint.of(classes));
    assert_eq!(all.gradient[1900..], last.gradient);
    assert_eq!(all.logits[95..], last.logits);
}
