//! Both engines inside a browser's worker: `cargo xtask test wasm`. What needs no browser runs natively
//! too, where it must give the same numbers. The flags that give a browser without a GPU its software
//! WebGPU are in `webdriver.json`.

#![allow(missing_docs)]

mod networks;
mod scalar;

use networks::{CLASSES, normalization, plan_of, pre_act, resnet, wide};

use basin_shared::{
    Classifier, Key,
    classifier::Evaluation,
    energy::{EnergyKind, Joint},
    engine::{
        cpu::CompiledNetwork,
        plan::{Active, Convolution, Extent, Head, Operation, Plan},
    },
    models::{Activation, Architecture},
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// FNV-1a over the bits.
fn hash(values: &[f32]) -> u64 {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn draws_have_the_same_bits_on_every_platform() {
    assert_eq!(hash(&Key::new(20).normals(10_000)), 0x5d4c_11ee_36f8_b248);
    assert_eq!(hash(&Key::new(20).uniforms(10_000)), 0xe8b0_53d0_97a0_e206);
}

/// Largest difference of an engine from the definition, as a share of the largest number. Single
/// precision in any order of summation stays within 1e-5 here, Winograd's transforms lose a digit.
const TOLERANCE: f64 = 1e-4;

/// Weights with which a layer of so many inputs keeps the scale of its input.
fn weights(key: u64, count: usize, inputs: usize) -> Vec<f32> {
    let scale = 1.2 / (inputs as f32).sqrt();
    let normals = Key::new(key).normals(count).into_iter();
    normals.map(|normal| normal * scale).collect()
}

fn convolution(
    key: u64,
    input: Extent,
    channels: usize,
    [kernel, stride, padding]: [usize; 3],
) -> Convolution {
    let inputs = input.channels * kernel * kernel;
    Convolution {
        input,
        output: Extent {
            channels,
            size: input.size.div_ceil(stride),
        },
        kernel,
        stride,
        padding,
        weight: weights(key, channels * inputs, inputs),
        bias: weights(key + 1, channels, 4),
        affine: None,
        linear: false,
    }
}

/// Images of few channels, a 3×3 convolution to `channels_in`, the convolution in question, the head,
/// and back. Where `add`, the last gradient is added to what lies there: the first layer's output.
struct Small {
    image: Extent,
    channels_in: usize,
    channels_out: usize,
    /// Kernel, stride and padding.
    filter: [usize; 3],
    add: bool,
}

impl Small {
    fn plan(&self) -> Plan {
        let stem = convolution(1, self.image, self.channels_in, [3, 1, 1]);
        let inner = stem.output;
        let second = convolution(3, inner, self.channels_out, self.filter);
        let end = second.output;
        let active = |value| Active {
            value,
            derivative: value + 1,
        };
        Plan {
            image: self.image,
            normalization: normalization(self.image.channels),
            activation: Activation::Silu,
            buffers: vec![self.image, inner, inner, inner, end, end, end],
            convolutions: vec![stem, second],
            head: Head {
                weight: weights(5, CLASSES * end.channels, 4),
                bias: weights(6, CLASSES, 4),
            },
            operations: vec![
                Operation::Normalize { output: 0 },
                Operation::Forward {
                    convolution: 0,
                    source: 0,
                    raw: Some((1, false)),
                    active: Some(active(2)),
                },
                Operation::Forward {
                    convolution: 1,
                    source: 2,
                    raw: None,
                    active: Some(active(4)),
                },
                Operation::Head {
                    active: active(4),
                    output: 6,
                },
                Operation::Backward {
                    convolution: 1,
                    source: 6,
                    derivative: Some(3),
                    output: 1,
                    add: self.add,
                },
                Operation::BackwardToImage {
                    convolution: 0,
                    source: 1,
                },
            ],
        }
    }
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (i, (&a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(a) - b).abs() <= TOLERANCE * scale,
            "{what}: number {i} is {a}, expected {b}, where numbers reach {scale}"
        );
    }
}

/// Images and their intended classes.
fn batch_of(plan: &Plan, batch: usize) -> (Vec<f32>, Vec<usize>) {
    let numbers = plan.image.channels * plan.image.size * plan.image.size;
    let x = Key::new(7).uniforms(batch * numbers);
    (x, Key::new(8).integers(batch, CLASSES))
}

/// Compares what an engine has computed with the definition.
fn compare(
    plan: &Plan,
    x: &[f32],
    classes: &[usize],
    energy: EnergyKind,
    found: &Evaluation,
    what: &str,
) {
    let numbers = x.len() / classes.len();
    for (image, x) in x.chunks_exact(numbers).enumerate() {
        let (logits, gradient) = scalar::evaluate(plan, x, classes[image], energy);
        let what = format!("{what}, image {image} of {}", classes.len());
        let found_logits = &found.logits[image * CLASSES..][..CLASSES];
        assert_close(found_logits, &logits, &format!("logits, {what}"));
        let found_gradient = &found.gradient[image * numbers..][..numbers];
        assert_close(found_gradient, &gradient, &format!("gradient, {what}"));
    }
}

fn check(plan: &Plan, batch: usize, energy: EnergyKind, what: &str) {
    let (x, classes) = batch_of(plan, batch);
    let engine = CompiledNetwork::new(plan.clone());
    // Twice: the second time the memory is no longer new.
    for _ in 0..2 {
        let found = engine.evaluate(&x, classes.len(), &*energy.of(classes.clone()));
        compare(plan, &x, &classes, energy, &found, what);
    }
}

/// Channels of the image, in and out; size; kernel, stride and padding; batch.
const SHAPES: [([usize; 3], usize, [usize; 3], usize); 17] = [
    ([1, 16, 16], 1, [3, 1, 1], 1),
    ([2, 16, 48], 2, [3, 1, 1], 3),
    ([3, 16, 16], 3, [3, 2, 1], 2),
    ([1, 32, 16], 5, [3, 1, 1], 16),
    ([3, 16, 32], 7, [1, 1, 0], 5),
    ([3, 48, 16], 9, [1, 2, 0], 4),
    ([2, 16, 64], 11, [3, 2, 1], 3),
    ([3, 80, 96], 13, [3, 1, 1], 2),
    ([1, 16, 16], 28, [3, 1, 1], 5),
    ([1, 32, 32], 14, [3, 2, 1], 7),
    ([3, 128, 144], 8, [3, 1, 1], 5),
    ([3, 160, 320], 4, [3, 2, 1], 2),
    ([1, 320, 640], 3, [1, 2, 0], 5),
    ([3, 640, 640], 4, [3, 1, 1], 2),
    ([3, 16, 16], 2, [3, 2, 0], 3),
    ([1, 32, 48], 14, [3, 2, 0], 2),
    ([2, 160, 80], 8, [3, 2, 0], 5),
];

/// Plans of every shape, with their batch and a description.
fn shapes() -> impl Iterator<Item = (Plan, usize, String)> {
    SHAPES.into_iter().flat_map(|shape| {
        let ([image, channels_in, channels_out], size, filter, batch) = shape;
        [false, true].map(|add| {
            let small = Small {
                image: Extent {
                    channels: image,
                    size,
                },
                channels_in,
                channels_out,
                filter,
                add,
            };
            let what = format!(
                "{image} to {channels_in} to {channels_out} channels, {size} pixels, {filter:?}, add {add}"
            );
            (small.plan(), batch, what)
        })
    })
}

#[test]
fn kernels_compute_what_the_definition_says() {
    for (plan, batch, what) in shapes() {
        check(&plan, batch, EnergyKind::Joint, &what);
    }
}

/// Networks of every architecture, with their batch, energy and a description.
fn networks() -> impl Iterator<Item = (Plan, usize, EnergyKind, String)> {
    use Activation::{LeakyRelu, Relu, Silu};
    use EnergyKind::{Conditional, Joint, Marginal};
    let jem = |numbers, activation| Architecture::WideResnet(wide(numbers, activation));
    let all = [
        (jem([10, 1, 1, 9], Silu), 16, Joint),
        (jem([10, 2, 3, 11], Silu), 3, Marginal),
        (jem([16, 1, 2, 8], Silu), 2, Conditional),
        (jem([10, 1, 3, 6], LeakyRelu), 5, Conditional),
        (
            Architecture::StandardWideResnet(wide([10, 1, 3, 9], Relu)),
            3,
            Joint,
        ),
        (
            Architecture::DmWideResnet(wide([10, 1, 1, 12], Silu)),
            2,
            Marginal,
        ),
        (
            Architecture::DmWideResnet(wide([10, 2, 3, 8], Relu)),
            5,
            Conditional,
        ),
        (pre_act([3, 9], false), 2, Conditional),
        (pre_act([1, 8], true), 3, Joint),
        (resnet([3, 8]), 2, Marginal),
    ];
    all.into_iter().map(|(architecture, batch, energy)| {
        let what = format!("{architecture:?}, {energy:?}");
        (plan_of(&architecture), batch, energy, what)
    })
}

#[test]
fn networks_compute_what_the_definition_says() {
    for (plan, batch, energy, what) in networks() {
        check(&plan, batch, energy, &what);
    }
}

#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
#[test]
async fn kernels_and_networks_on_the_gpu_compute_what_the_definition_says() {
    use basin_shared::engine::gpu::{self, Gpu, Storage};
    let gpu = Gpu::new(Storage::Single, |_, _| ()).await;
    let gpu = gpu.unwrap_or_else(|error| panic!("{error}"));
    let shapes = shapes().map(|(plan, batch, what)| (plan, batch, EnergyKind::Joint, what));
    for (plan, batch, energy, what) in shapes.chain(networks()) {
        let engine = gpu::GpuNetwork::new(gpu.clone(), plan.clone())
            .await
            .unwrap();
        let (x, classes) = batch_of(&plan, batch);
        let found = engine
            .evaluate(&x, classes.len(), &*energy.of(classes.clone()))
            .await
            .unwrap();
        compare(&plan, &x, &classes, energy, &found, &what);
    }
}

#[test]
fn an_image_is_the_same_alone_as_in_company() {
    let small = Small {
        image: Extent {
            channels: 3,
            size: 10,
        },
        // Heavy enough that images of a batch take turns at the weights.
        channels_in: 64,
        channels_out: 128,
        filter: [3, 1, 1],
        add: false,
    };
    let (batch, numbers) = (11, 300);
    let engine = CompiledNetwork::new(small.plan());
    let x = Key::new(1).uniforms(batch * numbers);
    let classes = Key::new(2).integers(batch, CLASSES);
    let all = engine.evaluate(
        &x,
        batch,
        &Joint {
            classes: classes.clone(),
        },
    );
    // As workers share a batch.
    for workers in 2..=batch {
        let mut logits = Vec::new();
        let mut gradient = Vec::new();
        for i in 0..workers {
            let share = i * batch / workers..(i + 1) * batch / workers;
            let x = &x[share.start * numbers..share.end * numbers];
            let (count, classes) = (share.len(), classes[share].to_vec());
            let part = engine.evaluate(x, count, &Joint { classes });
            logits.extend(part.logits);
            gradient.extend(part.gradient);
        }
        assert_eq!(logits, all.logits, "logits of {workers} workers");
        assert_eq!(gradient, all.gradient, "gradient of {workers} workers");
    }
}

#[cfg(target_arch = "wasm32")]
mod worker {
    use basin_protocol::{
        ByDistance, EnergyKind, GradientScaling, Origin, Plan, Reply, Request, Sampler, Sgld,
    };
    use basin_worker::{
        engine::{Engine, cpu::Cpu},
        session::{Beside, Session},
    };
    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    wasm_bindgen_test_configure!(run_in_dedicated_worker);

    const UNTRAINED: &[u8] = include_bytes!("../../../tests/e2e/fixtures/untrained.safetensors");
    /// Classes of that model, and numbers of its images.
    const CLASSES: usize = 3;
    const VALUES: usize = 64;

    async fn loaded() -> Session<Cpu> {
        loaded_on(Cpu).await
    }

    async fn loaded_on<E: Engine>(engine: E) -> Session<E> {
        let mut session = Session::new(engine, || 0.0);
        let beside = Beside {
            bytes: UNTRAINED.to_vec(),
            ..Beside::default()
        };
        let answer = session.answer(Request::Load, beside).await;
        let Some((Reply::Loaded { self_test, .. }, _)) = answer else {
            panic!("{answer:?}")
        };
        // The file holds what the native engine computed of two images.
        assert!(self_test.passed(), "{self_test:?}");
        session
    }

    /// Images, then logits, of each of the first `count` frames.
    async fn frames<E: Engine>(
        session: &mut Session<E>,
        plan: Plan,
        count: usize,
    ) -> Vec<Vec<f32>> {
        let begun = session
            .answer(Request::Begin { chain: 1, plan }, Beside::default())
            .await;
        assert_eq!(begun, None);
        let mut frames = Vec::new();
        for _ in 0..count {
            let answer = session
                .answer(Request::Advance { chain: 1, most: 1 }, Beside::default())
                .await;
            let Some((Reply::Frame { .. }, numbers)) = answer else {
                panic!("{answer:?}")
            };
            frames.push(numbers);
        }
        frames
    }

    fn plan(classes: Vec<usize>, seed: u32) -> Plan {
        let sampler = Sampler::Sgld(Sgld {
            step_size: 0.5,
            noise_std: 0.01,
            friction: 0.0,
            gradient: GradientScaling::Raw,
            clamp: true,
        });
        Plan {
            seed,
            morph: None,
            classes,
            energy: EnergyKind::Joint,
            sampler,
            steps: 20,
            origin: Origin::Class { spread: 1.0 },
            mixture: None,
            known: None,
            adversary: None,
        }
    }

    fn plan_by_distance(classes: Vec<usize>, seed: u32) -> Plan {
        let sampler = Sampler::ByDistance(ByDistance {
            h: 0.3,
            beta: 0.8,
            last_steps: 2,
            last_h: 0.5,
        });
        Plan {
            sampler,
            ..plan(classes, seed)
        }
    }

    #[wasm_bindgen_test]
    async fn this_engine_computes_what_the_native_one_did() {
        loaded().await;
    }

    #[wasm_bindgen_test]
    async fn the_energy_descended_falls() {
        let mut session = loaded().await;
        let frames = frames(&mut session, plan(vec![2], 1), 21).await;
        let energy = |frame: &[f32]| -frame[VALUES + 2];
        let (start, end) = (energy(&frames[0]), energy(&frames[20]));
        assert_eq!(frames[0].len(), VALUES + CLASSES);
        assert!(end < start - 0.1, "E(x, y) was {start}, is {end}");
        assert!(
            frames[20][..VALUES]
                .iter()
                .all(|value| (0.0..=1.0).contains(value))
        );
    }

    #[wasm_bindgen_test]
    async fn the_same_plan_gives_the_same_bits() {
        let mut session = loaded().await;
        for plan in [plan, plan_by_distance] {
            let first = frames(&mut session, plan(vec![0, 1], 7), 4).await;
            assert_eq!(frames(&mut session, plan(vec![0, 1], 7), 4).await, first);
            assert_ne!(frames(&mut session, plan(vec![0, 1], 8), 4).await, first);
        }
    }

    #[wasm_bindgen_test]
    async fn a_chain_goes_on_where_no_partner_can_be_started() {
        // The server of these tests has no partner.js.
        let mut session = loaded().await;
        let all = frames(&mut session, plan(vec![0, 1], 7), 30).await;
        let again = frames(&mut session, plan(vec![0, 1], 7), 3).await;
        assert_eq!(all[..3], again);
        assert_eq!(all.len(), 30);
    }

    #[cfg(feature = "gpu")]
    #[wasm_bindgen_test]
    async fn a_chain_on_the_gpu_is_the_processors() {
        use basin_shared::engine::gpu::{Gpu, Storage};
        let gpu = Gpu::new(Storage::Half, |_, _| ()).await;
        let gpu = gpu.unwrap_or_else(|error| panic!("{error}"));
        let mut on_gpu = loaded_on(gpu).await;
        let mut on_cpu = loaded().await;
        let steps = 21;
        let found = frames(&mut on_gpu, plan(vec![0, 2], 3), steps).await;
        let expected = frames(&mut on_cpu, plan(vec![0, 2], 3), steps).await;
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-3, "step {step}: {a}, expected {b}");
            }
        }
    }
}
