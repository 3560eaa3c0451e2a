//! The networks with BatchNorm against PyTorch's (tests/reference/batch_norm.py), and what evaluation
//! mode promises.

use std::collections::BTreeMap;

use basin_shared::{
    Classifier, Key,
    arrays::{Array, Weights},
    attacks::{Attack, Budget, Pgd},
    energy::{Conditional, EnergyKind},
    models::{
        Activation, Architecture, Initialization, Normalization, PreActResNet18Config,
        ResNet18Config, WideResNetConfig, is_statistic,
    },
    samplers::{GradientScaling, HostChain, Sgld, Step},
    tensors::{Frozen, Mode, Network, OnTensors, energy, gradient::value_and_gradient, parameters},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    architecture: Architecture,
    logits: Vec<f64>,
    /// Every 23rd number.
    gradients: BTreeMap<String, Vec<f64>>,
    /// Of a forward pass with the batch's statistics, as all that follows.
    training_logits: Vec<f64>,
    running_statistics_norms: BTreeMap<String, f64>,
    /// Of the mean cross-entropy.
    weight_gradient_norms: BTreeMap<String, f64>,
}

const UNTRAINED: Initialization = Initialization {
    gain: 1.4,
    residual_scale: 0.7,
};

/// sin(1.7 i + phase)
fn wave(count: usize, phase: f64) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| (1.7 * i as f64 + phase).sin())
}

fn weights(architecture: &Architecture) -> Weights {
    let mut shapes = architecture.parameter_shapes();
    shapes.sort();
    let array = |(phase, (name, shape)): (usize, (String, Vec<usize>))| {
        let (base, scale) = match name.rsplit('.').next().unwrap() {
            "weight" if shape.len() > 1 => (
                0.0,
                1.5 / (shape[1..].iter().product::<usize>() as f64).sqrt(),
            ),
            "weight" => (1.0, 0.3),
            "bias" => (0.0, 0.2),
            "running_mean" => (0.0, 0.3),
            "running_var" => (1.0, 0.5),
            other => panic!("unexpected {other}"),
        };
        let values = wave(shape.iter().product(), phase as f64);
        let values = values.map(|v| (base + scale * v) as f32).collect();
        (name, Array { shape, values })
    };
    shapes.into_iter().enumerate().map(array).collect()
}

fn images(architecture: &Architecture, device: &Device) -> Tensor<4> {
    let [channels, height, width] = architecture.image();
    let shape = [4, channels, height, width];
    let pixels = wave(shape.iter().product(), 0.3).map(|v| ((v + 1.0) / 2.0) as f32);
    Tensor::from_data(TensorData::new(pixels.collect(), shape), device)
}

fn classes() -> Vec<usize> {
    vec![3, 8, 0, 5]
}

fn labels(device: &Device) -> Tensor<1, Int> {
    Tensor::from_data([3, 8, 0, 5], device)
}

#[path = "../../tests/reference/relative_errors.rs"]
mod relative_errors;
use relative_errors::relative_errors;

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../tests/reference/batch_norm.json")).unwrap()
}

fn network(case: &Case, device: &Device) -> Network {
    let network = case.architecture.init(UNTRAINED, Key::new(0), device);
    parameters::load(network, &weights(&case.architecture))
}

fn l2_norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// By tensors, and by the compiled engine.
#[test]
fn logits_and_gradients_in_evaluation_mode_are_pytorchs() {
    let device = Device::flex();
    for case in cases() {
        let network = network(&case, &device);
        let frozen = network.frozen();
        let tensors = Frozen::Tensors(Box::new(network.valid()));
        let models = [("tensors", &tensors), ("compiled", &frozen)];
        for (by, model) in models {
            let name = format!("{} by {by}", case.architecture.title());
            let x = images(&case.architecture, &device);
            for (energy, kind) in [
                (EnergyKind::Joint, "joint"),
                (EnergyKind::Marginal, "marginal"),
                (EnergyKind::Conditional, "conditional"),
            ] {
                let energy = energy.of(classes());
                let (logits, gradient) = model.logits_and_gradient(x.clone(), &*energy);
                let (error, _) = relative_errors(logits.into_data().iter::<f32>(), &case.logits);
                assert!(error < 2e-5, "{name}: logits differ by {error:e}");
                let gradient = gradient.into_data();
                let (error, mean) =
                    relative_errors(gradient.iter::<f32>().step_by(23), &case.gradients[kind]);
                // Where rounding carries a number across zero, the slope of ReLU jumps; so little
                // is rarely in reach.
                let tolerance = if has_jumps(&case.architecture) {
                    1e-2
                } else {
                    1e-4
                };
                assert!(
                    error < tolerance && mean < tolerance / 10.0,
                    "{name}: {kind} gradient differs by {error:e}, in the mean by {mean:e}"
                );
            }
        }
    }
}

fn has_jumps(architecture: &Architecture) -> bool {
    match architecture {
        Architecture::WideResnet(config)
        | Architecture::StandardWideResnet(config)
        | Architecture::DmWideResnet(config) => config.activation != Activation::Silu,
        Architecture::PreActResnet18(_) | Architecture::Resnet18(_) => true,
        Architecture::Sequential(_) => unreachable!("it has no BatchNorm"),
    }
}

/// L2 norms of the gradients of all parameters, by name.
struct Norms<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    norms: BTreeMap<String, f64>,
}

impl ModuleVisitor for Norms<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            // The first name is that of the architecture.
            let name = self.path[1..].join(".");
            let norm = l2_norm(gradient.into_data().iter::<f32>());
            self.norms.insert(name, norm);
        }
    }
}

/// One forward pass in training mode: its logits, what it leaves in the running statistics, and the
/// gradients of the weights (where SiLU makes them continuous).
#[test]
fn a_training_pass_is_pytorchs() {
    let device = Device::flex();
    for case in cases() {
        let name = case.architecture.title();
        let network = network(&case, &device.clone().autodiff());
        let x = images(&case.architecture, &device).autodiff();
        let logits = network.forward(x, Mode::Train);
        let found = logits.clone().into_data();
        let (error, _) = relative_errors(found.iter::<f32>(), &case.training_logits);
        // Statistics of few pixels and the jumps of ReLU amplify rounding, of which there is another kind on every
        // processor: no less is asked than that noise of 1e-6 in the images moves the logits further.
        let jumps = has_jumps(&case.architecture);
        let logits_of_noisy = |key: u64| {
            let network = self::network(&case, &device.clone().autodiff());
            let x = images(&case.architecture, &device);
            let noise = Key::new(key).normal(x.dims(), &device) * 1e-6;
            network
                .forward((x + noise).autodiff(), Mode::Train)
                .into_data()
        };
        let unmoved: Vec<f64> = found.iter::<f64>().collect();
        let moved = |key: u64| relative_errors(logits_of_noisy(key).iter::<f32>(), &unmoved).0;
        let tolerance = match jumps {
            true => (0..3).map(moved).fold(1e-5, f64::max),
            false => 1e-5,
        };
        assert!(error < tolerance, "{name}: logits differ by {error:e}");

        let mut count = 0;
        for (tensor, array) in parameters::collect(&network.valid()) {
            if is_statistic(&tensor) {
                let (found, expected) = (
                    l2_norm(array.values.into_iter()),
                    case.running_statistics_norms[&tensor],
                );
                let error = (found - expected).abs() / expected;
                assert!(
                    error < if jumps { 2e-4 } else { 2e-6 },
                    "{name}: {tensor} has norm {found}, expected {expected}"
                );
                count += 1;
            }
        }
        assert_eq!(count, case.running_statistics_norms.len(), "{name}");

        if jumps {
            continue;
        }
        let loss = energy::conditional(logits, labels(&device)).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let mut found = Norms {
            gradients: &gradients,
            path: Vec::new(),
            norms: BTreeMap::new(),
        };
        network.visit(&mut found);
        assert_eq!(found.norms.len(), case.weight_gradient_norms.len());
        for (tensor, expected) in case.weight_gradient_norms {
            let found = found.norms[&tensor];
            let error = (found - expected).abs() / expected;
            assert!(
                error < 1e-4,
                "{name}: the gradient of {tensor} has norm {found}, expected {expected}"
            );
        }
    }
}

fn wide(size: usize) -> WideResNetConfig {
    WideResNetConfig {
        normalization: Normalization::uniform(1, 0.5, 0.25),
        ..WideResNetConfig::new([10, 1], [1, size], 10)
    }
}

fn small_architectures() -> [Architecture; 5] {
    let pre_act = |final_batch_norm| {
        Architecture::PreActResnet18(PreActResNet18Config {
            width: 16,
            final_batch_norm,
            channels: 1,
            size: 8,
            classes: 10,
            normalization: wide(8).normalization,
        })
    };
    [
        Architecture::StandardWideResnet(wide(8)),
        Architecture::DmWideResnet(wide(8)),
        pre_act(false),
        pre_act(true),
        Architecture::Resnet18(ResNet18Config {
            width: 16,
            channels: 1,
            size: 8,
            classes: 10,
            normalization: wide(8).normalization,
        }),
    ]
}

/// A network on the autodiff device whose statistics have moved.
fn trained_a_little(architecture: &Architecture) -> Network {
    let device = Device::flex();
    let network = architecture.init(UNTRAINED, Key::new(1), &device.clone().autodiff());
    for _ in 0..3 {
        network.forward(images(architecture, &device).autodiff(), Mode::Train);
    }
    network
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

#[test]
fn training_moves_the_statistics_and_mixes_examples() {
    for architecture in small_architectures() {
        let name = architecture.title();
        let network = trained_a_little(&architecture);
        let untrained = architecture.init(UNTRAINED, Key::new(1), &Device::flex());
        let [before, after] = [&untrained, &network.valid()].map(parameters::collect);
        for (tensor, array) in after {
            let moved = array != before[&tensor];
            assert_eq!(moved, is_statistic(&tensor), "{name}: {tensor}");
        }
        let x = images(&architecture, &Device::flex()).autodiff();
        let all = network.forward(x.clone(), Mode::Train).narrow(0, 0, 2);
        let some = network.forward(x.narrow(0, 0, 2), Mode::Train);
        assert_ne!(numbers(all), numbers(some), "{name}");
    }
}

/// Where an attack and a chain end that start at the first images.
fn ends(model: &impl Classifier, architecture: &Architecture, count: usize) -> [Vec<f32>; 2] {
    let device = Device::flex();
    let x = images(architecture, &device).narrow(0, 0, count);
    let classes = classes()[..count].to_vec();
    let settings = Pgd {
        steps: 3,
        step_size: 0.01,
    };
    let objective = Conditional {
        classes: classes.clone(),
    };
    let attack = Attack::pgd(Budget::linf(0.1), &objective, settings);
    let x = numbers(x);
    let x_adv = attack.run(model, &x, count, Key::new(2));
    let mut chain = HostChain {
        walk: Step::Sgld(Sgld {
            step_size: 0.1,
            noise_std: 0.0,
            friction: 0.5,
            gradient: GradientScaling::Raw,
            clamp: true,
        }),
        noise: Key::new(3).into(),
        energy: EnergyKind::Joint,
        classes,
        mixture: None,
        velocity: vec![0.0; x.len()],
        x,
        step: 0,
    };
    chain.advance(model, 3);
    [x_adv, chain.x]
}

/// By tensors and by the compiled engine: no statistic moves,
/// and images are the same alone as in company.
#[test]
fn attacks_and_samplers_run_in_evaluation_mode() {
    for architecture in small_architectures() {
        let name = architecture.title();
        let tracked = trained_a_little(&architecture);
        let before = parameters::collect(&tracked.valid());
        let (valid, frozen) = (tracked.valid(), tracked.frozen());
        let by_tensors = Frozen::Tensors(Box::new(valid.clone()));
        for (which, [all, two]) in [
            (
                "by tensors",
                [4, 2].map(|n| ends(&by_tensors, &architecture, n)),
            ),
            ("compiled", [4, 2].map(|n| ends(&frozen, &architecture, n))),
        ] {
            for (all, two) in all.iter().zip(&two) {
                let different = all.iter().zip(two).filter(|(a, b)| (*a - *b).abs() > 1e-5);
                // Rounding may turn the sign of a gradient that is all but zero.
                let share = different.count() as f64 / two.len() as f64;
                assert!(
                    share < 0.02,
                    "{name}, {which}: alone, {share} of the pixels differ"
                );
            }
        }
        assert_eq!(parameters::collect(&tracked.valid()), before, "{name}");
        assert_eq!(parameters::collect(&valid), before, "{name}");
    }
}

/// What a network froze stays, and what trains goes on.
#[test]
fn a_frozen_network_does_not_follow_the_statistics() {
    let device = Device::flex();
    for architecture in small_architectures() {
        let network = trained_a_little(&architecture);
        let x = images(&architecture, &device);
        let valid = network.valid();
        let before = numbers(valid.logits(x.clone()));
        network.forward(x.clone().autodiff(), Mode::Train);
        assert_eq!(numbers(valid.logits(x.clone())), before);
        assert_ne!(numbers(network.valid().logits(x)), before);
    }
}

/// Evaluation mode on a tracked network: weights have gradients, statistics are constants.
#[test]
fn weights_train_with_frozen_statistics() {
    let device = Device::flex();
    for architecture in small_architectures() {
        let network = trained_a_little(&architecture);
        let before = parameters::collect(&network.valid());
        let x = images(&architecture, &device).autodiff();
        let loss = energy::marginal(network.forward(x.clone(), Mode::Evaluate)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let learned = before.keys().filter(|name| !is_statistic(name)).count();
        assert_eq!(gradients.len(), learned, "{}", architecture.title());
        assert_eq!(parameters::collect(&network.valid()), before);
        let (_, gradient) = value_and_gradient(|x| energy::marginal(network.logits(x)), x);
        assert!(numbers(gradient).iter().any(|&g| g != 0.0));
    }
}

#[test]
fn parameter_shapes_and_counts_are_those_of_the_module() {
    for architecture in small_architectures() {
        let network = architecture.init(UNTRAINED, Key::new(0), &Device::flex());
        let built: Vec<_> = parameters::collect(&network)
            .into_iter()
            .map(|(name, array)| (name, array.shape))
            .collect();
        let mut listed = architecture.parameter_shapes();
        listed.sort();
        assert_eq!(listed, built, "{}", architecture.title());
    }
    // As PyTorch counts the published networks.
    let cifar10 = |depth, width| WideResNetConfig::new([depth, width], [3, 32], 10);
    for (architecture, tensors, parameters) in [
        (
            Architecture::StandardWideResnet(cifar10(28, 10)),
            130,
            36_479_194,
        ),
        (Architecture::DmWideResnet(cifar10(28, 10)), 130, 36_479_194),
        (
            Architecture::PreActResnet18(PreActResNet18Config {
                width: 64,
                final_batch_norm: true,
                channels: 3,
                size: 32,
                classes: 10,
                normalization: cifar10(10, 1).normalization,
            }),
            90,
            11_172_170,
        ),
        (
            Architecture::Resnet18(ResNet18Config {
                width: 64,
                channels: 3,
                size: 32,
                classes: 10,
                normalization: cifar10(10, 1).normalization,
            }),
            102,
            11_173_962,
        ),
    ] {
        assert_eq!(architecture.check(), Ok(()));
        // Without the counter of batches that PyTorch keeps in each BatchNorm.
        assert_eq!(architecture.parameter_shapes().len(), tensors);
        assert_eq!(architecture.parameter_count(), parameters);
    }
}

#[test]
fn sizes_that_a_layout_cannot_take_are_named() {
    let message = |architecture: Architecture| architecture.check().unwrap_err().to_string();
    assert_eq!(
        message(Architecture::DmWideResnet(wide(30))),
        "size is 30, expected a multiple of 4 for this architecture"
    );
    let pre_act = PreActResNet18Config {
        width: 24,
        final_batch_norm: true,
        channels: 1,
        size: 28,
        classes: 10,
        normalization: wide(8).normalization,
    };
    assert_eq!(
        message(Architecture::PreActResnet18(pre_act)),
        "width is 24, expected a multiple of 16 for this architecture"
    );
}
