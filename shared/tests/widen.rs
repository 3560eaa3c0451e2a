//! A widened network computes what the narrow one did, whichever it is, and its copies can part.

use basin_shared::{
    Key,
    arrays::{Array, Weights},
    models::{
        Activation, Architecture, Layer, Normalization, PreActResNet18Config, ResNet18Config,
        SequentialConfig, WideResNetConfig, widen,
    },
    tensors::parameters,
};
use burn::tensor::{Device, Tensor, TensorData};

const CHANNELS: usize = 3;
const SIZE: usize = 8;
const CLASSES: usize = 5;

fn networks(width: usize) -> Vec<Architecture> {
    let wide = WideResNetConfig {
        activation: Activation::Silu,
        ..WideResNetConfig::new([10, width], [CHANNELS, SIZE], CLASSES)
    };
    let normalization = Normalization::uniform(CHANNELS, 0.5, 0.5);
    let pre_act = PreActResNet18Config {
        width: 4 * width,
        final_batch_norm: true,
        channels: CHANNELS,
        size: SIZE,
        classes: CLASSES,
        normalization: normalization.clone(),
    };
    let resnet = ResNet18Config {
        width: 4 * width,
        channels: CHANNELS,
        size: SIZE,
        classes: CLASSES,
        normalization,
    };
    vec![
        Architecture::WideResnet(wide.clone()),
        Architecture::StandardWideResnet(wide.clone()),
        Architecture::DmWideResnet(wide),
        Architecture::PreActResnet18(pre_act),
        Architecture::Resnet18(resnet),
    ]
}

/// Of a size that keeps logits near 1, statistics and affine maps of BatchNorm among them.
fn weights(architecture: &Architecture) -> Weights {
    let shapes = architecture.parameter_shapes().into_iter();
    let array = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let key = Key::new(2).stream(&name);
        let fan_in = shape[1..].iter().product::<usize>() as f32;
        let values = match shape.len() {
            1 => key.uniforms(count).into_iter().map(|u| 0.5 + u).collect(),
            _ => {
                let normals = key.normals(count).into_iter();
                normals.map(|z| z / fan_in.sqrt()).collect()
            }
        };
        (name, Array { shape, values })
    };
    shapes.map(array).collect()
}

#[test]
fn a_widened_network_computes_what_the_narrow_one_did() {
    let device = Device::flex();
    let count = 4 * CHANNELS * SIZE * SIZE;
    let x = TensorData::new(
        Key::new(1).uniforms(count),
        [4, CHANNELS, SIZE, SIZE].to_vec(),
    );
    let x = Tensor::<4>::from_data(x, &device);
    for new_width in [4, 5] {
        for (narrow, wide) in networks(2).into_iter().zip(networks(new_width)) {
            let weights = weights(&narrow);
            assert!(narrow.is_narrower_than(&wide));
            let widened = widen(&weights, &wide, Key::new(4));
            let before = parameters::network(&narrow, &weights, &device).logits(x.clone());
            let after = parameters::network(&wide, &widened, &device).logits(x.clone());
            let scale: f32 = before.clone().abs().max().into_scalar();
            let error: f32 = (after - before).abs().max().into_scalar();
            let name = wide.title();
            assert!(error < 1e-5 * scale.max(1.0), "{name}: {error} of {scale}");

            // A layer within: what reads the copies of a channel does so by unequal weights.
            let mut tensors = weights.iter().map(|(name, old)| (old, &widened[name]));
            let (old, inner) = tensors
                .find(|(old, new)| old.shape.len() == 4 && new.shape[1] > old.shape[1])
                .expect("a convolution of what is wider");
            let taps: usize = inner.shape[2..].iter().product();
            let copy = old.shape[1];
            assert_ne!(inner.values[0], inner.values[copy * taps], "{name}");
        }
    }
}

#[test]
fn only_a_narrower_network_of_the_same_kind_is_widened() {
    let (narrow, wide) = (networks(2), networks(4));
    for (i, from) in narrow.iter().enumerate() {
        for (j, to) in wide.iter().enumerate() {
            assert_eq!(from.is_narrower_than(to), i == j);
            assert!(!to.is_narrower_than(from));
        }
        assert!(!from.is_narrower_than(from));
    }
    // It has no shortcut where the others have their first.
    assert!(!networks(1)[0].is_narrower_than(&wide[0]));
    let deeper = WideResNetConfig::new([16, 4], [CHANNELS, SIZE], CLASSES);
    assert!(!narrow[0].is_narrower_than(&Architecture::WideResnet(deeper)));
    // A list of layers has no one width.
    let list = |outputs| {
        Architecture::Sequential(SequentialConfig {
            layers: vec![
                Layer::Flatten,
                Layer::Linear { outputs },
                Layer::Relu,
                Layer::Linear { outputs: CLASSES },
            ],
            channels: CHANNELS,
            size: SIZE,
            classes: CLASSES,
            normalization: Normalization::uniform(CHANNELS, 0.0, 1.0),
        })
    };
    assert!(!list(4).is_narrower_than(&list(8)));
    assert!(!list(4).is_narrower_than(&wide[0]) && !narrow[0].is_narrower_than(&list(8)));
}
