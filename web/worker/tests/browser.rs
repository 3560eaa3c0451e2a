//! The engine on the processor inside a browser's worker: `cargo xtask test wasm`. What needs no
//! browser runs natively too, where it must give the same numbers.

#![allow(missing_docs)]

use basin_shared::Key;
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

#[cfg(target_arch = "wasm32")]
mod worker {
    use basin_protocol::{EnergyKind, Gradient, Origin, Plan, Reply, Request, Sampler};
    use basin_worker::{
        bench::{Bench, Beside},
        engine::Engine,
    };
    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    wasm_bindgen_test_configure!(run_in_dedicated_worker);

    const UNTRAINED: &[u8] = include_bytes!("../../../tests/e2e/fixtures/untrained.safetensors");
    const CLASSES: usize = 3;
    const VALUES: usize = 64;

    async fn loaded() -> Bench {
        let mut bench = Bench::new(Engine::Cpu, || 0.0);
        let beside = Beside {
            bytes: UNTRAINED.to_vec(),
            ..Beside::default()
        };
        let answer = bench.answer(Request::Load, beside).await;
        let Some((Reply::Loaded { self_test, .. }, _)) = answer else {
            panic!("{answer:?}")
        };
        // The file holds what the native engine computed of two images.
        assert!(self_test.passed(), "{self_test:?}");
        bench
    }

    /// Images, then logits, of each of the first `count` frames.
    async fn frames(bench: &mut Bench, plan: Plan, count: usize) -> Vec<Vec<f32>> {
        let begun = bench
            .answer(Request::Begin { chain: 1, plan }, Beside::default())
            .await;
        assert_eq!(begun, None);
        let mut frames = Vec::new();
        for _ in 0..count {
            let answer = bench
                .answer(Request::Advance { chain: 1 }, Beside::default())
                .await;
            let Some((Reply::Frame { .. }, numbers)) = answer else {
                panic!("{answer:?}")
            };
            frames.push(numbers);
        }
        frames
    }

    fn plan(classes: Vec<usize>, seed: u32) -> Plan {
        let sampler = Sampler {
            step_size: 0.5,
            noise_std: 0.01,
            friction: 0.0,
            gradient: Gradient::Raw,
            clamp: true,
        };
        Plan {
            seed,
            classes,
            energy: EnergyKind::Joint,
            sampler,
            origin: Origin::Class,
        }
    }

    #[wasm_bindgen_test]
    async fn this_engine_computes_what_the_native_one_did() {
        loaded().await;
    }

    #[wasm_bindgen_test]
    async fn the_energy_descended_falls() {
        let mut bench = loaded().await;
        let frames = frames(&mut bench, plan(vec![2], 1), 21).await;
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
        let mut bench = loaded().await;
        let first = frames(&mut bench, plan(vec![0, 1], 7), 4).await;
        assert_eq!(frames(&mut bench, plan(vec![0, 1], 7), 4).await, first);
        assert_ne!(frames(&mut bench, plan(vec![0, 1], 8), 4).await, first);
    }
}
