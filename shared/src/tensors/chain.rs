//! Langevin dynamics of tensors.

use burn::tensor::Tensor;

use crate::samplers::{GradientScaling, Sgld};
use crate::{
    key::Key,
    tensors::{classifier::Classifier, energy::Energy},
};

/// A running chain: all that the next step needs, beside the key.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The images, `[batch, channels, height, width]`.
    pub x: Tensor<4>,
    /// The velocity, same shape; none before the first step and without friction.
    pub velocity: Option<Tensor<4>>,
    /// Steps taken.
    pub step: u64,
}

/// What an observer may want to know of a step; never fed back. All of it belongs to the images
/// before the step, and stays on the device.
#[derive(Clone, Debug)]
pub struct StepInfo {
    /// The energy descended, `[batch]`.
    pub energy: Tensor<1>,
    /// The logits, `[batch, classes]`.
    pub logits: Tensor<2>,
}

impl Chain {
    /// A chain that starts at `x`.
    pub fn init(x: Tensor<4>) -> Self {
        Self {
            x: x.inner(),
            velocity: None,
            step: 0,
        }
    }
}

impl Sgld {
    /// One step. The noise is that of `key` at `chain.step`: the same key resumes the same chain.
    pub fn step(
        &self,
        key: Key,
        model: &impl Classifier,
        energy: &Energy,
        chain: Chain,
    ) -> (Chain, StepInfo) {
        let (logits, gradient) = model.logits_and_gradient(chain.x.clone(), energy);
        let mut move_ = self.scaled(gradient) * -self.step_size;
        if let Some(velocity) = chain.velocity {
            move_ = move_ + velocity * self.friction;
        }
        let mut x = chain.x + move_.clone();
        if self.noise_std > 0.0 {
            x = x.clone() + key.fold_in(chain.step).normal(x.dims(), &x.device()) * self.noise_std;
        }
        if self.clamp {
            x = x.clamp(0.0, 1.0);
        }
        let velocity = (self.friction > 0.0).then_some(move_);
        let info = StepInfo {
            energy: energy.of_logits(logits.clone()),
            logits,
        };
        (
            Chain {
                x,
                velocity,
                step: chain.step + 1,
            },
            info,
        )
    }

    /// `steps` steps, unobserved.
    pub fn run(
        &self,
        key: Key,
        model: &impl Classifier,
        energy: &Energy,
        chain: Chain,
        steps: usize,
    ) -> Chain {
        (0..steps).fold(chain, |chain, _| self.step(key, model, energy, chain).0)
    }

    fn scaled(&self, gradient: Tensor<4>) -> Tensor<4> {
        match self.gradient {
            GradientScaling::Raw => gradient,
            GradientScaling::Clamp(limit) => gradient.clamp(-limit, limit),
            GradientScaling::Normalize => {
                let [batch, ..] = gradient.dims();
                let squares = gradient
                    .clone()
                    .powf_scalar(2.0)
                    .reshape([batch as i32, -1]);
                let norm = squares.sum_dim(1).sqrt().clamp_min(1e-12);
                gradient / norm.reshape([batch, 1, 1, 1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    /// One class with logit −x²/2, summed over the pixels: E(x) = E(x, y) = x²/2.
    struct Quadratic;

    impl Classifier for Quadratic {
        fn logits(&self, x: Tensor<4>) -> Tensor<2> {
            x.powf_scalar(2.0).flatten::<2>(1, 3).sum_dim(1) * -0.5
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

    /// x ← (1 − h) x + s ξ has stationary variance s² / (2h − h²).
    #[test]
    fn variance_on_a_quadratic_is_the_closed_form() {
        let count = 40_000;
        let sgld = sgld();
        let start = Tensor::<4>::zeros([count, 1, 1, 1], &Device::flex());
        let chain = sgld.run(
            Key::new(11),
            &Quadratic,
            &Energy::Marginal,
            Chain::init(start),
            60,
        );
        let values = chain.x.into_data().try_to_vec::<f32>().unwrap();
        let mean = values.iter().map(|&v| v as f64).sum::<f64>() / count as f64;
        let variance = values
            .iter()
            .map(|&v| (v as f64 - mean).powi(2))
            .sum::<f64>()
            / count as f64;
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

    /// v ← ζv − hx, x ← x + v is the two-dimensional linear map with matrix
    /// [[1 − h, ζ], [−h, ζ]] on (x, v).
    #[test]
    fn friction_gives_the_damped_oscillator() {
        let sgld = Sgld {
            noise_std: 0.0,
            friction: 0.7,
            ..sgld()
        };
        let mut chain = Chain::init(Tensor::<4>::ones([1, 1, 1, 1], &Device::flex()));
        let (mut x, mut v) = (1.0f32, 0.0f32);
        for _ in 0..10 {
            chain = sgld
                .step(Key::new(0), &Quadratic, &Energy::Marginal, chain)
                .0;
            v = 0.7 * v - 0.2 * x;
            x += v;
        }
        let got: f32 = chain.x.into_scalar();
        assert!((got - x).abs() < 1e-5, "{got} not {x}");
    }

    #[test]
    fn a_chain_paused_and_resumed_is_the_chain_run_through() {
        let start = || Chain::init(Key::new(1).uniform([3, 1, 2, 2], &Device::flex()));
        let sgld = Sgld {
            friction: 0.5,
            ..sgld()
        };
        let run = |chain, steps| sgld.run(Key::new(2), &Quadratic, &Energy::Marginal, chain, steps);
        let through = run(start(), 7).x.into_data();
        assert_eq!(run(run(start(), 3), 4).x.into_data(), through);
    }

    /// The host's step is the tensors' step, whatever the settings.
    #[test]
    fn walking_on_the_host_is_the_same_chain() {
        for gradient in [
            GradientScaling::Raw,
            GradientScaling::Clamp(0.3),
            GradientScaling::Normalize,
        ] {
            for (friction, clamp) in [(0.0, false), (0.6, true)] {
                let sgld = Sgld {
                    noise_std: 0.05,
                    friction,
                    gradient,
                    clamp,
                    ..sgld()
                };
                let start = Key::new(1).uniform([3, 1, 2, 2], &Device::flex());
                let mut x: Vec<f32> = start.to_data().iter().collect();
                let mut velocity = vec![0.0; x.len()];
                for step in 0..20 {
                    let slope = x.clone(); // of x² / 2
                    sgld.walk(Key::new(2), step, 3, &mut x, &mut velocity, &slope);
                }
                let chain = Chain::init(start);
                let chain = sgld.run(Key::new(2), &Quadratic, &Energy::Marginal, chain, 20);
                for (found, expected) in x.iter().zip(chain.x.into_data().iter::<f32>()) {
                    assert!((found - expected).abs() < 1e-5, "{found} not {expected}");
                }
            }
        }
    }

    #[test]
    fn an_image_moves_alone_as_in_company() {
        let batch = Key::new(1).uniform([3, 1, 2, 2], &Device::flex());
        let alone = batch.clone().narrow(0, 0, 1);
        let run = |x| {
            sgld()
                .run(
                    Key::new(2),
                    &Quadratic,
                    &Energy::Marginal,
                    Chain::init(x),
                    5,
                )
                .x
        };
        assert_eq!(
            run(batch).narrow(0, 0, 1).into_data(),
            run(alone).into_data()
        );
    }

    #[test]
    fn normalised_steps_have_the_step_sizes_length() {
        let sgld = Sgld {
            noise_std: 0.0,
            gradient: GradientScaling::Normalize,
            ..sgld()
        };
        let start = Key::new(1).normal([5, 2, 3, 3], &Device::flex());
        let end = sgld.run(
            Key::new(0),
            &Quadratic,
            &Energy::Marginal,
            Chain::init(start.clone()),
            1,
        );
        let length = (end.x - start)
            .powf_scalar(2.0)
            .flatten::<2>(1, 3)
            .sum_dim(1)
            .sqrt();
        let expected = Tensor::<2>::full([5, 1], 0.2, &Device::flex());
        length
            .to_data()
            .assert_approx_eq::<f32>(&expected.to_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn clamped_chains_stay_in_the_unit_box() {
        let sgld = Sgld {
            noise_std: 2.0,
            clamp: true,
            ..sgld()
        };
        let start = Key::new(1).uniform([2, 1, 4, 4], &Device::flex());
        let x = sgld
            .run(
                Key::new(0),
                &Quadratic,
                &Energy::Marginal,
                Chain::init(start),
                4,
            )
            .x;
        assert!(
            x.into_data()
                .iter::<f32>()
                .all(|v| (0.0..=1.0).contains(&v))
        );
    }
}
