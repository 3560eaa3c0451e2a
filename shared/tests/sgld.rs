//! Langevin dynamics where its outcome is known in closed form.

use basin_shared::{
    Classifier, Key,
    classifier::Evaluation,
    energy::{EnergyKind, Objective},
    samplers::{GradientScaling, HostChain, Sgld, Step},
};

/// One class with logit −x²/2, summed over the pixels: E(x) = E(x, y) = x²/2.
struct Quadratic;

impl Classifier for Quadratic {
    fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
        let images = x.chunks_exact(x.len() / batch);
        images
            .map(|x| -0.5 * x.iter().map(|x| x * x).sum::<f32>())
            .collect()
    }

    fn evaluate(&self, x: &[f32], batch: usize, _: &dyn Objective) -> Evaluation {
        Evaluation {
            logits: self.logits(x, batch),
            gradient: x.to_vec(),
        }
    }
}

fn sgld() -> Sgld {
    Sgld {
        step_size: 0.2,
        noise_std: 0.5,
        friction: 0.0,
        gradient: GradientScaling::Raw,
        clamp: false,
    }
}

fn chain(sgld: Sgld, batch: usize, x: Vec<f32>) -> HostChain {
    HostChain {
        walk: Step::Sgld(sgld),
        noise: Key::new(11).into(),
        energy: EnergyKind::Marginal,
        classes: vec![0; batch],
        mixture: None,
        velocity: vec![0.0; x.len()],
        x,
        step: 0,
    }
}

fn run(mut chain: HostChain, steps: usize) -> HostChain {
    for _ in 0..steps {
        chain.advance(&Quadratic, 1);
    }
    chain
}

/// x ← (1 − h) x + s ξ has stationary variance s² / (2h − h²).
#[test]
fn variance_on_a_quadratic_is_the_closed_form() {
    let count = 40_000;
    let values = run(chain(sgld(), count, vec![0.0; count]), 60).x;
    let mean = values.iter().map(|&v| v as f64).sum::<f64>() / count as f64;
    let squares = values.iter().map(|&v| (v as f64 - mean).powi(2));
    let variance = squares.sum::<f64>() / count as f64;
    let expected = 0.5f64.powi(2) / (2.0 * 0.2 - 0.2f64.powi(2));
    assert!(
        mean.abs() < 5.0 * (expected / count as f64).sqrt(),
        "mean {mean}"
    );
    let standard_error = expected * (2.0 / count as f64).sqrt();
    assert!(
        (variance - expected).abs() < 5.0 * standard_error,
        "{variance} not {expected}"
    );
}

/// v ← ζv − hx, x ← x + v is the two-dimensional linear map with matrix [[1 − h, ζ], [−h, ζ]] on (x, v).
#[test]
fn friction_gives_the_damped_oscillator() {
    let sgld = Sgld {
        noise_std: 0.0,
        friction: 0.7,
        ..sgld()
    };
    let (mut x, mut v) = (1.0f32, 0.0f32);
    for _ in 0..10 {
        v = 0.7 * v - 0.2 * x;
        x += v;
    }
    let got = run(chain(sgld, 1, vec![1.0]), 10).x[0];
    assert!((got - x).abs() < 1e-5, "{got} not {x}");
}

#[test]
fn a_chain_paused_and_resumed_is_the_chain_run_through() {
    let sgld = Sgld {
        friction: 0.5,
        ..sgld()
    };
    let start = || chain(sgld, 3, Key::new(1).uniforms(12));
    assert_eq!(run(run(start(), 3), 4).x, run(start(), 7).x);
}

#[test]
fn an_image_moves_alone_as_in_company() {
    let x = Key::new(1).uniforms(12);
    let all = run(chain(sgld(), 3, x.clone()), 5).x;
    let alone = run(chain(sgld(), 1, x[..4].to_vec()), 5).x;
    assert_eq!(all[..4], alone);
}

#[test]
fn gradients_are_clamped_and_normalised() {
    let x = Key::new(1).normals(5 * 18);
    let step = |gradient| {
        let sgld = Sgld {
            noise_std: 0.0,
            gradient,
            ..sgld()
        };
        let end = run(chain(sgld, 5, x.clone()), 1).x;
        let moves = end.iter().zip(&x).map(|(end, x)| end - x);
        moves.collect::<Vec<f32>>()
    };
    for moved in step(GradientScaling::Normalize).chunks_exact(18) {
        let length = moved.iter().map(|d| d * d).sum::<f32>().sqrt();
        assert!((length - 0.2).abs() < 1e-5, "{length}");
    }
    for (moved, x) in step(GradientScaling::Clamp(0.3)).iter().zip(&x) {
        let expected = -0.2 * x.clamp(-0.3, 0.3);
        assert!(
            (moved - expected).abs() < 1e-6,
            "{moved}, expected {expected}"
        );
    }
}

#[test]
fn clamped_chains_stay_in_the_unit_box() {
    let sgld = Sgld {
        noise_std: 2.0,
        clamp: true,
        ..sgld()
    };
    let x = run(chain(sgld, 2, Key::new(1).uniforms(32)), 4).x;
    assert!(x.iter().all(|v| (0.0..=1.0).contains(v)));
}
