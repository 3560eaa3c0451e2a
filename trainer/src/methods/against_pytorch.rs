//! Methods, attacks, chains, optimisers, schedules and the averaged weights against PyTorch's numbers (tests/reference/methods.py).

use std::collections::BTreeMap;

use basin_shared::{
    Key,
    arrays::Weights,
    attacks::{Attack, Budget, Norm, Pgd},
    energy::{Conditional, EnergyKind, Expected, Objective, softmax},
    models::{Architecture, Initialization, Normalization, WideResNetConfig},
    samplers::{GradientScaling, HostChain, Pyld, Sgld, Start, Step},
    tensors::{Frozen, Mode, Network, Precision, parameters, to_host},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Int, Tensor, TensorData},
};
use serde::Deserialize;

use super::{
    Attacked, Loss, State, Target,
    adversarial::{
        free::Free,
        inner_attack::InnerAttack,
        mail_trades::MailTrades,
        mart::Mart,
        trades::{KlAttack, Trades},
        weat::{CrossEntropyOf, Weat},
    },
    cross_entropy,
    hybrid::{
        dat::{self, Dat},
        dsm::{self, Dsm},
        igebm::{self, Igebm},
        jem::{self, Hybrid},
        negatives::Negatives,
    },
    jeat,
};
use crate::{
    recipe::OptimizerRecipe,
    training::optimizer::optimizer,
    training::{ema, sam::Sam, schedule::Schedule},
};

#[path = "../../../tests/reference/formula.rs"]
mod formula;

#[derive(Deserialize)]
struct Reference {
    losses: BTreeMap<String, Report>,
    dsm: Sample,
    sam: Report,
    asam: Report,
    pgd_linf: Vec<f64>,
    pgd_l2: Vec<f64>,
    kl_linf: Vec<f64>,
    free: Vec<f64>,
    optimizers: BTreeMap<String, Vec<Vec<f64>>>,
    schedules: BTreeMap<String, Vec<f64>>,
    average: Vec<Vec<f64>>,
    sgld: Vec<f64>,
    sgld_momentum: Vec<f64>,
    pyld: Vec<f64>,
}

/// A loss with the lengths of its gradients, two of them in full.
#[derive(Deserialize)]
struct Report {
    loss: f64,
    norms: BTreeMap<String, f64>,
    conv1: Vec<f64>,
    head: Vec<f64>,
}

/// A loss with the length of its gradient, and each 53rd number of it, parameters in the order of their names.
#[derive(Deserialize)]
struct Sample {
    loss: f64,
    norm: f64,
    every_53rd: Vec<f64>,
}

const SHAPE: [usize; 4] = [5, 1, 8, 8];

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/reference/methods.json")).unwrap()
}

/// The wave of a phase, moved from [-1, 1] to [low, high].
fn images(phase: f64, low: f64, high: f64) -> Tensor<4> {
    images_of(SHAPE, phase, low, high)
}

fn images_of(shape: [usize; 4], phase: f64, low: f64, high: f64) -> Tensor<4> {
    let values = formula::wave(shape.iter().product(), phase).into_iter();
    let values: Vec<f32> = values
        .map(|v| (low + (high - low) * (v + 1.0) / 2.0) as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn x() -> Tensor<4> {
    images(0.3, 0.2, 0.8)
}

fn delta() -> Tensor<4> {
    images(2.9, -0.05, 0.05)
}

fn classes(y: [i64; 5]) -> Tensor<1, Int> {
    Tensor::from_data(y, &Device::flex())
}

fn y() -> Tensor<1, Int> {
    classes([0, 3, 1, 2, 0])
}

fn labels() -> Vec<usize> {
    vec![0, 3, 1, 2, 0]
}

fn target() -> Target {
    Target {
        y: y(),
        label_smoothing: 0.0,
    }
}

fn smoothed() -> Target {
    Target {
        label_smoothing: 0.1,
        ..target()
    }
}

fn model(device: &Device) -> Network {
    let config = WideResNetConfig {
        normalization: Normalization::uniform(1, 0.5, 0.25),
        ..WideResNetConfig::new([10, 1], [1, 8], 4)
    };
    let initialization = Initialization {
        gain: 0.0,
        residual_scale: 0.0,
    };
    let mut weights: Weights = formula::weights(config.parameter_shapes());
    let head = weights.get_mut("class_output.weight").unwrap();
    head.values.iter_mut().for_each(|weight| *weight *= 8.0);
    let model = Architecture::WideResnet(config).init(initialization, Key::new(0), device);
    parameters::load(model, &weights)
}

/// Whose energy curves over distances about as much as a trained network's does.
fn gentler() -> Network {
    let model = tracked();
    let mut weights = parameters::collect(&model.valid());
    let convolutions = weights
        .values_mut()
        .filter(|weight| weight.shape.len() == 4);
    let values = convolutions.flat_map(|weight| &mut weight.values);
    values.for_each(|value| *value *= 0.7);
    parameters::load(model, &weights)
}

fn tracked() -> Network {
    model(&Device::flex().autodiff())
}

/// All gradients, by the names of their parameters.
fn gradients(model: &Network, loss: &Loss) -> BTreeMap<String, Vec<f32>> {
    struct InOrder<'a>(&'a GradientsParams, Vec<Vec<f32>>);
    impl ModuleVisitor for InOrder<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).expect("every parameter has one");
            self.1.push(gradient.into_data().iter().collect());
        }
    }
    let found = GradientsParams::from_grads(loss.value.backward(), model);
    let mut values = InOrder(&found, Vec::new());
    model.visit(&mut values);
    struct Names(Vec<String>, Vec<String>);
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
            // The first is the architecture.
            self.1.push(self.0[1..].join("."));
        }
    }
    let mut names = Names(Vec::new(), Vec::new());
    model.visit(&mut names);
    names.1.into_iter().zip(values.1).collect()
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest, v| largest.max(v.abs()))
}

/// Loss and gradients to 1e-4 of the largest: single against double precision.
fn check(name: &str, model: &Network, loss: &Loss, expected: &Report) {
    let value: f64 = loss.value.clone().into_scalar::<f32>().into();
    let error = (value - expected.loss).abs();
    assert!(
        error < 1e-5 * expected.loss.abs().max(1.0),
        "{name}: the loss is {value}, expected {}",
        expected.loss
    );
    let found = gradients(model, loss);
    assert_eq!(found.len(), expected.norms.len(), "{name}");
    let scale = largest(expected.norms.values().copied());
    for (parameter, expected) in &expected.norms {
        let squares = found[parameter].iter().map(|&g| f64::from(g).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        assert!(
            (norm - expected).abs() < 1e-4 * scale,
            "{name}: the gradient of {parameter} has length {norm}, expected {expected}"
        );
    }
    for (parameter, expected) in [
        ("conv1.weight", &expected.conv1),
        ("class_output.weight", &expected.head),
    ] {
        let pairs = found[parameter].iter().zip(expected);
        let error = largest(pairs.map(|(&a, b)| f64::from(a) - b));
        assert!(
            error < 1e-4 * largest(expected.iter().copied()),
            "{name}: the gradient of {parameter} is {error:e} off"
        );
    }
}

/// The loss of a method on the reference's examples.
fn loss(name: &str, model: &Network) -> Loss {
    let attacked = Attacked {
        x: x(),
        x_adv: images(1.1, 0.1, 0.9),
        target: target(),
    };
    let (data, sample) = (images(0.7, 0.0, 1.0), images(2.1, 0.0, 1.0));
    // What the inner problem would have used, of no meaning here.
    let pgd = Pgd {
        steps: 0,
        step_size: 0.0,
    };
    let attack = KlAttack {
        epsilon: 0.0,
        pgd,
        start_noise_std: 0.0,
    };
    let negatives = Negatives {
        capacity: 0,
        reinit_probability: 0.0,
        start: Start::Uniform,
        gaussian_rank: 0,
        conditional: false,
    };
    let sampler = Sgld {
        step_size: 0.0,
        noise_std: 0.0,
        friction: 0.0,
        gradient: GradientScaling::Raw,
        clamp: false,
    };
    match name {
        "standard" => cross_entropy(model, x(), &target()),
        "standard-smoothed" => cross_entropy(model, x(), &smoothed()),
        "trades" => Trades { attack, beta: 6.0 }.loss(model, &attacked),
        "trades-smoothed" => {
            let attacked = Attacked {
                target: smoothed(),
                ..attacked
            };
            Trades { attack, beta: 6.0 }.loss(model, &attacked)
        }
        "mart" => Mart {
            epsilon: 0.0,
            attack: pgd,
            lambda: 6.0,
        }
        .loss(model, &attacked),
        "mail-trades" => MailTrades {
            attack,
            beta: 5.0,
            scale: 3.0,
            slope: 1.0,
            bias: -1.5,
            weighted_from: 0.0,
        }
        .loss(model, &attacked, true),
        "weat-nat" => Weat { attack, beta: 6.0 }.loss(CrossEntropyOf::Natural, model, &attacked),
        "weat-adv" => {
            Weat { attack, beta: 6.0 }.loss(CrossEntropyOf::Adversarial, model, &attacked)
        }
        "jem" => Hybrid {
            x: x(),
            target: target(),
            data,
            sample,
            weights: jem::Weights {
                conditional: 1.0,
                marginal: 1.0,
                energy_penalty: 0.1,
            },
        }
        .loss(model),
        "igebm" => {
            let examples = igebm::Examples {
                x: x(),
                y: y(),
                sample,
                sample_y: classes([1, 1, 2, 3, 0]),
            };
            let igebm = Igebm {
                negatives,
                steps: 0,
                sampler,
                energy_penalty: 1.0,
            };
            igebm.loss(model, &examples)
        }
        "dat" => {
            let examples = dat::Examples {
                x_adv: attacked.x_adv,
                target: target(),
                contrast: Some((data, sample)),
            };
            let dat = Dat {
                budget: Budget::linf(0.0),
                attack: pgd,
                energy_from: 0.0,
                start: Start::Uniform,
                gaussian_rank: 0,
                step_size: 0.0,
                most_steps: 0,
                auc: 0.0,
                auc_images: 0,
                weight_energy: 1.0,
            };
            dat.loss(model, &examples)
        }
        "jeat" => jeat::literal_loss(model, attacked.x_adv, target(), sample),
        other => panic!("{other} has no loss here"),
    }
}

#[test]
fn losses_and_their_gradients_are_pytorchs() {
    let losses = reference().losses;
    assert_eq!(losses.len(), 12);
    for (name, expected) in &losses {
        let model = tracked();
        check(name, &model, &loss(name, &model), expected);
    }
}

/// PyTorch differentiates twice, in double precision; here a difference of two evaluations does.
#[test]
fn score_matching_by_differences_is_pytorchs_with_second_derivatives() {
    let negatives = Negatives {
        capacity: 0,
        reinit_probability: 0.0,
        start: Start::Uniform,
        gaussian_rank: 0,
        conditional: false,
    };
    let sampler = Sgld {
        step_size: 0.0,
        noise_std: 0.0,
        friction: 0.0,
        gradient: GradientScaling::Raw,
        clamp: false,
    };
    let dsm = Dsm {
        attack: InnerAttack::Pgd {
            budget: Budget::linf(0.0),
            energy: EnergyKind::Conditional,
            steps: 0,
            step_size: 0.0,
        },
        slope: 0.6,
        share: 1.0,
        conditional: 0.6,
        blended: 0.0,
        largest_noise_std: 0.0,
        difference: 0.5,
        classified_up_to: 4.07,
        largest_value_term: 400.0,
        weights: dsm::Weights {
            adversarial: 1.0,
            clean: 0.0,
            noisy: 0.5,
            score: 3.0,
            value: 0.05,
            marginal: 0.0,
        },
        chains: dsm::Chains {
            negatives,
            steps: 0,
            sampler,
        },
    };
    let expected = reference().dsm;
    let shape = [20, 1, 8, 8];
    let five = [0, 3, 1, 2, 0];
    let y = classes(five.map(|class| class as i64)).repeat(&[4]);
    for precision in [Precision::F32, Precision::Bf16] {
        let model = gentler().computing_in(precision);
        let x = images_of(shape, 0.3, 0.2, 0.8);
        let x_noisy = images_of(shape, 2.5, 0.0, 1.0);
        let noisy = dsm.look(&model.frozen(), x, x_noisy, y.clone(), five.repeat(4));
        let examples = dsm::Examples {
            x_adv: images_of(shape, 1.1, 0.1, 0.9),
            target: Target {
                y: y.clone(),
                label_smoothing: 0.0,
            },
            noisy: Some(noisy),
            clean: None,
            sample: None,
        };
        let loss = dsm.loss(&model, &examples);
        let value: f64 = loss.value.clone().into_scalar::<f32>().into();
        let off = value / expected.loss - 1.0;
        let found: Vec<f32> = gradients(&model, &loss).into_values().flatten().collect();
        let of = |square: &dyn Fn(f64) -> f64| found.iter().map(|&g| square(g.into())).sum::<f64>();
        let norm = of(&|g| g * g).sqrt() / expected.norm;
        let sample: Vec<f64> = found.iter().step_by(53).map(|&g| g.into()).collect();
        assert_eq!(sample.len(), expected.every_53rd.len());
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (a, b) = (&sample, &expected.every_53rd);
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        say!("{precision:?}: loss {off:e} off, norm {norm}, cosine {cosine}");
        assert!(off.abs() < 0.01, "{precision:?}: the loss is {off} off");
        assert!(
            (norm - 1.0).abs() < 0.01,
            "{precision:?}: its length is {norm} of PyTorch's"
        );
        assert!(cosine > 0.9999, "{precision:?}: cosine {cosine}");
    }
}

#[test]
fn sam_is_pytorchs_two_steps() {
    let Reference { sam, asam, .. } = reference();
    for (name, settings, expected) in [("SAM", (0.05, false), sam), ("ASAM", (0.5, true), asam)] {
        let (rho, adaptive) = settings;
        let model = tracked();
        let first = cross_entropy(&model, x(), &target());
        let gradients = GradientsParams::from_grads(first.value.backward(), &model);
        let sharpest = Sam { rho, adaptive }.ascend(&model, &gradients);
        let second = cross_entropy(&sharpest, x(), &target());
        check(name, &sharpest, &second, &expected);
    }
}

/// The mean difference of images, and the share of pixels that are further off than rounding.
fn off(found: &[f32], expected: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let differences: Vec<f64> = found
        .iter()
        .zip(expected)
        .map(|(&a, b)| (f64::from(a) - b).abs())
        .collect();
    let far = differences.iter().filter(|&&d| d > 1e-4).count();
    let count = expected.len() as f64;
    (differences.iter().sum::<f64>() / count, far as f64 / count)
}

#[test]
fn attacks_from_a_given_start_are_pytorchs() {
    let model = model(&Device::flex());
    let reference = reference();
    let f = to_host(model.logits(x()));
    let mut probabilities = vec![0.0; f.len()];
    let classes = f.len() / labels().len();
    for (f, p) in f
        .chunks_exact(classes)
        .zip(probabilities.chunks_exact_mut(classes))
    {
        softmax(f, p);
    }
    let divergence: &dyn Objective = &Expected { probabilities };
    let cross_entropy: &dyn Objective = &Conditional { classes: labels() };
    let model = Frozen::Tensors(Box::new(model));
    let l2 = Budget {
        norm: Norm::L2,
        epsilon: 0.5,
    };
    for (name, objective, budget, step_size, expected) in [
        (
            "PGD",
            cross_entropy,
            Budget::linf(0.1),
            0.03,
            &reference.pgd_linf,
        ),
        ("PGD in L2", cross_entropy, l2, 0.2, &reference.pgd_l2),
        (
            "PGD on KL",
            divergence,
            Budget::linf(0.1),
            0.03,
            &reference.kl_linf,
        ),
    ] {
        let settings = Pgd {
            steps: 5,
            step_size,
        };
        let attack = Attack::pgd(budget, objective, settings);
        let (x, start) = (to_host(x()), to_host(x() + delta()));
        let found = attack.begin_at(&x, labels().len(), start).run(&model);
        // The sign of a gradient that is about zero may differ.
        let (mean, far) = off(&found, expected);
        assert!(mean < 1e-3 && far < 0.01, "{name}: {mean:e}, {far} far off");
    }
}

#[test]
fn free_adversarial_training_moves_its_perturbation_as_pytorch_does() {
    let model = tracked();
    let loss = cross_entropy(&model, x() + delta(), &target());
    let input = loss.input.clone().unwrap();
    let gradient = input.grad(&loss.value.backward()).unwrap();
    let mut state = State::Perturbation(delta().into_data().into());
    let free = Free {
        epsilon: 0.06,
        replays: 1,
        attack_mode: Mode::Train,
    };
    free.ascend(&mut state, gradient);
    let State::Perturbation(found) = state else {
        unreachable!()
    };
    let (mean, far) = off(&found.values, &reference().free);
    assert!(mean < 1e-3 && far < 0.01, "{mean:e}, {far} far off");
}

#[test]
fn chains_with_given_noise_are_pytorchs() {
    let model = Frozen::Tensors(Box::new(model(&Device::flex())));
    let reference = reference();
    let plain = Sgld {
        step_size: 0.2,
        noise_std: 0.01,
        friction: 0.0,
        gradient: GradientScaling::Raw,
        clamp: true,
    };
    let momentum = Sgld {
        step_size: 0.05,
        noise_std: 0.005,
        friction: 0.8,
        gradient: GradientScaling::Clamp(0.5),
        clamp: true,
    };
    for (name, sgld, expected) in [
        ("SGLD", plain, reference.sgld),
        ("SGLD with momentum", momentum, reference.sgld_momentum),
    ] {
        let x = to_host(x());
        let mut chain = HostChain {
            walk: Step::Sgld(sgld),
            noise: Key::new(7).into(),
            energy: EnergyKind::Joint,
            classes: labels(),
            velocity: vec![0.0; x.len()],
            x,
            mixture: None,
            step: 0,
        };
        chain.advance(&model, 20);
        let (mean, far) = off(&chain.x, &expected);
        assert!(mean < 1e-5 && far == 0.0, "{name}: {mean:e}, {far} far off");
    }
    let pyld = Pyld {
        outer_steps: 2,
        inner_steps: 5,
        step_size: 0.05,
        largest_gradient: 0.8,
    };
    let (mut end, objective) = (to_host(x()), EnergyKind::Marginal.of(labels()));
    pyld.run(&model, &*objective, labels().len(), &mut end);
    let (mean, far) = off(&end, &reference.pyld);
    assert!(mean < 1e-5 && far == 0.0, "PYLD: {mean:e}, {far} far off");
}

#[test]
fn optimisers_take_pytorchs_steps() {
    let sgd = |nesterov| OptimizerRecipe::Sgd {
        momentum: 0.9,
        nesterov,
        weight_decay: 5e-4,
        clip_norm: 1e9,
    };
    let adam = OptimizerRecipe::Adam {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 1e-3,
        clip_norm: 1e9,
    };
    let adamw = OptimizerRecipe::AdamW {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 1e-2,
        clip_norm: 1e9,
    };
    let traces = reference().optimizers;
    for (name, recipe, factor) in [
        ("sgd", sgd(false), 1.0),
        ("nesterov", sgd(true), 1.0),
        ("adam", adam, 0.1),
        ("adamw", adamw, 0.1),
    ] {
        let mut optimizer = optimizer(&recipe, &Device::flex());
        let mut model = tracked();
        for (rate, expected) in [0.1, 0.05, 0.02, 0.01].into_iter().zip(&traces[name]) {
            let loss = cross_entropy(&model, x(), &target());
            let gradients = GradientsParams::from_grads(loss.value.backward(), &model);
            (model, _) = optimizer.step(rate * factor, model, gradients, f32::INFINITY);
            let weights = parameters::collect(&model.valid());
            let bias = &weights["class_output.bias"].values;
            for (found, expected) in bias.iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 2e-4,
                    "{name}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn schedules_are_pytorchs() {
    let traces = reference().schedules;
    let cases = [
        (
            "triangular",
            Schedule::Triangular {
                peak: 0.2,
                up: 0.4,
                last: 0.0,
            },
        ),
        (
            "triangular_to_a_rate",
            Schedule::Triangular {
                peak: 1.0,
                up: 0.2,
                last: 0.1,
            },
        ),
        (
            "cosine",
            Schedule::Cosine {
                peak: 1.0,
                up: 0.2,
                last: 0.1,
            },
        ),
        (
            "multi_step",
            Schedule::MultiStep {
                rate: 1.0,
                up: 0.2,
                factor: 0.3,
                milestones: vec![0.5, 0.75],
            },
        ),
        (
            "one_cycle",
            Schedule::OneCycle {
                peak: 0.1,
                up: 0.25,
                div_factor: 25.0,
                final_div_factor: 1e4,
            },
        ),
    ];
    assert_eq!(traces.len(), cases.len());
    for (name, schedule) in cases {
        let trace = &traces[name];
        assert_eq!(trace.len(), 40, "{name}");
        for (iteration, expected) in trace.iter().enumerate() {
            let rate = schedule.rate(iteration, 40);
            assert!(
                (rate - expected).abs() < 1e-8,
                "{name}: the rate of iteration {iteration} is {rate}, expected {expected}"
            );
        }
    }
}

/// Past the update from which on the decay no longer depends on the count.
#[test]
fn averaged_weights_are_pytorchs() {
    let mut optimizer = optimizer(
        &OptimizerRecipe::Sgd {
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            clip_norm: 1e9,
        },
        &Device::flex(),
    );
    let mut model = tracked();
    let mut average = model.valid();
    let rates = [0.1, 0.05, 0.02, 0.01];
    for (update, (rate, expected)) in rates.into_iter().zip(reference().average).enumerate() {
        let loss = cross_entropy(&model, x(), &target());
        let gradients = GradientsParams::from_grads(loss.value.backward(), &model);
        (model, _) = optimizer.step(rate, model, gradients, f32::INFINITY);
        average = ema::update(average, &model, ema::growing_decay(0.2, update));
        let bias = &parameters::collect(&average)["class_output.bias"].values;
        for (found, expected) in bias.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5,
                "update {update}: {found}, expected {expected}"
            );
        }
    }
}
