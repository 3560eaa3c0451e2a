//! What must hold on a GPU, tested through wgpu: any will do, also one in software.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use basin_shared::{
    Classifier,
    attacks::{Attack, Budget, GradientAt, Origin, Pgd},
    energy::{EnergyKind, Expected, Objective},
    models::{
        Architecture, Initialization, Normalization, PreActResNet18Config, ResNet18Config,
        WideResNetConfig,
    },
    samplers::{GradientScaling, Sgld},
    tensors::{
        Frozen, Network, OnTensors, Transfers, convolution::conv2d, energy, from_host, head::head,
        parameters, to_host, whole_from_host,
    },
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};

use crate::{
    commands::benchmark::{kernels_of, largest_difference, made_up_images},
    device::DeviceChoice,
    methods::fixture::network,
    recipe::Recipe,
    training::{
        self, ema,
        optimizer::{OptimizerState, optimizer},
        run::Run,
    },
};

/// The GPU, for one test at a time: launched kernels are counted for the whole process.
fn gpu() -> (Device, MutexGuard<'static, ()>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    (DeviceChoice::Wgpu.resolve().unwrap().0, guard)
}

/// A recipe that comes with the program, with other numbers.
fn recipe(name: &str, overrides: &[&str]) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.toml"));
    let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::read(&path, &overrides).unwrap()
}

/// A network and a batch for which software is fast enough.
const SMALL: [&str; 3] = [
    "architecture.depth=10",
    "architecture.width=1",
    "batch_size=8",
];

#[test]
fn convolutions_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    let numbers = |shape: &[usize], seed: u64| {
        let numbers = basin_shared::Key::new(seed).normals(shape.iter().product());
        TensorData::new(numbers, shape.to_vec())
    };
    // Images, channels in and out, rows and columns: less than a tile, a whole one, and a little more in each way.
    for [images, channels_in, channels_out, rows, columns] in [
        [1, 1, 1, 1, 1],
        [2, 3, 16, 8, 8],
        [5, 16, 17, 7, 9],
        [3, 70, 64, 6, 6],
        [4, 64, 130, 4, 2],
        [33, 5, 6, 12, 10],
    ] {
        for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0)] {
            let even = rows % 2 == 0 && columns % 2 == 0;
            if padding != kernel / 2 && !even {
                continue;
            }
            let out = [rows, columns].map(|size: usize| size.div_ceil(stride));
            let of = |device: &Device| {
                let device = device.clone().autodiff();
                let x = numbers(&[images, channels_in, rows, columns], 1);
                let x = Tensor::<4>::from_data(x, &device).require_grad();
                let weight = numbers(&[channels_out, channels_in, kernel, kernel], 2);
                let weight = Tensor::<4>::from_data(weight, &device).require_grad();
                let bias = Tensor::<1>::from_data(numbers(&[channels_out], 3), &device);
                let bias = bias.require_grad();
                let slopes = numbers(&[images, channels_out, out[0], out[1]], 4);
                let slopes = Tensor::<4>::from_data(slopes, &device);
                let added = Some(bias.clone());
                let y = conv2d(x.clone(), weight.clone(), added, stride, padding);
                let plain = conv2d(x.clone(), weight.clone(), None, stride, padding);
                let grads = (y.clone() * slopes).sum().backward();
                [
                    y.inner().into_data(),
                    plain.inner().into_data(),
                    x.grad(&grads).unwrap().into_data(),
                    weight.grad(&grads).unwrap().into_data(),
                    bias.grad(&grads).unwrap().into_data(),
                ]
            };
            let names = ["y", "y without a bias", "∂x", "∂weight", "∂bias"];
            let (found, expected) = (of(&gpu), of(&Device::flex()));
            for ((name, found), expected) in names.iter().zip(found).zip(expected) {
                let largest = expected.iter::<f32>().fold(0.0, |m: f32, v| m.max(v.abs()));
                let off = found.iter::<f32>().zip(expected.iter::<f32>());
                let off = off.fold(0.0, |m: f32, (a, b)| m.max((a - b).abs()));
                assert!(
                    off <= 1e-5 * largest.max(1.0),
                    "{name} is {off} off where numbers reach {largest}: {images} images, {channels_in} to \
                     {channels_out} channels, {rows}x{columns}, kernel {kernel}, stride {stride}, padding {padding}"
                );
            }
        }
    }
}

fn assert_close(name: &str, found: TensorData, expected: TensorData) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let largest = expected.iter::<f32>().fold(0.0, |m: f32, v| m.max(v.abs()));
    for (place, (a, b)) in found.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
        let off = (a - b).abs();
        assert!(
            off <= 1e-5 * largest.max(1e-3),
            "{name}: number {place} is {a}, expected {b}, where numbers reach {largest}"
        );
    }
}

/// The last layer, the energies and their means, with their gradients.
#[test]
fn energies_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    for [images, channels, size, classes] in [[1, 1, 1, 2], [5, 70, 3, 10], [130, 16, 8, 101]] {
        let of = |device: &Device| {
            let device = device.clone().autodiff();
            let numbers = |shape: &[usize], seed: u64| {
                let numbers = basin_shared::Key::new(seed).normals(shape.iter().product());
                TensorData::new(numbers, shape.to_vec())
            };
            let x = numbers(&[images, channels, size, size], 1);
            let x = Tensor::<4>::from_data(x, &device).require_grad();
            let weight = numbers(&[classes, channels], 2);
            let weight = Tensor::<2>::from_data(weight, &device).require_grad();
            let bias = Tensor::<1>::from_data(numbers(&[classes], 3), &device).require_grad();
            let y = basin_shared::Key::new(4).integers(images, classes);
            let y = whole_from_host(&y, &device.clone().inner());
            let f = head(x.clone(), weight.clone(), bias.clone());
            // Each with another share, so that none stands in for another.
            let energies = [
                energy::joint(f.clone(), y.clone()),
                energy::marginal(f.clone()),
                energy::conditional(f.clone(), y.clone()),
            ];
            let squares = energies.clone().map(|e| energy::mean(e.powf_scalar(2.0)));
            let [joint, marginal, conditional] = squares;
            let loss = joint + marginal * 0.3 + conditional * 0.7;
            let grads = loss.clone().backward();
            let [joint, marginal, conditional] = energies.map(|e| e.inner().into_data());
            vec![
                ("f", f.clone().inner().into_data()),
                ("E(x, y)", joint),
                ("E(x)", marginal),
                ("E(x, y) − E(x)", conditional),
                ("hits", energy::hits(f, y).into_data()),
                ("loss", loss.inner().into_data()),
                ("∂x", x.grad(&grads).unwrap().into_data()),
                ("∂weight", weight.grad(&grads).unwrap().into_data()),
                ("∂bias", bias.grad(&grads).unwrap().into_data()),
            ]
        };
        for ((name, found), (_, expected)) in of(&gpu).into_iter().zip(of(&Device::flex())) {
            assert_close(name, found, expected);
        }
    }
}

/// Gradients drawn at random, the same on every device.
struct Drawn {
    key: basin_shared::Key,
    gradients: GradientsParams,
}

impl ModuleVisitor for Drawn {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val().inner();
        let drawn = self.key.normals(weight.dims().iter().product());
        self.key = self.key.fold_in(0);
        let drawn = TensorData::new(drawn, weight.dims());
        let drawn = Tensor::<D>::from_data(drawn, &weight.device());
        self.gradients.register(param.id, drawn);
    }
}

/// Four steps of each rule, clipped, the last of them from a state that has gone to the other device and back.
#[test]
fn optimizers_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    for recipe in training::optimizer::every_rule() {
        let processor = Device::flex();
        let steps = |devices: [&Device; 4]| {
            let mut weights = parameters::collect(&network(&processor));
            let (mut state, mut norms) = (OptimizerState::default(), Vec::new());
            let mut average = weights.clone();
            let mut optimizer = optimizer(&recipe, devices[0]);
            for (step, device) in devices.into_iter().enumerate() {
                if step > 0 && device != devices[step - 1] {
                    optimizer = training::optimizer::optimizer(&recipe, device);
                    optimizer.restore(state, &weights, device).unwrap();
                }
                let model = parameters::load(network(&device.clone().autodiff()), &weights);
                let mut drawn = Drawn {
                    key: basin_shared::Key::new(step as u64),
                    gradients: GradientsParams::new(),
                };
                model.visit(&mut drawn);
                // The last gradient is smaller than that.
                let largest = [1.0, 1e6][usize::from(step == 3)];
                let (model, norm) = optimizer.step(0.01, model, drawn.gradients, largest);
                let average_of = parameters::load(network(device), &average);
                average = parameters::collect(&ema::update(average_of, &model, 0.7));
                weights = parameters::collect(&model.valid());
                state = optimizer.state();
                norms.push(norm.into_scalar::<f32>());
            }
            (weights, state, average, norms)
        };
        let expected = steps([&processor; 4]);
        for devices in [[&gpu; 4], [&gpu, &gpu, &processor, &gpu]] {
            let found = steps(devices);
            assert_eq!(found.1.counts, expected.1.counts);
            for (found, expected) in [
                (&found.0, &expected.0),
                (&found.1.arrays, &expected.1.arrays),
                (&found.2, &expected.2),
            ] {
                assert!(found.keys().eq(expected.keys()));
                for (name, array) in expected {
                    assert_close(name, found[name].to_data(), array.to_data());
                }
            }
            let off = largest_difference(&found.3, &expected.3);
            assert!(off < 1e-5, "norms {:?}, expected {:?}", found.3, expected.3);
        }
    }
}

/// What is compiled decides how soon a run starts.
///
/// Basin's own kernels are the same whatever the batch. Those of Burn have vectors as long as their sizes allow.
#[test]
fn an_iteration_needs_as_many_kernels_whatever_the_batch() {
    let (gpu, _guard) = gpu();
    // What was found, and a little room for another driver's sizes.
    for (name, more, most, most_apart) in [
        ("standard-cifar10", &[][..], 38, 2),
        ("prejeat-cifar10", &[], 41, 2),
        (
            "jeat-cifar10",
            &["method.steps=1", "method.buffer.capacity=16"],
            59,
            2,
        ),
        ("dsm-wrn-16-2-cifar10", &[], 95, 12),
    ] {
        let launched = [2, 4].map(|batch| {
            let batch = format!("batch_size={batch}");
            let sizes = ["architecture.depth=16", "architecture.width=4", &batch];
            let recipe = recipe(name, &[&sizes[..], more].concat());
            let images = made_up_images(&recipe);
            let mut run = Run::init(&recipe, &images, &gpu).unwrap();
            let (_, kernels) = kernels_of(|| run.iterate(&recipe, &images, &gpu));
            kernels.unwrap()
        });
        for kernels in launched {
            assert!(
                kernels <= most,
                "{name}: {kernels} kernels, expected at most {most}"
            );
        }
        let [few, more] = launched;
        assert!(
            few.abs_diff(more) <= most_apart,
            "{name}: {few} kernels for two images, {more} for four"
        );
    }
}

/// Each upload delays the host, each read-back has it wait for the device. The least are the batch's images and classes,
/// and the figures of the log line. An attack uploads the classes once more, as would a chain; DSM's energy of both kinds
/// is one that no kernel knows: its logits are read back, and their slopes are uploaded.
#[test]
fn transfers_of_an_iteration_are_counted() {
    let (gpu, _guard) = gpu();
    for (name, more, uploads, read_backs) in [
        ("standard-fashion-mnist", &[][..], 2, 1),
        ("prejeat-fashion-mnist", &[], 3, 1),
        ("dsm-fashion-mnist", &["method.weights.marginal=0.0"], 4, 2),
    ] {
        let recipe = recipe(name, &[&SMALL[..], more].concat());
        let images = made_up_images(&recipe);
        let mut run = Run::init(&recipe, &images, &gpu).unwrap();
        run.iterate(&recipe, &images, &gpu);
        let (_, found) = Transfers::of(|| run.iterate(&recipe, &images, &gpu));
        let expected = Transfers {
            uploads,
            read_backs,
        };
        assert_eq!(found, expected, "{name}");
    }
}

/// Methods of each kind: an attack, score terms, chains that go on, BatchNorm.
#[test]
fn iterations_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    for (name, more) in [
        ("standard-fashion-mnist", &[][..]),
        ("prejeat-fashion-mnist", &[]),
        ("dsm-fashion-mnist", &[]),
        (
            "jeat-fashion-mnist",
            &["method.steps=2", "method.buffer.capacity=32"],
        ),
        ("at-fashion-mnist", &["method.attack.steps=2"]),
    ] {
        let recipe = recipe(name, &[&SMALL[..], more].concat());
        let images = made_up_images(&recipe);
        let losses = |device: &Device| {
            let mut run = Run::init(&recipe, &images, device).unwrap();
            let loss = |_| run.iterate(&recipe, &images, device)[0].1;
            (0..3).map(loss).collect::<Vec<_>>()
        };
        let (found, expected) = (losses(&gpu), losses(&Device::flex()));
        let off = largest_difference(&found, &expected);
        // Signs of an attack's steps are those of numbers that may be all but zero.
        assert!(
            off <= 2e-3,
            "{name}: {found:?} on the GPU, {expected:?} on the processor"
        );
    }
}

/// Each architecture small, with weights and statistics of BatchNorm that are not those it begins with.
fn networks(device: &Device) -> Vec<Network> {
    let normalization = Normalization {
        mean: vec![0.4, 0.5, 0.6],
        std: vec![0.2, 0.3, 0.5],
    };
    let wide = WideResNetConfig {
        normalization: normalization.clone(),
        ..WideResNetConfig::new([10, 1], [3, 12], 5)
    };
    let pre_act = PreActResNet18Config {
        width: 16,
        final_batch_norm: true,
        channels: 3,
        size: 12,
        classes: 5,
        normalization: normalization.clone(),
    };
    let resnet = ResNet18Config {
        width: 16,
        channels: 3,
        size: 12,
        classes: 5,
        normalization,
    };
    let architectures = [
        Architecture::WideResnet(wide.clone()),
        Architecture::StandardWideResnet(wide.clone()),
        Architecture::DmWideResnet(wide),
        Architecture::PreActResnet18(pre_act),
        Architecture::Resnet18(resnet),
    ];
    let initialization = Initialization {
        gain: 1.4,
        residual_scale: 0.7,
    };
    architectures
        .into_iter()
        .map(|architecture| {
            let key = basin_shared::Key::new(3);
            let model = architecture.init(initialization, key, &Device::flex());
            let mut weights = parameters::collect(&model);
            for (n, (_, array)) in weights.iter_mut().enumerate() {
                // Biases and statistics.
                if array.shape.len() == 1 {
                    let draws = key.fold_in(n as u64).uniforms(array.values.len());
                    array.values = draws.into_iter().map(|draw| 0.2 + draw).collect();
                }
            }
            parameters::network(&architecture, &weights, device)
        })
        .collect()
}

/// Without a graph, the logits and the gradients of every energy, as the processor's compiled networks have them.
#[test]
fn frozen_networks_agree_with_the_processor() {
    let (gpu, _guard) = gpu();
    let batch = 3;
    let x = basin_shared::Key::new(4).uniforms(batch * 3 * 12 * 12);
    let p = [0.1, 0.2, 0.3, 0.15, 0.25].repeat(batch);
    for (there, here) in networks(&gpu).into_iter().zip(networks(&Device::flex())) {
        let title = here.architecture().title();
        let (there, here) = (there.frozen(), here.frozen());
        assert!(matches!(there, Frozen::Sequence(_)), "{title}");
        let logits = |frozen: &Frozen| TensorData::new(frozen.logits(&x, batch), [batch, 5]);
        assert_close(&title, logits(&there), logits(&here));
        // One that no kernel knows is the last.
        let mut objectives: Vec<Box<dyn Objective>> = [
            EnergyKind::Joint,
            EnergyKind::Marginal,
            EnergyKind::Conditional,
        ]
        .map(|kind| kind.of(vec![0, 4, 2]))
        .into();
        objectives.push(Box::new(Expected {
            probabilities: p.clone(),
        }));
        for objective in &objectives {
            let of = |frozen: &Frozen| {
                let found = frozen.evaluate(&x, batch, &**objective);
                let [logits, gradient] = [found.logits, found.gradient].map(|numbers| {
                    let count = numbers.len();
                    TensorData::new(numbers, [count])
                });
                (logits, gradient)
            };
            let (found, expected) = (of(&there), of(&here));
            let what = format!("{title}, {objective:?}");
            assert_close(&what, found.0, expected.0);
            assert_close(&what, found.1, expected.1);
        }
    }
}

/// Attacks that stay on the GPU, and what they move over the bus: the classes.
#[test]
fn attacks_stay_on_the_gpu_and_are_those_of_the_host() {
    let (gpu, _guard) = gpu();
    let frozen = networks(&gpu).remove(0).frozen();
    let (batch, key) = (4, basin_shared::Key::new(7));
    let x = key.uniforms(batch * 3 * 12 * 12);
    let on_gpu = from_host(x.clone(), [batch, 3, 12, 12], &gpu);
    let objective = EnergyKind::Conditional.of(vec![0, 4, 2, 1]);
    let pgd = Pgd {
        steps: 10,
        step_size: 0.02,
    };
    let pgd = Attack::pgd(Budget::linf(0.05), &*objective, pgd);
    for attack in [
        pgd,
        Attack {
            targeted: true,
            origin: Origin::Noise(0.01),
            ..pgd
        },
        Attack::energy(pgd.budget, &*objective, GradientAt::Clean),
        Attack::energy(pgd.budget, &*objective, GradientAt::Start),
        Attack::fgsm(pgd.budget, &*objective),
    ] {
        let (found, transfers) = Transfers::of(|| attack.on_tensors(&frozen, on_gpu.clone(), key));
        let expected = Transfers {
            uploads: 1,
            read_backs: 0,
        };
        assert_eq!(transfers, expected, "{attack:?}");
        let found = to_host(found);
        let expected = attack.run(&frozen, &x, batch, key);
        // The sign of a slope that is all but zero may be another.
        let off = found
            .iter()
            .zip(&expected)
            .filter(|(a, b)| (*a - *b).abs() > 1e-5);
        let (off, all) = (off.count(), x.len());
        assert!(
            off * 100 <= all,
            "{off} of {all} numbers differ: {attack:?}"
        );
        assert!(found.iter().zip(&x).any(|(a, b)| (a - b).abs() > 0.02));
    }
}

/// Chains that stay on the GPU, and what they move over the bus: the classes.
#[test]
fn chains_stay_on_the_gpu_and_are_those_of_the_host() {
    let (gpu, _guard) = gpu();
    let frozen = networks(&gpu).remove(0).frozen();
    let (batch, steps, key) = (4, 5, basin_shared::Key::new(8));
    let x = key.uniforms(batch * 3 * 12 * 12);
    let on_gpu = from_host(x.clone(), [batch, 3, 12, 12], &gpu);
    let raw = Sgld {
        step_size: 0.1,
        noise_std: 0.01,
        friction: 0.5,
        gradient: GradientScaling::Raw,
        clamp: true,
    };
    for sgld in [
        raw,
        Sgld {
            gradient: GradientScaling::Normalize,
            noise_std: 0.0,
            clamp: false,
            ..raw
        },
        Sgld {
            gradient: GradientScaling::Clamp(0.01),
            step_size: 1.0,
            friction: 0.0,
            ..raw
        },
    ] {
        let objective = EnergyKind::Joint.of(vec![0, 4, 2, 1]);
        let (found, transfers) =
            Transfers::of(|| frozen.sampled(&sgld, &*objective, on_gpu.clone(), key, steps));
        let expected = Transfers {
            uploads: 1,
            read_backs: 0,
        };
        assert_eq!(transfers, expected, "{sgld:?}");
        let found = to_host(found.expect("the GPU takes the steps by itself"));
        let (mut at, mut velocity) = (x.clone(), vec![0.0; x.len()]);
        for step in 0..steps {
            let gradient = frozen.evaluate(&at, batch, &*objective).gradient;
            sgld.step(key, step as u64, batch, &mut at, &mut velocity, &gradient);
        }
        let off = largest_difference(&found, &at);
        assert!(off < 1e-4, "{off} off: {sgld:?}");
        assert!(largest_difference(&found, &x) > 0.01, "{sgld:?}");
    }
}
