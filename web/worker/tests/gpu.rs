//! The engine on a GPU against the engine on the processor, natively: `cargo xtask test gpu`. Here
//! rather than beside the engine, because this package is built without Burn. Needs a Vulkan driver;
//! Mesa's software one will do.

#![cfg(not(target_arch = "wasm32"))]
#![allow(missing_docs)]

mod networks;
mod scalar;

use std::sync::{Mutex, MutexGuard};

use networks::{normalization, normals, plan_of, pre_act, resnet, wide};

use basin_protocol::{Reply, Request};
use basin_shared::{
    Classifier, Key,
    energy::{EnergyKind, Expected, Joint, Mixture, Objective},
    engine::{
        cpu,
        gpu::{Gpu, GpuChain, GpuError, GpuNetwork, Storage},
        plan::{Active, Affine, Convolution, Extent, Head, Operation, Plan},
    },
    models::{Activation, Architecture},
    samplers::{
        Annealing, ByDistance, DistanceTable, GradientScaling, HostChain, Noise, Observation,
        STEPS_PER_FRAME, Sgld, Step, observation::Observed,
    },
};
use basin_worker::{
    engine::Engine,
    session::{Beside, Session},
};
use futures_executor::block_on;

/// Largest difference from the engine on the processor, as a share of the largest number.
const TOLERANCE: f32 = 1e-4;
/// The same where numbers are stored in half precision, which has three digits.
const HALF_TOLERANCE: f32 = 1e-2;

/// One test at a time has the device: the software one takes all of the processor anyway.
fn gpu(storage: Storage) -> (Gpu, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let gpu = block_on(Gpu::new(storage, |_, _| ()));
    (gpu.expect("a GPU, or mesa-vulkan-drivers"), alone)
}

fn engine(gpu: &Gpu, plan: &Plan) -> GpuNetwork {
    block_on(GpuNetwork::new(gpu.clone(), plan.clone())).unwrap_or_else(|error| panic!("{error}"))
}

fn wide_resnet(numbers: [usize; 4], activation: Activation) -> Plan {
    plan_of(&Architecture::WideResnet(wide(numbers, activation)))
}

/// Kernel, stride and padding of every convolution that a plan may have; zeros behind the image alone
/// fit images of even size.
fn filters(size: usize) -> impl Iterator<Item = [usize; 3]> {
    let all = [[3, 1, 1], [3, 2, 1], [1, 1, 0], [1, 2, 0], [3, 2, 0]];
    all.into_iter()
        .filter(move |&filter| filter != [3, 2, 0] || size.is_multiple_of(2))
}

/// A network of a first convolution, and one more of this shape, forward and backward.
fn one_convolution(
    [input, output]: [usize; 2],
    size: usize,
    [kernel, stride, padding]: [usize; 3],
) -> Plan {
    let image = Extent { channels: 1, size };
    let inner = Extent {
        channels: input,
        size,
    };
    let end = Extent {
        channels: output,
        size: size.div_ceil(stride),
    };
    let convolution = |key, input: Extent, output: Extent, kernel, stride, padding| {
        let inputs = input.channels * kernel * kernel;
        Convolution {
            input,
            output,
            kernel,
            stride,
            padding,
            weight: normals(key, inputs * output.channels, 1.2 / (inputs as f32).sqrt()),
            bias: normals(key + 1, output.channels, 0.1),
            affine: None,
            linear: false,
        }
    };
    let active = |value, derivative| Active { value, derivative };
    Plan {
        image,
        normalization: normalization(1),
        activation: Activation::Silu,
        buffers: vec![image, inner, inner, end, end, end, inner],
        convolutions: vec![
            convolution(1, image, inner, 3, 1, 1),
            convolution(3, inner, end, kernel, stride, padding),
        ],
        head: Head {
            weight: normals(5, 3 * output, 1.0),
            bias: normals(6, 3, 1.0),
        },
        operations: vec![
            Operation::Normalize { output: 0 },
            Operation::Forward {
                convolution: 0,
                source: 0,
                raw: None,
                active: Some(active(1, 2)),
            },
            Operation::Forward {
                convolution: 1,
                source: 1,
                raw: None,
                active: Some(active(3, 4)),
            },
            Operation::Head {
                active: active(3, 4),
                output: 5,
            },
            Operation::Backward {
                convolution: 1,
                source: 5,
                derivative: Some(2),
                output: 6,
                add: false,
            },
            Operation::BackwardToImage {
                convolution: 0,
                source: 6,
            },
        ],
    }
}

/// Compares every number, as a share of the largest.
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    let scale = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}: number {i} is {a}, expected {b}, where numbers reach {scale}"
        );
    }
}

/// Compares the length of the difference with the length of what is expected: the derivatives of ReLU and
/// LeakyReLU jump, and of a hundred thousand numbers one lies near enough to the jump for its
/// rounding to matter. One of the 3072 before the head moves the gradient by a share of 0.8/√3072.
fn assert_close_but_for_jumps(found: &[f32], expected: &[f32], what: &str) {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let apart = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let expected = length(&mut expected.iter().copied());
    assert!(
        apart <= 0.05 * expected,
        "{what}: {apart} apart, where the length is {expected}"
    );
}

/// Compares logits and gradients of a batch.
fn check(gpu: &Gpu, plan: &Plan, batch: usize, energy: EnergyKind, tolerance: f32, what: &str) {
    let image = plan.image.channels * plan.image.size.pow(2);
    let x = Key::new(7).uniforms(batch * image);
    let classes = Key::new(8).integers(batch, plan.classes());
    check_objective(gpu, plan, &x, &*energy.of(classes), tolerance, what);
}

/// The same of any objective.
fn check_objective(
    gpu: &Gpu,
    plan: &Plan,
    x: &[f32],
    objective: &dyn Objective,
    tolerance: f32,
    what: &str,
) {
    let batch = x.len() / (plan.image.channels * plan.image.size.pow(2));
    let expected = cpu::CompiledNetwork::new(plan.clone()).evaluate(x, batch, objective);
    let found = block_on(engine(gpu, plan).evaluate(x, batch, objective)).unwrap();
    assert_close(&found.logits, &expected.logits, tolerance, what);
    match plan.activation {
        Activation::Silu => assert_close(&found.gradient, &expected.gradient, tolerance, what),
        _ => assert_close_but_for_jumps(&found.gradient, &expected.gradient, what),
    }
}

/// Channels in and out, rows and columns, and images.
const SHAPES: [([usize; 2], usize, usize); 15] = [
    ([1, 1], 1, 1),
    ([1, 2], 2, 3),
    ([3, 5], 3, 2),
    ([4, 4], 4, 64),
    ([5, 3], 5, 7),
    ([7, 17], 9, 2),
    ([16, 16], 8, 17),
    ([16, 32], 32, 1),
    ([17, 1], 11, 2),
    ([33, 40], 13, 3),
    ([64, 20], 7, 5),
    ([128, 130], 6, 2),
    ([160, 320], 8, 1),
    ([640, 640], 4, 2),
    ([5, 1280], 4, 1),
];

/// Compares a batch with the definition.
fn check_definition(gpu: &Gpu, plan: &Plan, batch: usize, what: &str) {
    let Extent { channels, size } = plan.image;
    let image = channels * size * size;
    let x = Key::new(7).uniforms(batch * image);
    let classes = Key::new(8).integers(batch, plan.classes());
    let objective = Joint {
        classes: classes.clone(),
    };
    let found = block_on(engine(gpu, plan).evaluate(&x, batch, &objective)).unwrap();
    // A large batch repeats what its first and last images show.
    for n in [0, batch - 1] {
        let numbers = n * image..(n + 1) * image;
        let x = &x[numbers.clone()];
        let (logits, gradient) = scalar::evaluate(plan, x, classes[n], EnergyKind::Joint);
        let [logits, gradient] = [logits, gradient]
            .map(|values| values.into_iter().map(|v| v as f32).collect::<Vec<_>>());
        let what = format!("{what}, image {n} of {batch}");
        let found_logits = &found.logits[n * logits.len()..][..logits.len()];
        assert_close(found_logits, &logits, TOLERANCE, &what);
        assert_close(&found.gradient[numbers], &gradient, TOLERANCE, &what);
    }
}

/// An objective that no kernel knows: its slope is computed on the host.
#[test]
fn any_objective_has_its_gradient() {
    for (storage, tolerance) in [
        (Storage::Single, TOLERANCE),
        (Storage::Half, HALF_TOLERANCE),
    ] {
        let (gpu, _alone) = gpu(storage);
        let plan = wide_resnet([10, 1, 3, 12], Activation::Silu);
        let (batch, classes) = (4, plan.classes());
        let x = Key::new(7).uniforms(batch * 3 * 144);
        let mut probabilities = Key::new(9).uniforms(batch * classes);
        for row in probabilities.chunks_exact_mut(classes) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        let objective = Expected { probabilities };
        let what = format!("{storage:?}");
        check_objective(&gpu, &plan, &x, &objective, tolerance, &what);
    }
}

#[test]
fn every_kernel_computes_what_is_defined_at_every_shape() {
    let (gpu, _alone) = gpu(Storage::Single);
    for (channels, size, batch) in SHAPES {
        for filter in filters(size) {
            let plan = one_convolution(channels, size, filter);
            let what = format!("{channels:?} {filter:?}, {size} pixels");
            check_definition(&gpu, &plan, batch, &what);
        }
    }
}

#[test]
fn whatever_follows_a_convolution_is_what_is_defined() {
    let (gpu, _alone) = gpu(Storage::Single);
    let affine = |channels| Affine {
        scale: normals(11, channels, 1.0),
        shift: normals(12, channels, 0.5),
    };
    for (channels, size, batch) in [([5, 3], 6, 3), ([17, 40], 12, 2)] {
        for filter in filters(size) {
            for activation in [Activation::Silu, Activation::LeakyRelu, Activation::Relu] {
                for (normalized, linear) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let mut plan = one_convolution(channels, size, filter);
                    plan.activation = activation;
                    plan.convolutions[1].linear = linear;
                    if normalized {
                        for convolution in &mut plan.convolutions {
                            convolution.affine = Some(affine(convolution.output.channels));
                        }
                    }
                    let what = format!(
                        "{channels:?} {filter:?}, {size} pixels, {activation:?}, BatchNorm {normalized}, linear {linear}"
                    );
                    check_definition(&gpu, &plan, batch, &what);
                }
            }
        }
    }
}

const NETWORKS: [([usize; 4], usize, EnergyKind); 5] = [
    ([10, 1, 1, 28], 5, EnergyKind::Joint),
    ([16, 1, 3, 32], 3, EnergyKind::Marginal),
    ([10, 2, 3, 9], 4, EnergyKind::Conditional),
    ([10, 3, 2, 14], 3, EnergyKind::Joint),
    ([10, 1, 1, 8], 17, EnergyKind::Conditional),
];

fn check_networks(gpu: &Gpu, activations: &[Activation], tolerance: f32) {
    for (network, batch, energy) in NETWORKS {
        for &activation in activations {
            let plan = wide_resnet(network, activation);
            let what = format!("{network:?} {activation:?}, batch {batch}, {energy:?}");
            check(gpu, &plan, batch, energy, tolerance, &what);
        }
    }
}

#[test]
fn networks_agree_with_the_processor() {
    let (gpu, _alone) = gpu(Storage::Single);
    check_networks(&gpu, &[Activation::Silu, Activation::LeakyRelu], TOLERANCE);
}

const ENERGIES: [EnergyKind; 3] = [
    EnergyKind::Joint,
    EnergyKind::Marginal,
    EnergyKind::Conditional,
];

/// Those with BatchNorm.
fn architectures() -> [Architecture; 7] {
    use Activation::{Relu, Silu};
    [
        Architecture::StandardWideResnet(wide([16, 2, 3, 13], Silu)),
        Architecture::StandardWideResnet(wide([10, 1, 3, 32], Relu)),
        Architecture::DmWideResnet(wide([10, 2, 3, 20], Silu)),
        Architecture::DmWideResnet(wide([16, 1, 1, 12], Relu)),
        pre_act([3, 18], false),
        pre_act([3, 18], true),
        resnet([3, 18]),
    ]
}

/// Checks every architecture, with every energy: as it is, and with SiLU, whose gradients show every number.
fn check_architectures(gpu: &Gpu, activations: &[Option<Activation>], tolerance: f32) {
    for architecture in architectures() {
        let mut plan = plan_of(&architecture);
        for activation in activations {
            plan.activation = activation.unwrap_or(plan.activation);
            for energy in ENERGIES {
                let of = plan.activation;
                let what = format!("{architecture:?} with {of:?}, {energy:?}");
                check(gpu, &plan, 3, energy, tolerance, &what);
            }
        }
    }
}

#[test]
fn every_architecture_agrees_with_the_processor() {
    let (gpu, _alone) = gpu(Storage::Single);
    check_architectures(&gpu, &[None, Some(Activation::Silu)], TOLERANCE);
}

#[test]
fn networks_drawn_at_random_agree_with_the_processor() {
    let (gpu, _alone) = gpu(Storage::Single);
    for n in 0..25 {
        let draws = Key::new(40).fold_in(n).integers(8, 1 << 16);
        let draw = |i: usize, least: usize, most: usize| least + draws[i] % (most - least + 1);
        let channels = draw(0, 1, 3);
        // DeepMind's takes multiples of four.
        let size = match n % 5 {
            2 => 4 * draw(1, 2, 6),
            _ => draw(1, 8, 24),
        };
        let activation = [Activation::Silu, Activation::LeakyRelu, Activation::Relu][draw(2, 0, 2)];
        let numbers = [[10, 16][draw(3, 0, 1)], draw(4, 1, 3), channels, size];
        let config = wide(numbers, activation);
        let architecture = match n % 5 {
            0 => Architecture::WideResnet(config),
            1 => Architecture::StandardWideResnet(config),
            2 => Architecture::DmWideResnet(config),
            3 => resnet([channels, size]),
            _ => pre_act([channels, size], draw(2, 0, 1) == 0),
        };
        let (batch, energy) = (draw(5, 1, 7), ENERGIES[draw(6, 0, 2)]);
        let what = format!("network {n}: {architecture:?}, batch {batch}, {energy:?}");
        let mut plan = plan_of(&architecture);
        check(&gpu, &plan, batch, energy, TOLERANCE, &what);
        plan.activation = Activation::Silu;
        check(
            &gpu,
            &plan,
            batch,
            energy,
            TOLERANCE,
            &format!("{what}, with SiLU"),
        );
    }
}

#[test]
fn networks_in_half_precision_agree_to_three_digits_and_go_back_to_single() {
    let (gpu, _alone) = gpu(Storage::Half);
    if gpu.storage() == Storage::Single {
        return eprintln!("NOT TESTED: this adapter has no shader-f16");
    }
    // With LeakyReLU or ReLU so many numbers lie near enough to the jump that gradients differ by a tenth: a
    // self-test then turns to single precision.
    let smooth = &[Activation::Silu];
    check_networks(&gpu, smooth, HALF_TOLERANCE);
    // PreActResNet-18 has eighteen layers, and loses half a digit more.
    let deep = 2.0 * HALF_TOLERANCE;
    check_architectures(&gpu, &[Some(Activation::Silu)], deep);
    let single = block_on(gpu.in_single_precision()).unwrap();
    check_networks(&single, smooth, TOLERANCE);
}

#[test]
fn a_worker_loads_a_model_in_the_precision_that_reproduces_its_probe() {
    const UNTRAINED: &[u8] = include_bytes!("../../../tests/e2e/fixtures/untrained.safetensors");
    let (gpu, _alone) = gpu(Storage::Half);
    let is_half = gpu.storage() == Storage::Half;
    let load = |engine| {
        let beside = Beside {
            bytes: UNTRAINED.to_vec(),
            ..Beside::default()
        };
        match block_on(Session::new(engine, || 0.0).answer(Request::Load, beside)) {
            Some((Reply::Loaded { self_test, .. }, _)) => self_test,
            other => panic!("{other:?}"),
        }
    };
    let mut worker = gpu.clone();
    let self_test = load(gpu);
    assert!(self_test.passed(), "{self_test:?}");
    assert_eq!(block_on(worker.refine()), is_half);
    assert!(!block_on(worker.refine()));
    let self_test = load(worker);
    assert!(self_test.largest() < TOLERANCE, "{self_test:?}");
}

/// The start of a chain of two images.
fn dynamics(plan: &Plan, gradient: GradientScaling, friction: f32, clamp: bool) -> HostChain {
    let image = plan.image.channels * plan.image.size.pow(2);
    HostChain {
        walk: Step::Sgld(Sgld {
            step_size: match gradient {
                GradientScaling::Normalize => 0.02,
                _ => 0.05,
            },
            noise_std: 0.005,
            friction,
            gradient,
            clamp,
        }),
        noise: Key::new(5).into(),
        energy: EnergyKind::Joint,
        classes: vec![0, 2],
        mixture: None,
        x: Key::new(6).uniforms(2 * image),
        velocity: vec![0.0; 2 * image],
        step: 0,
    }
}

/// Steps so small are not chaotic: after a hundred, pixels differ by less than this.
const CHAIN_TOLERANCE: f32 = 1e-4;

#[test]
fn a_chain_of_a_hundred_steps_is_the_processors() {
    let (gpu, _alone) = gpu(Storage::Single);
    // 81 numbers of an image are no multiple of the four that a block of noise has.
    let jem = wide_resnet([10, 1, 1, 9], Activation::Silu);
    let standard = Architecture::StandardWideResnet(wide([10, 1, 3, 9], Activation::Silu));
    let deep_mind = Architecture::DmWideResnet(wide([10, 1, 3, 8], Activation::Silu));
    for (plan, gradient, friction, clamp) in [
        (jem.clone(), GradientScaling::Raw, 0.0, true),
        (jem.clone(), GradientScaling::Clamp(0.01), 0.5, true),
        (jem, GradientScaling::Normalize, 0.9, false),
        (plan_of(&standard), GradientScaling::Raw, 0.0, true),
        (plan_of(&deep_mind), GradientScaling::Normalize, 0.5, true),
        (
            plan_of(&pre_act([1, 8], false)),
            GradientScaling::Clamp(0.01),
            0.0,
            true,
        ),
    ] {
        let network = cpu::CompiledNetwork::new(plan.clone());
        let mut expected = dynamics(&plan, gradient, friction, clamp);
        let mut chain = block_on(GpuChain::new(&engine(&gpu, &plan), expected.clone())).unwrap();
        // Alone and in company, as a worker may ask for them.
        for steps in [1, 1, 2, 4, 8, 16, STEPS_PER_FRAME, STEPS_PER_FRAME, 5] {
            let expected = expected.advance(&network, steps);
            let found = block_on(chain.advance(steps)).unwrap();
            let what = format!("{gradient:?} at step {}", expected.step);
            assert_eq!(found.step, expected.step, "{what}");
            assert_close(&found.x, &expected.x, CHAIN_TOLERANCE, &what);
            assert_close(
                &found.logits,
                &expected.logits,
                10.0 * CHAIN_TOLERANCE,
                &what,
            );
        }
        assert_eq!(expected.step, 101);
    }
}

/// Chains by distance of a made-up table, without and with something known, and of both energies.
#[test]
fn a_chain_by_distance_is_the_processors() {
    let (gpu, _alone) = gpu(Storage::Single);
    let grey = wide_resnet([10, 1, 1, 9], Activation::Silu);
    let colour = wide_resnet([10, 1, 3, 8], Activation::Silu);
    let hole: Vec<bool> = (0..64).map(|pixel| pixel % 5 < 2).collect();
    let known = |observed: Observed| {
        let values = observed.of(&Key::new(7).uniforms(2 * 3 * 64));
        Some(Observation::new(observed, values, 2).unwrap())
    };
    let shape = [3, 8];
    for (plan, energy, observation) in [
        (&grey, EnergyKind::Joint, None),
        (&colour, EnergyKind::Joint, None),
        (&colour, EnergyKind::Marginal, None),
        (
            &colour,
            EnergyKind::Joint,
            known(Observed::around(shape, &hole).unwrap()),
        ),
        (
            &colour,
            EnergyKind::Marginal,
            known(Observed::block_means(shape, 4).unwrap()),
        ),
        (
            &colour,
            EnergyKind::Marginal,
            known(Observed::grey(shape, Some(&hole)).unwrap()),
        ),
    ] {
        let what = format!("{energy:?}, known {}", observation.is_some());
        let annealing = Annealing {
            sampler: ByDistance {
                h: 0.1,
                beta: 0.7,
                last_steps: 5,
                last_h: 0.05,
            },
            noisy_steps: 40,
            table: DistanceTable {
                energies: vec![-3.0, -0.5, 0.0, 0.7, 4.0],
                distances: vec![0.1, 0.4, 0.5, 0.8, 2.0],
                factors: vec![0.2, 0.5, 0.8, 1.0, 3.0],
            },
            observation,
        };
        let network = cpu::CompiledNetwork::new(plan.clone());
        let mixture =
            (energy == EnergyKind::Joint && plan.image.channels == 3).then_some(Mixture {
                class: 1,
                share: 0.3,
            });
        let mut expected = HostChain {
            walk: Step::ByDistance(annealing),
            energy,
            mixture,
            ..dynamics(plan, GradientScaling::Raw, 0.0, true)
        };
        let mut chain = block_on(GpuChain::new(&engine(&gpu, plan), expected.clone())).unwrap();
        let start = expected.x.clone();
        for steps in [1, 4, STEPS_PER_FRAME, 10] {
            let expected = expected.advance(&network, steps);
            let found = block_on(chain.advance(steps)).unwrap();
            let what = format!("{what} at step {}", expected.step);
            assert_eq!(found.step, expected.step, "{what}");
            assert_close(&found.x, &expected.x, CHAIN_TOLERANCE, &what);
            let tolerance = 10.0 * CHAIN_TOLERANCE;
            assert_close(&found.logits, &expected.logits, tolerance, &what);
        }
        let moved = start.iter().zip(&expected.x).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f32::max) > 0.1, "{what}: it has not moved");
    }
}

#[test]
fn a_chain_is_the_same_again_in_other_company_and_resumed() {
    let (gpu, _alone) = gpu(Storage::Single);
    let plan = wide_resnet([10, 1, 3, 8], Activation::Silu);
    let engine = engine(&gpu, &plan);
    let start = dynamics(&plan, GradientScaling::Raw, 0.0, true);
    let begun = |dynamics| block_on(GpuChain::new(&engine, dynamics)).unwrap();
    let mut whole = begun(start.clone());
    let [first, last] = [10, 7].map(|steps| block_on(whole.advance(steps)).unwrap());
    let mut again = begun(start.clone());
    let singly: Vec<_> = (0..17)
        .map(|_| block_on(again.advance(1)).unwrap())
        .collect();
    assert_eq!((first.step, singly[9].step, last.step), (9, 9, 16));
    assert_eq!(first.x, singly[9].x);
    assert_eq!(last.x, singly[16].x);
    let logits: Vec<f32> = singly
        .iter()
        .flat_map(|frame| frame.logits.clone())
        .collect();
    assert_eq!([first.logits, last.logits].concat(), logits);
    let mut resumed = begun(HostChain {
        x: first.x,
        step: 9,
        ..start
    });
    let resumed = block_on(resumed.advance(8)).unwrap();
    assert_eq!((resumed.step, resumed.x), (16, last.x));
}

#[test]
fn noise_is_that_of_the_key_or_between_those_of_two() {
    let (gpu, _alone) = gpu(Storage::Single);
    let plan = wide_resnet([10, 1, 3, 32], Activation::Silu);
    let mut dynamics = dynamics(&plan, GradientScaling::Raw, 0.0, false);
    let Step::Sgld(sgld) = &mut dynamics.walk else {
        unreachable!("the helper makes no other")
    };
    (sgld.step_size, sgld.noise_std) = (0.0, 1.0);
    (dynamics.classes, dynamics.step) = (vec![0; 16], 1 << 33);
    dynamics.x = vec![0.0; 16 * 3 * 32 * 32];
    dynamics.velocity = dynamics.x.clone();
    let engine = engine(&gpu, &plan);
    let between = |share| Noise::between(Key::new(5), Key::new(6), share);
    for noise in [Key::new(5).into(), between(0.3), between(1.0)] {
        dynamics.noise = noise;
        let noise = noise.fold_in(dynamics.step);
        let mut chain = block_on(GpuChain::new(&engine, dynamics.clone())).unwrap();
        let found = block_on(chain.advance(2)).unwrap().x;
        let expected = noise.normals(found.len());
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (a - b).abs() <= 5e-6 * b.abs().max(1.0),
                "draw {i} is {a}, expected {b}"
            );
        }
    }
}

/// Compiles `random.wgsl` with a kernel that writes down the words of the blocks.
#[test]
fn uniform_draws_have_the_bits_of_the_key() {
    const BLOCKS: usize = 4096;
    const KERNEL: &str = "
        @group(0) @binding(0) var<storage, read_write> draws: array<f32>;
        @compute @workgroup_size(64)
        fn draw(@builtin(global_invocation_id) id: vec3u) {
            let block = philox(id.x, vec2u(0x89abcdefu, 0x1234567u));
            for (var i = 0u; i < 4u; i++) {
                draws[4u * id.x + i] = unit(block[i]);
            }
        }";
    let (_gpu, _alone) = gpu(Storage::Single);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.request_adapter(&Default::default())).unwrap();
    let (device, queue) = block_on(adapter.request_device(&Default::default())).unwrap();
    let source = include_str!("../../../shared/src/engine/gpu/random.wgsl");
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(format!("{source}{KERNEL}").into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("draw"),
        compilation_options: Default::default(),
        cache: None,
    });
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16 * BLOCKS as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    use wgpu::BufferUsages as Use;
    let draws = buffer(Use::STORAGE | Use::COPY_SRC);
    let back = buffer(Use::MAP_READ | Use::COPY_DST);
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: draws.as_entire_binding(),
        }],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(BLOCKS as u32 / 64, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&draws, 0, &back, 0, None);
    queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = back.get_mapped_range(..).unwrap();
    let words = bytes.chunks_exact(4);
    let found: Vec<f32> = words
        .map(|word| f32::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(found, Key::new(0x0123_4567_89ab_cdef).uniforms(4 * BLOCKS));
}

/// Bytes that this process holds in memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_over_ten_thousand_steps() {
    let (gpu, _alone) = gpu(Storage::Single);
    let plan = wide_resnet([10, 1, 1, 4], Activation::Silu);
    let start = dynamics(&plan, GradientScaling::Raw, 0.0, true);
    let mut chain = block_on(GpuChain::new(&engine(&gpu, &plan), start)).unwrap();
    let mut take = |steps: usize| {
        for _ in 0..steps.div_ceil(STEPS_PER_FRAME) {
            block_on(chain.advance(STEPS_PER_FRAME)).unwrap();
        }
    };
    take(1_000);
    let before = (gpu.allocated(), resident());
    take(10_000);
    assert_eq!(gpu.allocated(), before.0);
    let grown = resident().saturating_sub(before.1);
    eprintln!("10,000 steps: {} KB more resident", grown / 1024);
    assert!(grown < 8 << 20, "{grown} bytes more are resident");
}

#[test]
fn a_large_network_fits_and_a_batch_too_large_is_refused() {
    let (gpu, _alone) = gpu(Storage::Single);
    let plan = wide_resnet([16, 4, 3, 32], Activation::Silu);
    let engine = engine(&gpu, &plan);
    let batch = |images: usize| HostChain {
        classes: vec![1; images],
        x: vec![0.5; images * 3 * 32 * 32],
        velocity: vec![0.0; images * 3 * 32 * 32],
        ..dynamics(&plan, GradientScaling::Raw, 0.0, true)
    };
    block_on(GpuChain::new(&engine, batch(16))).unwrap();
    let [_, bytes] = gpu.allocated();
    eprintln!("WRN-16-4, batch 16: {:.0} MB", bytes as f64 / 1e6);
    assert!(bytes < 300_000_000, "{bytes} bytes");
    match block_on(GpuChain::new(&engine, batch(1024))) {
        Err(error @ GpuError::TooLarge { images: 1024, .. }) => {
            let message = error.to_string();
            assert!(message.ends_with("take fewer images"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_network_too_heavy_for_the_gpu_is_refused() {
    let (gpu, _alone) = gpu(Storage::Single);
    let plan = one_convolution([1280, 1280], 4, [3, 1, 1]);
    match block_on(GpuNetwork::new(gpu.clone(), plan)) {
        Err(error @ GpuError::TooHeavy { .. }) => assert_eq!(
            error.to_string(),
            "the weights of a convolution need 235929600 bytes in one buffer on the GPU, which gives \
             134217728: take the CPU engine"
        ),
        other => panic!("{other:?}"),
    }
}
