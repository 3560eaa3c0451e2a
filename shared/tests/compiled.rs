//! The compiled engine against Burn's tensors: networks drawn at random, and a long chain.

use basin_shared::{
    Classifier, Key,
    energy::{EnergyKind, Expected, Objective},
    engine::cpu::CompiledNetwork,
    models::{
        Activation, Architecture, Initialization, Normalization, PreActResNet18Config,
        ResNet18Config, WideResNetConfig, is_statistic,
    },
    samplers::{GradientScaling, HostChain, Sgld, Step},
    tensors::{Frozen, parameters},
};
use burn::tensor::Device;
use proptest::prelude::*;

/// Both ways to compute the same network.
struct Both {
    architecture: Architecture,
    /// With Burn's tensors.
    oracle: Frozen,
    compiled: CompiledNetwork,
}

impl Both {
    fn new(architecture: Architecture, key: Key) -> Self {
        let initialization = Initialization {
            gain: 1.4,
            residual_scale: 0.7,
        };
        let mut weights =
            parameters::collect(&architecture.init(initialization, key, &Device::flex()));
        // BatchNorm far from the identity that it begins as; some scales are negative.
        for (n, (name, array)) in weights.iter_mut().enumerate() {
            if name.contains("bn") || name.contains("batchnorm") {
                let key = key.fold_in(n as u64);
                let draws = key.normals(array.values.len());
                array.values = match is_statistic(name) && name.ends_with("var") {
                    true => draws.into_iter().map(|draw| 0.2 + draw.abs()).collect(),
                    false => draws.into_iter().map(|draw| 0.8 * draw).collect(),
                };
            }
        }
        let empty = architecture.init(initialization, key, &Device::flex());
        let compiled = CompiledNetwork::new(architecture.plan(&weights).unwrap());
        Self {
            architecture,
            oracle: Frozen::Tensors(Box::new(parameters::load(empty, &weights))),
            compiled,
        }
    }

    fn images(&self, batch: usize, key: Key) -> Vec<f32> {
        key.uniforms(batch * self.architecture.image().iter().product::<usize>())
    }

    fn classes(&self, batch: usize, key: Key) -> Vec<usize> {
        key.integers(batch, self.architecture.classes())
    }
}

#[path = "../../tests/reference/relative_errors.rs"]
mod relative_errors;
use relative_errors::relative_errors;

fn architectures() -> impl Strategy<Value = Architecture> {
    let activation = prop_oneof![
        Just(Activation::Silu),
        Just(Activation::LeakyRelu),
        Just(Activation::Relu)
    ];
    let normalization = (0.0..1.0f32, 0.2..1.0f32);
    (
        0usize..6,
        0usize..3,
        1usize..5,
        1usize..5,
        1usize..21,
        1usize..13,
        activation,
        normalization,
    )
        .prop_map(
            |(kind, blocks, width, channels, size, classes, activation, (mean, std))| {
                let normalization = Normalization::uniform(channels, mean, std);
                let wide = WideResNetConfig {
                    activation,
                    normalization: normalization.clone(),
                    ..WideResNetConfig::new([6 * blocks + 4, width], [channels, size], classes)
                };
                match kind {
                    0 => Architecture::WideResnet(wide),
                    1 => Architecture::StandardWideResnet(wide),
                    2 => Architecture::DmWideResnet(wide),
                    3 => Architecture::Resnet18(ResNet18Config {
                        width: 16,
                        channels,
                        size,
                        classes,
                        normalization,
                    }),
                    _ => Architecture::PreActResnet18(PreActResNet18Config {
                        width: 16,
                        final_batch_norm: kind == 4,
                        channels,
                        size,
                        classes,
                        normalization,
                    }),
                }
            },
        )
}

fn has_jumps(architecture: &Architecture) -> bool {
    match architecture {
        Architecture::WideResnet(config)
        | Architecture::StandardWideResnet(config)
        | Architecture::DmWideResnet(config) => config.activation != Activation::Silu,
        Architecture::PreActResnet18(_) | Architecture::Resnet18(_) => true,
        Architecture::Sequential(_) => unreachable!("no engine runs it"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_networks_agree(
        architecture in architectures().prop_filter("a network", |it| it.check().is_ok()),
        batch in 1usize..10,
        seed in any::<u64>(),
        energy in 0usize..4,
    ) {
        let [model_key, x_key, y_key] = Key::new(seed).split();
        let jumps = has_jumps(&architecture);
        let both = Both::new(architecture, model_key);
        let x = both.images(batch, x_key);
        let classes = both.classes(batch, y_key);
        let mut probabilities = x_key.fold_in(1).uniforms(batch * both.architecture.classes());
        for row in probabilities.chunks_exact_mut(both.architecture.classes()) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        let objective: Box<dyn Objective> = match energy {
            0 => EnergyKind::Joint.of(classes),
            1 => EnergyKind::Marginal.of(classes),
            2 => EnergyKind::Conditional.of(classes),
            _ => Box::new(Expected { probabilities }),
        };
        let expected = both.oracle.evaluate(&x, batch, &*objective);
        let found = both.compiled.evaluate(&x, batch, &*objective);
        let (largest, _) = relative_errors(found.logits.iter().copied(), &expected.logits);
        prop_assert!(largest < 1e-4, "logits differ by {largest:e}");
        let (largest, mean) = relative_errors(found.gradient.iter().copied(), &expected.gradient);
        // Where rounding carries a number across zero, the slope of LeakyReLU or ReLU jumps.
        let (most, most_mean) = if jumps { (0.3, 3e-3) } else { (1e-4, 1e-4) };
        prop_assert!(
            largest < most && mean < most_mean,
            "gradients differ by {largest:e}, in the mean by {mean:e}"
        );
    }
}

/// Rounding differs, and a hundred steps carry it on; the two chains must still be one to the eye.
#[test]
fn a_chain_of_100_steps_is_the_oracles() {
    let config = WideResNetConfig::new([10, 1], [3, 16], 4);
    let both = Both::new(Architecture::WideResnet(config), Key::new(1));
    let sgld = Sgld {
        step_size: 0.5,
        noise_std: 0.01,
        friction: 0.5,
        gradient: GradientScaling::Raw,
        clamp: true,
    };
    let start = both.images(3, Key::new(2));
    let chain = HostChain {
        walk: Step::Sgld(sgld),
        noise: Key::new(4).into(),
        energy: EnergyKind::Joint,
        classes: both.classes(3, Key::new(3)),
        mixture: None,
        velocity: vec![0.0; start.len()],
        x: start.clone(),
        step: 0,
    };
    fn end(model: &impl Classifier, mut chain: HostChain) -> Vec<f32> {
        for _ in 0..10 {
            chain.advance(model, 10);
        }
        chain.x
    }
    let found = end(&both.compiled, chain.clone());
    let expected = end(&both.oracle, chain);
    let (largest, _) = relative_errors(found.iter().copied(), &expected);
    assert!(largest < 1e-3, "the chains end {largest:e} apart");
    let (moved, _) = relative_errors(found.iter().copied(), &start);
    assert!(moved > 0.5, "the chains moved by no more than {moved}");
}
