//! Denoising score matching on a classifier's energies, beside adversarial training.
//!
//! Score matching: Vincent 2011, "A connection between score matching and denoising autoencoders"; one
//! energy for all levels of noise, which is told none of them: Li, Chen and Sommer 2019 (MDSM); no
//! second derivative, as directional derivatives are differences of two evaluations: Pang et al. 2020
//! (finite-difference score matching); a classifier whose backward pass is the score: Guo et al. 2023 (EGC).
//!
//! Their energies are log-densities; here E grows by `slope` for each unit of L2 distance from the clean
//! image, so that its gradient has one length, the energy tells how far an image is, and a step
//! down the gradient of the length of that distance is the posterior mean.

use basin_shared::{
    Key,
    energy::{Joint, Marginal, Objective},
    samplers::Sgld,
    tensors::{
        Frozen, Network, OnTensors,
        energy::{self, mean},
    },
};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::negatives::Negatives;
use crate::methods::{
    ENERGY_DATA, ENERGY_SAMPLE, Inner, Loss, State, Target, accuracy,
    adversarial::inner_attack::InnerAttack, logits,
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dsm {
    /// What finds the adversarial examples.
    pub attack: InnerAttack,
    /// s, the energy of a unit of L2 distance.
    pub slope: f32,
    /// Share of the batch that has score terms, its first images.
    pub share: f32,
    /// Share of those whose energy is E(x, y), the first of them; of the others it is E(x).
    pub conditional: f32,
    /// Share of the noisy images that are blends with uniform noise; the others have Gaussian noise.
    pub blended: f32,
    /// The standard deviation of Gaussian noise is drawn from U(0, this) for each image.
    pub largest_noise_std: f32,
    /// h, how far to both sides the directional derivative looks, an L2 distance.
    pub difference: f32,
    /// Noisy images up to this L2 distance from the clean one are classified.
    pub classified_up_to: f32,
    /// Most that the value term takes of an image.
    pub largest_value_term: f32,
    /// Weights of the terms.
    pub weights: Weights,
    /// Negative chains.
    pub chains: Chains,
}

/// Weights of the terms of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weights {
    /// The weight of the cross-entropy of adversarial examples.
    pub adversarial: f32,
    /// The weight of the cross-entropy of clean images; 0 saves their pass.
    pub clean: f32,
    /// The weight of the cross-entropy of noisy images.
    pub noisy: f32,
    /// The weight of ‖∇E(x̃) − s u‖² / s².
    pub score: f32,
    /// The weight of (E(x̃) − s d)².
    pub value: f32,
    /// The weight of JEAT's E(x_adv) − E(x_sample); 0 saves the chains.
    pub marginal: f32,
}

/// JEAT's negative chains (Zhu et al. 2021, Algorithm 1), of use where the marginal term has a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chains {
    /// Where they start and go on.
    pub negatives: Negatives,
    /// Steps of a chain in each iteration.
    pub steps: usize,
    /// The step.
    pub sampler: Sgld,
}

impl Dsm {
    /// Attack, noise, the score where the noise has led, and the loss on all of it.
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let attack_key = inner.key.stream("attack");
        let noise_key = inner.key.stream("noise");
        let model = inner.model.frozen();
        let (x, y) = inner.labelled();
        let x_adv = self
            .attack
            .examples(&model, x.clone(), inner.classes(), attack_key);
        let count = self.scored(inner.batch.labels.len());
        let noisy = (count > 0).then(|| {
            let (x, y) = (x.clone().narrow(0, 0, count), y.narrow(0, 0, count));
            let x_noisy = self.noisy(x.clone(), noise_key);
            let classes = inner.classes()[..count].to_vec();
            self.look(&model, x, x_noisy, y, classes)
        });
        let Chains {
            negatives,
            steps,
            sampler,
        } = &self.chains;
        let sample = (self.weights.marginal > 0.0).then(|| {
            let (sample, _) = negatives.sample_by_sgld(&inner, state.replay(), sampler, *steps);
            sample
        });
        let examples = Examples {
            x_adv,
            target: inner.target(),
            noisy,
            clean: (self.weights.clean > 0.0).then_some(x),
            sample,
        };
        let settings = self.clone();
        move |model| settings.loss(model, &examples)
    }

    /// The negatives, if the marginal term has a weight.
    pub(in crate::methods) fn negatives(&self) -> Option<&Negatives> {
        (self.weights.marginal > 0.0).then_some(&self.chains.negatives)
    }

    /// How many images of a batch have score terms.
    pub(in crate::methods) fn scored(&self, batch: usize) -> usize {
        ((batch as f32 * self.share).round() as usize).min(batch)
    }

    /// Passes of an image on average: those of the attack and of the chains, three each for the loss of
    /// x_adv, x and x_sample, and with score terms two for ∇E(x̃) and three for each of two points.
    pub(in crate::methods) fn passes(&self, batch: usize) -> f64 {
        let score = 8.0 * self.scored(batch) as f64 / batch as f64;
        let clean = if self.weights.clean > 0.0 { 3.0 } else { 0.0 };
        let chains = if self.weights.marginal > 0.0 {
            3.0 + 2.0 * self.chains.steps as f64
        } else {
            0.0
        };
        self.attack.passes() + 3.0 + score + clean + chains
    }

    /// x̃ = x + σ ε with σ ~ U(0, σ_max), or (1 − t) x + t u with t ~ U(0, 1) and u uniform noise; in
    /// [0, 1].
    fn noisy(&self, x: Tensor<4>, key: Key) -> Tensor<4> {
        let kind_key = key.stream("kind");
        let size_key = key.stream("size");
        let normal_key = key.stream("normal");
        let uniform_key = key.stream("uniform");
        let (shape, device) = (x.dims(), x.device());
        let each = [shape[0], 1, 1, 1];
        let size = size_key.uniform(each, &device);
        let normal = normal_key.normal(shape, &device);
        let gaussian = x.clone() + normal * size.clone() * self.largest_noise_std;
        let uniform = uniform_key.uniform(shape, &device);
        let blend = x.clone() + (uniform - x) * size;
        let blended = kind_key.uniform(each, &device).lower_elem(self.blended);
        gaussian
            .mask_where(blended.expand(shape), blend)
            .clamp(0.0, 1.0)
    }

    /// The residual r = ∇E(x̃) − s u, u from x to x̃, and the two points at which E tells its derivative in the
    /// direction of r.
    ///
    /// # Shapes
    /// - `x` and `x_noisy`: `[count, channels, height, width]`, `y` and `classes`, the same: `[count]`
    pub(in crate::methods) fn look(
        &self,
        model: &Frozen,
        x: Tensor<4>,
        x_noisy: Tensor<4>,
        y: Tensor<1, Int>,
        classes: Vec<usize>,
    ) -> Noisy {
        let [count, ..] = x.dims();
        let joint = (count as f32 * self.conditional).round() as usize;
        let objective = JointOfSome {
            joint: Joint {
                classes: classes.clone(),
            },
            marginal: Marginal { classes },
            count: joint,
        };
        let (_, gradient) = model.logits_and_gradient(x_noisy.clone(), &objective);
        let away = x_noisy.clone() - x.clone();
        let target = away.clone() / each(length(away).clamp_min(1e-3)) * self.slope;
        let residual = gradient - target;
        let residuals = length(residual.clone()).clamp_min(1e-6);
        let step = residual / each(residuals.clone()) * self.difference;
        let pair = Tensor::cat(vec![x_noisy.clone() + step.clone(), x_noisy - step], 0);
        Noisy {
            distances: length(pair.clone() - Tensor::cat(vec![x.clone(), x], 0)),
            pair,
            residuals,
            y: Tensor::cat(vec![y.clone(), y], 0),
            joint,
        }
    }

    /// The mean over images of
    /// w_adv CE(x_adv) + w_clean CE(x) + w_noisy CE(x̃) + w_score ‖r‖² / s² + w_value (E(x̃) − s d)²,
    /// and JEAT's marginal term.
    ///
    /// The gradient of ‖r‖² is 2 ‖r‖ times that of E's derivative in the direction of r, which is
    /// (E(x̃ + h v) − E(x̃ − h v)) / 2h with v = r / ‖r‖. Logits and energies of noisy images are those of
    /// the two points, each held to its own distance d.
    pub(in crate::methods) fn loss(&self, model: &Network, examples: &Examples) -> Loss {
        let Examples {
            x_adv,
            target,
            noisy,
            clean,
            sample,
        } = examples;
        let weights = self.weights;

        // One pass for all images, as examples do not interact; one for each kind where the network has
        // BatchNorm, or it would see the statistics of a mixture.
        let kinds = [
            Some(x_adv),
            noisy.as_ref().map(|noisy| &noisy.pair),
            clean.as_ref(),
            sample.as_ref(),
        ];
        let counts = kinds.map(|x| x.map_or(0, |x| x.dims()[0]));
        let images: Vec<_> = kinds.into_iter().flatten().cloned().collect();
        let f = match model.architecture().has_batch_norm() {
            false => logits(model, Tensor::cat(images, 0)),
            true => Tensor::cat(images.into_iter().map(|x| logits(model, x)).collect(), 0),
        }; // [all images, classes]
        let [f_adv, f_pair, f_clean, f_sample] = std::array::from_fn(|kind| {
            let before = counts[..kind].iter().sum();
            (counts[kind] > 0).then(|| f.clone().narrow(0, before, counts[kind]))
        });
        let f_adv = f_adv.expect("a batch has images");

        let cross_entropy = mean(target.cross_entropy(f_adv.clone()));
        let energy_data = mean(energy::marginal(f_adv.clone()));
        let mut value = cross_entropy.clone() * weights.adversarial;
        let mut figures = vec![
            ("cross_entropy", cross_entropy.inner()),
            (ENERGY_DATA, energy_data.clone().inner()),
        ];
        if let (Some(noisy), Some(f)) = (noisy, f_pair) {
            let [pair, _] = f.dims();
            let count = pair / 2;
            let energies = noisy.energies(f.clone());
            let [ahead, behind] = [0, count].map(|from| energies.clone().narrow(0, from, count));
            let square = self.slope.powi(2);
            let change = (ahead - behind) * noisy.residuals.clone() / (self.difference * square);
            let score = mean(noisy.residuals.clone().powf_scalar(2.0)) / square;
            let off = energies - noisy.distances.clone() * self.slope;
            let off = mean(off.powf_scalar(2.0).clamp_max(self.largest_value_term));
            let near = noisy
                .distances
                .clone()
                .lower_elem(self.classified_up_to)
                .float();
            let target = Target {
                y: noisy.y.clone(),
                ..*target
            };
            let classified = mean(target.cross_entropy(f) * near);
            figures.push(("noisy_cross_entropy", classified.clone().inner()));
            figures.push(("score", score.clone()));
            figures.push(("value", off.clone().inner().sqrt()));
            // The value of the score term, with the gradient of its surrogate.
            let change = mean(change);
            let score = change.clone() - change.detach() + score;
            value =
                value + score * weights.score + off * weights.value + classified * weights.noisy;
        }
        if let Some(f) = f_clean {
            value = value + mean(target.cross_entropy(f)) * weights.clean;
        }
        if let Some(f) = f_sample {
            let energy_sample = mean(energy::marginal(f));
            figures.push((ENERGY_SAMPLE, energy_sample.clone().inner()));
            value = value + (energy_data - energy_sample) * weights.marginal;
        }
        Loss {
            value,
            accuracy: accuracy(f_adv, target.y.clone()),
            figures,
            input: None,
        }
    }
}

/// E(x, y) of the first images, E(x) of the rest.
#[derive(Debug)]
struct JointOfSome {
    joint: Joint,
    marginal: Marginal,
    count: usize,
}

impl JointOfSome {
    fn of(&self, image: usize) -> &dyn Objective {
        match image < self.count {
            true => &self.joint,
            false => &self.marginal,
        }
    }
}

impl Objective for JointOfSome {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        self.of(image).value(image, logits)
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        self.of(image).slope(image, logits, slope);
    }
}

/// What the inner problem has found.
pub(in crate::methods) struct Examples {
    pub(in crate::methods) x_adv: Tensor<4>,
    pub(in crate::methods) target: Target,
    /// Where some of the batch have score terms.
    pub(in crate::methods) noisy: Option<Noisy>,
    /// Where they have a weight.
    pub(in crate::methods) clean: Option<Tensor<4>>,
    pub(in crate::methods) sample: Option<Tensor<4>>,
}

/// The noisy images, as the two points to both sides of each.
pub(in crate::methods) struct Noisy {
    /// x̃ + h v of all images, then x̃ − h v. `[2 count, channels, height, width]`
    pair: Tensor<4>,
    /// How far each is from the clean image. `[2 count]`
    distances: Tensor<1>,
    /// ‖r‖. `[count]`
    residuals: Tensor<1>,
    /// `[2 count]`
    y: Tensor<1, Int>,
    /// The energy of so many is E(x, y), of the rest E(x).
    joint: usize,
}

impl Noisy {
    /// The energies of the pairs, of their kinds. Takes and returns `[2 count, …]`.
    fn energies(&self, f: Tensor<2>) -> Tensor<1> {
        let [count] = self.residuals.dims();
        let mut parts = Vec::new();
        for from in [0, count] {
            let half = f.clone().narrow(0, from, count);
            if self.joint > 0 {
                let y = self.y.clone().narrow(0, 0, self.joint);
                parts.push(energy::joint(half.clone().narrow(0, 0, self.joint), y));
            }
            if self.joint < count {
                let rest = half.narrow(0, self.joint, count - self.joint);
                parts.push(energy::marginal(rest));
            }
        }
        Tensor::cat(parts, 0)
    }
}

/// The L2 length of each image, `[batch]`.
fn length(x: Tensor<4>) -> Tensor<1> {
    let squares: Tensor<2> = x.powf_scalar(2.0).flatten(1, 3);
    squares.sum_dim(1).squeeze_dim::<1>(1).sqrt()
}

/// A number for each image, as its factor: `[batch, 1, 1, 1]`.
fn each(numbers: Tensor<1>) -> Tensor<4> {
    let [batch] = numbers.dims();
    numbers.reshape([batch, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use basin_shared::{
        attacks::Budget,
        energy::EnergyKind,
        samplers::{GradientScaling, Start},
    };
    use burn::{optim::GradientsParams, tensor::Device};

    use super::*;
    use crate::{
        data::Images,
        methods::{Batch, fixture},
        recipe::OptimizerRecipe,
        training::optimizer::optimizer,
    };

    /// Few, so that noise leaves it open which image it was put on.
    const SIZE: usize = 3;
    const PIXELS: usize = SIZE * SIZE;
    const GREYS: [u8; 2] = [108, 148];
    const SLOPE: f32 = 0.6;
    const LARGEST_STD: f32 = 0.15;

    /// Score terms alone.
    fn dsm(conditional: f32) -> Dsm {
        Dsm {
            attack: InnerAttack::Pgd {
                budget: Budget::linf(0.0),
                energy: EnergyKind::Conditional,
                steps: 0,
                step_size: 0.0,
            },
            slope: SLOPE,
            share: 1.0,
            conditional,
            blended: 0.0,
            largest_noise_std: LARGEST_STD,
            difference: 0.1,
            classified_up_to: 0.0,
            largest_value_term: 400.0,
            weights: Weights {
                adversarial: 0.0,
                clean: 0.0,
                noisy: 0.0,
                score: 1.0,
                value: 1.0,
                marginal: 0.0,
            },
            chains: Chains {
                negatives: Negatives {
                    capacity: 8,
                    reinit_probability: 0.5,
                    start: Start::Uniform,
                    gaussian_rank: 1,
                    conditional: false,
                },
                steps: 2,
                sampler: Sgld {
                    step_size: 0.1,
                    noise_std: 0.0,
                    friction: 0.0,
                    gradient: GradientScaling::Raw,
                    clamp: true,
                },
            },
        }
    }

    /// Two images 0.47 apart, of greys that noise seldom takes out of [0, 1].
    fn two_images() -> Images {
        let bytes = [[GREYS[0]; PIXELS], [GREYS[1]; PIXELS]].concat();
        Images::new(bytes, vec![0, 1], [1, SIZE, SIZE])
    }

    /// A network that the method has taught the two images.
    fn taught(dsm: &Dsm) -> Network {
        let train = two_images();
        let count = 32;
        let indices: Vec<usize> = (0..count).map(|i| i % 2).collect();
        let (x, y) = train.batch(&indices, &Device::flex());
        let batch = Batch {
            x,
            y,
            pixels: indices
                .iter()
                .flat_map(|&i| train.pixels(i))
                .copied()
                .collect(),
            labels: indices.iter().map(|&i| i as u8).collect(),
        };
        let adam = OptimizerRecipe::Adam {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1e9,
        };
        let mut optimizer = optimizer(&adam, &Device::flex());
        let mut model = fixture::network_of_size(SIZE, &Device::flex().autodiff());
        let iterations = 400;
        for iteration in 0..iterations {
            let inner = Inner {
                key: Key::new(9).fold_in(iteration),
                ..fixture::inner(&model, &train, &batch)
            };
            let loss = dsm.outer(inner, &mut State::Stateless)(&model);
            let gradients = GradientsParams::from_grads(loss.value.backward(), &model);
            let left = 1.0 - iteration as f64 / iterations as f64;
            (model, _) = optimizer.step(0.005 * left, model, gradients, f32::INFINITY);
        }
        model
    }

    /// Noise around a grey, and how ∇E relates there to s E[u | x̃]:
    /// the mean square of the difference as a share of the mean square of that.
    /// `posterior` has the weights of both images.
    fn error(
        model: &Network,
        objective: &dyn Objective,
        grey: f32,
        posterior: impl Fn([f64; 2]) -> [f64; 2],
    ) -> f64 {
        let train = two_images();
        let count = 64;
        let shape = [count, 1, SIZE, SIZE];
        let x_noisy = Key::new(77).normal(shape, &Device::flex()) * 0.1 + grey / 255.0;
        let frozen = model.frozen();
        let (_, gradient) = frozen.logits_and_gradient(x_noisy.clone(), objective);
        let found: Vec<f32> = gradient.into_data().iter().collect();
        let x: Vec<f32> = x_noisy.into_data().iter().collect();
        let (mut off, mut all) = (0.0, 0.0);
        for (x, found) in x.chunks(PIXELS).zip(found.chunks(PIXELS)) {
            let away = [0, 1].map(|image| -> Vec<f64> {
                let pixels = train.pixels(image).iter();
                let pixels = pixels.map(|&byte| f64::from(byte) / 255.0);
                x.iter()
                    .zip(pixels)
                    .map(|(&x, pixel)| f64::from(x) - pixel)
                    .collect()
            });
            let length = away
                .each_ref()
                .map(|away| away.iter().map(|a| a * a).sum::<f64>().sqrt());
            let weights = posterior(length);
            for pixel in 0..PIXELS {
                let of = |image: usize| weights[image] * away[image][pixel] / length[image];
                let expected = f64::from(SLOPE) * (of(0) + of(1));
                off += (f64::from(found[pixel]) - expected).powi(2);
                all += expected.powi(2);
            }
        }
        off / all
    }

    /// Which of two images a noisy one came from, at these distances, where σ is uniform up to
    /// [`LARGEST_STD`]: p(k | x̃) ∝ ∫ σ^−D exp(−d_k² / 2σ²) dσ.
    fn mixture(distances: [f64; 2]) -> [f64; 2] {
        let least = distances[0].min(distances[1]);
        let dimensions = PIXELS as f64;
        // Relative to the density of the nearer one at its likeliest σ.
        let likeliest = (least / dimensions.sqrt()).min(LARGEST_STD.into());
        let log = |d: f64, std: f64| -dimensions * std.ln() - d * d / (2.0 * std * std);
        let densities = distances.map(|d| {
            let stds = (1..=400).map(|i| f64::from(LARGEST_STD) * f64::from(i) / 400.0);
            stds.map(|std| (log(d, std) - log(least, likeliest)).exp())
                .sum::<f64>()
        });
        densities.map(|density| density / (densities[0] + densities[1]))
    }

    /// Given its class there is one image that a noisy one came from: E(x, y) is a cone around it, whose
    /// gradient points away from it everywhere. E(x) does not know the class, and follows the mean over both.
    #[test]
    fn known_scores_are_learnt() {
        let cone = |_| [1.0, 0.0];
        let at = f32::from(GREYS[0]);
        let between = (at + f32::from(GREYS[1])) / 2.0;
        let y = Joint {
            classes: vec![0; 64],
        };
        let marginal = Marginal {
            classes: vec![0; 64],
        };
        let of_class = error(&taught(&dsm(1.0)), &y, at, cone);
        assert!(
            of_class < 0.05,
            "{of_class} of the square of one image's score is off"
        );
        let of_both = taught(&dsm(0.0));
        let mixed = error(&of_both, &marginal, between, mixture);
        assert!(
            mixed < 0.1,
            "{mixed} of the square of two images' score is off"
        );
        let other = error(&of_both, &marginal, between, cone);
        assert!(other > 0.3, "one image's score is learnt as well: {other}");
    }

    /// As the recipe composes them.
    #[test]
    fn clean_images_and_negative_chains_enter_by_their_weights() {
        let model = fixture::network(&Device::flex().autodiff());
        let (train, batch) = (fixture::images(), fixture::batch());
        let mut plain = dsm(0.5);
        plain.weights.adversarial = 1.0;
        let mut composed = plain.clone();
        composed.weights.clean = 0.7;
        composed.weights.marginal = 0.3;
        let buffer = composed.chains.negatives.init(&train, 3, None, Key::new(5));
        let of = |dsm: &Dsm| {
            let mut state = State::Replay(buffer.clone());
            let inner = fixture::inner(&model, &train, &batch);
            let loss = dsm.outer(inner, &mut state)(&model);
            (loss, state)
        };
        let (with, after) = of(&composed);
        let (without, before) = of(&plain);
        assert!(before == State::Replay(buffer.clone()) && after != before);

        let frozen = model.frozen();
        let scalar = |t: Tensor<1>| -> f32 { t.into_scalar() };
        let clean = energy::conditional(frozen.logits_of(batch.x.clone()), batch.y.clone());
        let figure = |name: &str| {
            let found = with.figures.iter().find(|(n, _)| *n == name);
            scalar(found.expect("the loss says it").1.clone())
        };
        let marginal = figure(ENERGY_DATA) - figure(ENERGY_SAMPLE);
        let expected = scalar(without.value) + 0.7 * scalar(clean.mean()) + 0.3 * marginal;
        let found = scalar(with.value);
        assert!(
            (found - expected).abs() < 1e-4,
            "{found}, expected {expected}"
        );
    }

    /// Each noisy image lies between its image and noise.
    #[test]
    fn blends_go_a_share_of_the_way_to_uniform_noise() {
        let Batch { x, .. } = fixture::batch();
        let blends = Dsm {
            blended: 1.0,
            ..dsm(0.0)
        };
        let key = Key::new(4);
        let found = blends.noisy(x.clone(), key) - x.clone();
        let size_key = key.stream("size");
        let uniform_key = key.stream("uniform");
        let whole = uniform_key.uniform(x.dims(), &x.device()) - x.clone();
        let size = size_key.uniform([4, 1, 1, 1], &x.device());
        let off: f32 = (found - whole * size).abs().max().into_scalar();
        assert!(off < 1e-6, "{off}");
    }
}
