//! JEAT, joint energy-based adversarial training (Zhu et al. 2021, Algorithm 1).

pub(super) mod prejeat;
mod restart;
mod settings;
mod slope;

use basin_shared::{
    Key,
    attacks::{Attack, Budget},
    energy::EnergyKind,
    tensors::{
        Network, OnTensors,
        energy::{self, mean},
        from_host, to_host, whole_from_host,
    },
};
use burn::tensor::Tensor;
use rayon::prelude::*;

pub(crate) use settings::{DataTerm, Jeat};
pub(crate) use slope::Slope;
use slope::squared_distance;

use super::{Batch, ENERGY_DATA, ENERGY_SAMPLE, Inner, Loss, State, Target, accuracy, logits};
use crate::{
    chains,
    data::Images,
    training::replay_buffer::{Advanced, Beginnings, ReplayBuffer},
};

impl Jeat {
    /// One iteration of Algorithm 1: attack, sample, and the loss on both.
    pub(super) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let Inner {
            model,
            train,
            batch,
            key,
            ..
        } = inner;
        let attack_key = key.stream("attack");
        let sample_key = key.stream("sample");
        let noise_key = key.stream("noise");
        let frozen = model.frozen();
        let x = batch.x.clone();
        let objective = self.attack_energy.of(inner.classes());
        let attack = Attack::energy(Budget::linf(self.epsilon), &*objective, self.gradient_at);
        let x_adv = attack.on_tensors(&frozen, x.clone(), attack_key);
        let buffer = state.replay();
        let chains = self.sample(&frozen, train, batch, buffer, model.classes(), sample_key);
        let with_clean = self.weight_conditional_clean > 0.0 || self.data == DataTerm::Clean;
        let clean = with_clean.then(|| self.clean(x, noise_key));
        let examples = Examples {
            x_adv,
            target: inner.target(),
            chains,
            clean,
        };
        let settings = self.clone();
        move |model| settings.loss(model, &examples)
    }

    /// A buffer filled with restarts.
    pub(super) fn init(&self, train: &Images, classes: usize, key: Key) -> ReplayBuffer {
        let capacity = self.buffer.capacity;
        let image_key = key.stream("image");
        let start_key = key.stream("start");
        let images = image_key.integers(capacity, train.len());
        let bytes = images.iter().flat_map(|&image| train.pixels(image));
        let mut pixels: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 255.0).collect();
        let mut labels: Vec<u8> = images.iter().map(|&image| train.labels()[image]).collect();
        self.buffer
            .restart(start_key, &mut pixels, &mut labels, classes);
        ReplayBuffer::new(pixels, labels, train.shape())
    }

    /// Clean images with their noise.
    fn clean(&self, x: Tensor<4>, key: Key) -> Clean {
        let noise_key = key.stream("noise");
        let share_key = key.stream("share");
        let uniform_key = key.stream("uniform");
        let (shape, device) = (x.dims(), x.device());
        let noise = noise_key.normal(shape, &device);
        let mut noisy = (x.clone() + noise * self.clean_noise_std).clamp(0.0, 1.0);
        if self.clean_blend > 0.0 {
            let share = share_key.uniform([shape[0], 1, 1, 1], &device) * self.clean_blend;
            let uniform = uniform_key.uniform(shape, &device);
            noisy = noisy.clone() + (uniform - noisy) * share;
        }
        let squares = (noisy.clone() - x).powf_scalar(2.0);
        let squares: Tensor<2> = squares.flatten(1, 3);
        Clean {
            x: noisy,
            distances: squares.sum_dim(1).squeeze_dim::<1>(1).sqrt(),
        }
    }

    /// The loss on the examples of the inner problem.
    fn loss(&self, model: &Network, examples: &Examples) -> Loss {
        let Examples {
            x_adv,
            target,
            chains,
            clean,
        } = examples;
        let distances = |d: &[f32], slope: &Slope| {
            from_host(d.to_vec(), [d.len()], &x_adv.device()) * slope.per_distance
        };

        // One pass for all images, as examples do not interact; but three where the network has
        // BatchNorm, or it would see the statistics of a mixture.
        let [count, ..] = x_adv.dims();
        let [samples, ..] = chains.end.dims();
        let restarts = chains.start_distances.len();
        let mut sampled = vec![chains.end.clone()];
        sampled.extend(chains.start.clone());
        let mut images = vec![x_adv.clone(), Tensor::cat(sampled, 0)];
        images.extend(clean.as_ref().map(|clean| clean.x.clone()));
        let f = match model.architecture().has_batch_norm() {
            false => logits(model, Tensor::cat(images, 0)),
            true => {
                let each = images.into_iter().map(|x| logits(model, x)).collect();
                Tensor::cat(each, 0)
            }
        }; // [all images, classes]
        let [all, _] = f.dims();
        let f_adv = f.clone().narrow(0, 0, count);
        let f_sample = f.clone().narrow(0, count, samples);
        let f_clean = clean
            .as_ref()
            .map(|_| f.clone().narrow(0, all - count, count));
        let f_data = match (self.data, &f_clean) {
            (DataTerm::Clean, Some(f_clean)) => f_clean.clone(),
            _ => f_adv.clone(),
        };
        let energy_data = energy::marginal(f_data);
        let energy_sample = energy::marginal(f_sample);
        let conditional = mean(target.cross_entropy(f_adv.clone()));
        let marginal = mean(energy_data.clone()) - mean(energy_sample.clone());
        let mut penalty = mean(energy_data.clone().powf_scalar(2.0));
        match &self.slope {
            None => penalty = penalty + mean(energy_sample.clone().powf_scalar(2.0)),
            Some(slope) => {
                let off = energy_sample.clone() - distances(&chains.end_distances, slope);
                penalty = penalty + mean(off.powf_scalar(2.0));
                // The data's energy where its term and its penalty balance.
                let level = -self.weight_marginal / (2.0 * self.energy_penalty);
                if restarts > 0 {
                    let energy_start = energy::marginal(f.narrow(0, count + samples, restarts));
                    let off = energy_start - distances(&chains.start_distances, slope) - level;
                    // Each as much as an end of a chain.
                    let share = restarts as f32 / samples as f32;
                    penalty = penalty + mean(off.powf_scalar(2.0)) * share;
                }
                if let (Some(clean), Some(f_clean)) = (clean, &f_clean)
                    && self.clean_blend > 0.0
                {
                    let distances = clean.distances.clone() * slope.per_distance;
                    let off = energy::marginal(f_clean.clone()) - distances - level;
                    penalty = penalty + mean(off.powf_scalar(2.0));
                }
            }
        }
        let mut value = conditional.clone() * self.weight_conditional
            + marginal * self.weight_marginal
            + penalty * self.energy_penalty;
        if let Some(f_clean) = f_clean {
            let conditional = mean(target.cross_entropy(f_clean));
            value = value + conditional * self.weight_conditional_clean;
        }
        Loss {
            value,
            accuracy: accuracy(f_adv, target.y.clone()),
            figures: vec![
                ("cross_entropy", conditional.inner()),
                (ENERGY_DATA, mean(energy_data.inner())),
                (ENERGY_SAMPLE, mean(energy_sample.inner())),
            ],
            input: None,
        }
    }

    /// Chains from the buffer or restarted, and after K steps x̃_K; their ends go back.
    fn sample(
        &self,
        model: &impl OnTensors,
        train: &Images,
        batch: &Batch,
        buffer: &mut ReplayBuffer,
        classes: usize,
        key: Key,
    ) -> Chains {
        let device = batch.x.device();
        let count = self.chains.min(batch.labels.len());
        // Restarts take the batch's own images, noised or replaced by noise.
        let size: usize = train.shape().iter().product();
        let originals = batch.pixels[..count * size].iter();
        let originals: Vec<f32> = originals.map(|&byte| f32::from(byte) / 255.0).collect();
        let restart = |key, _: &[u8]| {
            let mut pixels = originals.clone();
            let mut labels = batch.labels[..count].to_vec();
            self.buffer.restart(key, &mut pixels, &mut labels, classes);
            Beginnings { pixels, labels }
        };
        let energy = match self.conditional_chains {
            true => EnergyKind::Joint,
            false => EnergyKind::Marginal,
        };
        let walk = |start: Tensor<4>, labels: &[u8], key| {
            chains::reach(model, self.sampler, energy, labels, start, key, self.steps)
        };
        let chance = self.buffer.reinit_probability;
        let Advanced {
            start,
            end: x_sample,
            labels,
            begun,
            fresh,
        } = buffer.advance(key, count, chance, &device, restart, walk);

        // Without a slope nobody asks how far from the data the starts are.
        let measured: Vec<usize> = match self.slope {
            Some(_) => begun,
            None => Vec::new(),
        };
        let start_distance = |&i: &usize| {
            let (start, original) = (&fresh[i * size..][..size], &originals[i * size..][..size]);
            let own = squared_distance(start, original.iter().copied()).sqrt();
            self.distance(train, start, labels[i]).min(own)
        };
        let start_distances = measured.par_iter().map(start_distance).collect();
        let restarts =
            (!measured.is_empty()).then(|| start.select(0, whole_from_host(&measured, &device)));
        // Read back for a slope alone: its references are on the host.
        let ends: Vec<f32> = match self.slope {
            Some(_) => to_host(x_sample.clone()),
            None => Vec::new(),
        };
        let ends = ends.par_chunks_exact(size).zip(&labels);
        Chains {
            start: restarts,
            start_distances,
            end_distances: ends.map(|(x, &y)| self.distance(train, x, y)).collect(),
            end: x_sample,
        }
    }

    /// d(x) of [`Slope`]; 0 without one.
    fn distance(&self, train: &Images, x: &[f32], class: u8) -> f32 {
        let slope = self.slope.as_ref();
        slope.map_or(0.0, |slope| slope.distance(train, x, class))
    }
}

/// What the inner problem has found.
struct Examples {
    x_adv: Tensor<4>,
    target: Target,
    chains: Chains,
    /// Where the loss asks for them.
    clean: Option<Clean>,
}

/// The clean images with their noise, and how far it took each.
struct Clean {
    x: Tensor<4>,
    distances: Tensor<1>,
}

/// Where chains came from and where they got to, with the distances of [`Slope`].
struct Chains {
    /// The starts of restarted chains, where there is a slope.
    start: Option<Tensor<4>>,
    start_distances: Vec<f32>,
    /// x̃_K
    end: Tensor<4>,
    end_distances: Vec<f32>,
}

#[cfg(test)]
pub(super) use tests::literal_loss;

#[cfg(test)]
mod tests {
    use basin_shared::{
        attacks::GradientAt,
        energy::Joint,
        samplers::{GradientScaling, Sgld},
        tensors::OnTensors,
    };
    use burn::tensor::Device;

    use super::{restart::BufferSettings, *};
    use crate::methods::fixture::{batch, images, inner, network, network_with_batch_norm};

    /// The paper's algorithm.
    fn literal() -> Jeat {
        Jeat {
            epsilon: 0.1,
            attack_energy: EnergyKind::Joint,
            gradient_at: GradientAt::Clean,
            weight_conditional: 1.0,
            weight_conditional_clean: 0.0,
            weight_marginal: 1.0,
            energy_penalty: 0.0,
            slope: None,
            data: DataTerm::Adversarial,
            clean_noise_std: 0.0,
            clean_blend: 0.0,
            chains: 4,
            steps: 3,
            conditional_chains: false,
            sampler: Sgld {
                step_size: 0.5,
                noise_std: 0.01,
                friction: 0.0,
                gradient: GradientScaling::Raw,
                clamp: false,
            },
            buffer: BufferSettings {
                capacity: 16,
                reinit_probability: 0.25,
                uniform: 1.0,
                largest_noise_std: 0.0,
            },
        }
    }

    /// On given examples, for the comparison with PyTorch.
    pub(in crate::methods) fn literal_loss(
        model: &Network,
        x_adv: Tensor<4>,
        target: Target,
        sample: Tensor<4>,
    ) -> Loss {
        let chains = Chains {
            start: None,
            start_distances: Vec::new(),
            end: sample,
            end_distances: Vec::new(),
        };
        let examples = Examples {
            x_adv,
            target,
            chains,
            clean: None,
        };
        literal().loss(model, &examples)
    }

    /// The loss of the batch under key 3.
    fn loss(jeat: &Jeat, model: &Network, train: &Images, buffer: &ReplayBuffer) -> Loss {
        let batch = batch();
        let inner = inner(model, train, &batch);
        jeat.outer(inner, &mut State::Replay(buffer.clone()))(model)
    }

    /// E(x_adv) cancels: the two terms of Algorithm 1 together are E(x_adv, y) − E(x̃).
    #[test]
    fn the_papers_loss_is_joint_minus_sampled_energy() {
        let device = Device::flex();
        let model = network(&device.clone().autodiff());
        let jeat = literal();
        let buffer = jeat.init(&images(), 3, Key::new(2));
        let loss = loss(&jeat, &model, &images(), &buffer);

        let frozen = model.frozen();
        let attack_key = Key::new(3).stream("attack");
        let sample_key = Key::new(3).stream("sample");
        let Batch { x, y, labels, .. } = batch();
        let budget = Budget::linf(0.1);
        let objective = Joint {
            classes: labels.iter().map(|&y| y.into()).collect(),
        };
        let attack = Attack::energy(budget, &objective, GradientAt::Clean);
        let x_adv = attack.on_tensors(&frozen, x, attack_key);
        let x_sample = jeat
            .sample(
                &frozen,
                &images(),
                &batch(),
                &mut buffer.clone(),
                3,
                sample_key,
            )
            .end;
        let expected = energy::joint(frozen.logits_of(x_adv), y).mean()
            - energy::marginal(frozen.logits_of(x_sample)).mean();
        let (found, expected): (f32, f32) = (loss.value.into_scalar(), expected.into_scalar());
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
    }

    /// With BatchNorm the logits of the attacked images, of the samples and of the clean images are
    /// those of a pass each; without it one pass for all gives the same.
    #[test]
    fn batch_norm_sees_each_kind_of_image_alone() {
        let device = Device::flex();
        for has_batch_norm in [false, true] {
            let init = || match has_batch_norm {
                false => network(&device.clone().autodiff()),
                true => network_with_batch_norm(&device.clone().autodiff()),
            };
            let [x_adv, sample, clean] =
                [5, 6, 7].map(|key| Key::new(key).uniform([4, 1, 8, 8], &device));
            // Of another brightness, so that statistics differ.
            let sample = sample * 0.2;
            let jeat = Jeat {
                weight_conditional_clean: 1.0,
                ..literal()
            };
            let y = Tensor::from_data([0, 1, 2, 0], &device);
            let target = Target {
                y: y.clone(),
                label_smoothing: 0.0,
            };
            let examples = Examples {
                x_adv: x_adv.clone(),
                target,
                chains: Chains {
                    start: None,
                    start_distances: Vec::new(),
                    end: sample.clone(),
                    end_distances: Vec::new(),
                },
                clean: Some(Clean {
                    x: clean.clone(),
                    distances: Tensor::zeros([4], &device),
                }),
            };
            let found: f32 = jeat.loss(&init(), &examples).value.into_scalar();
            let of = |[f_adv, f_sample, f_clean]: [Tensor<2>; 3]| -> f32 {
                let marginal = energy::marginal(f_adv.clone()) - energy::marginal(f_sample);
                let conditional =
                    energy::conditional(f_adv, y.clone()) + energy::conditional(f_clean, y.clone());
                (conditional + marginal).mean().into_scalar()
            };
            let images = [x_adv, sample, clean];
            let alone = of(images.clone().map(|x| logits(&init(), x)));
            let together = logits(&init(), Tensor::cat(images.to_vec(), 0));
            let together = of([0, 4, 8].map(|at| together.clone().narrow(0, at, 4)));
            let title = init().architecture().title();
            assert!((found - alone).abs() < 1e-5, "{title}: {found}, {alone}");
            let differs = (alone - together).abs() > 1e-2;
            assert_eq!(differs, has_batch_norm, "{title}: {alone}, {together}");
        }
    }

    /// The penalty by its formula, from the same chains.
    #[test]
    fn with_a_slope_energies_are_held_to_a_line_over_the_distance() {
        let device = Device::flex();
        let model = network(&device.clone().autodiff());
        let slope = Slope {
            per_distance: 1.5,
            references: 2,
            real_distance: 0.5,
        };
        let jeat = Jeat {
            weight_conditional: 0.0,
            weight_marginal: 0.2,
            energy_penalty: 0.1,
            slope: Some(slope),
            data: DataTerm::Clean,
            ..literal()
        };
        let buffer = jeat.init(&images(), 3, Key::new(2));
        let images = images();
        // A key under which some chains restart and some do not.
        let loss = loss(&jeat, &model, &images, &buffer);

        let frozen = model.frozen();
        let sample_key = Key::new(3).stream("sample");
        let clean = batch();
        let chains = jeat.sample(&frozen, &images, &clean, &mut buffer.clone(), 3, sample_key);
        let energies = |x| -> Vec<f32> {
            let energies = energy::marginal(frozen.logits_of(x));
            energies.into_data().iter().collect()
        };
        let mean = |values: Vec<f32>| values.iter().sum::<f32>() / values.len() as f32;
        let data = energies(clean.x);
        let (starts, ends) = (energies(chains.start.unwrap()), energies(chains.end));
        assert!(!starts.is_empty() && starts.len() < 4);
        assert!(chains.end_distances.iter().any(|&d| d > 0.0));
        let off = |energies: &[f32], distances: &[f32], level: f32| -> Vec<f32> {
            let pairs = energies.iter().zip(distances);
            pairs.map(|(e, d)| (e - level - 1.5 * d).powi(2)).collect()
        };
        let penalty = mean(data.iter().map(|e| e * e).collect())
            + mean(off(&ends, &chains.end_distances, 0.0))
            + off(&starts, &chains.start_distances, -1.0)
                .iter()
                .sum::<f32>()
                / 4.0;
        let expected = 0.2 * (mean(data) - mean(ends)) + 0.1 * penalty;
        let found: f32 = loss.value.into_scalar();
        assert!(
            (found - expected).abs() < 1e-4,
            "{found}, expected {expected}"
        );
    }

    /// Blended clean images: all pixels of one go the same share of the way to the noise, and their
    /// energies are held to the line too.
    #[test]
    fn blended_images_are_held_to_the_line_of_their_own_distance() {
        let device = Device::flex();
        let model = network(&device.clone().autodiff());
        let jeat = Jeat {
            weight_conditional: 0.0,
            weight_marginal: 0.2,
            energy_penalty: 0.1,
            slope: Some(Slope {
                per_distance: 1.5,
                references: 2,
                real_distance: 0.5,
            }),
            clean_blend: 0.8,
            ..literal()
        };
        let Batch { x, y, .. } = batch();
        let clean = jeat.clean(x.clone(), Key::new(4));
        let uniform_key = Key::new(4).stream("uniform");
        let uniform = uniform_key.uniform(x.dims(), &device);
        let shares: Tensor<2> =
            ((clean.x.clone() - x.clone()) / (uniform - x.clone())).flatten(1, 3);
        let shares: Vec<f32> = shares.into_data().iter().collect();
        let distances: Vec<f32> = clean.distances.to_data().iter().collect();
        let moved: Tensor<2> = (clean.x.clone() - x.clone()).flatten(1, 3);
        let moved: Vec<f32> = moved.into_data().iter().collect();
        for (i, of_image) in shares.chunks(64).enumerate() {
            assert!((0.0..0.8).contains(&of_image[0]));
            assert!(of_image.iter().all(|s| (s - of_image[0]).abs() < 1e-3));
            let norm = moved[i * 64..][..64]
                .iter()
                .map(|d| d * d)
                .sum::<f32>()
                .sqrt();
            assert!((distances[i] - norm).abs() < 1e-4);
        }

        let frozen = model.frozen();
        let energies = |x: Tensor<4>| energy::marginal(frozen.logits_of(x));
        let sample: Tensor<4> = Key::new(6).uniform(x.dims(), &device);
        let end_distances = vec![0.1, 0.2, 0.3, 0.4];
        let off = |x, distances: Tensor<1>, level: f32| -> f32 {
            let off = energies(x) - distances * 1.5 - level;
            off.powf_scalar(2.0).mean().into_scalar()
        };
        let sample_distances = Tensor::from_floats(end_distances.as_slice(), &device);
        let penalty = off(x.clone(), Tensor::zeros([4], &device), 0.0)
            + off(sample.clone(), sample_distances, 0.0)
            + off(clean.x.clone(), clean.distances.clone(), -1.0);
        let marginal = energies(x.clone()).mean() - energies(sample.clone()).mean();
        let expected = 0.2 * marginal.into_scalar::<f32>() + 0.1 * penalty;
        let examples = Examples {
            x_adv: x,
            target: Target {
                y,
                label_smoothing: 0.0,
            },
            chains: Chains {
                start: None,
                start_distances: Vec::new(),
                end: sample,
                end_distances,
            },
            clean: Some(clean),
        };
        let found: f32 = jeat.loss(&model, &examples).value.into_scalar();
        assert!(
            (found - expected).abs() < 1e-4,
            "{found}, expected {expected}"
        );
    }

    /// An image that is one of the references, and one at a hand-computed distance of it.
    #[test]
    fn distances_are_from_the_nearest_reference_of_the_class() {
        let images = images();
        let jeat = Jeat {
            slope: Some(Slope {
                per_distance: 1.0,
                references: 1,
                real_distance: 0.3,
            }),
            ..literal()
        };
        let reference = |i: usize| -> Vec<f32> {
            let pixels = images.pixels(i).iter();
            pixels.map(|&byte| f32::from(byte) / 255.0).collect()
        };
        assert_eq!(jeat.distance(&images, &reference(1), 1), 0.0);
        let mut moved = reference(1);
        for pixel in &mut moved {
            *pixel += 0.0625; // 0.5 in all
        }
        let found = jeat.distance(&images, &moved, 1);
        assert!((found - 0.4).abs() < 1e-4, "{found}"); // √(0.5² − 0.3²)
        assert!(jeat.distance(&images, &reference(1), 0) > 0.4);
    }

    #[test]
    fn the_ends_of_chains_go_back_to_their_places() {
        let device = Device::flex();
        let frozen = network(&device).frozen();
        let jeat = literal();
        let mut before = jeat.init(&images(), 3, Key::new(2));
        let mut after = before.clone();
        let ends = jeat
            .sample(&frozen, &images(), &batch(), &mut after, 3, Key::new(5))
            .end;
        let draw_key = Key::new(5).stream("draw");
        let places = before.draw(draw_key, 4);
        assert_eq!(after.get(&places, &device).0.into_data(), ends.into_data());
        let kept: Vec<usize> = (0..16).filter(|place| !places.contains(place)).collect();
        let [kept_before, kept_after] =
            [&mut before, &mut after].map(|buffer| buffer.get(&kept, &device).0.into_data());
        assert_eq!(kept_before, kept_after);
    }

    /// Hand-computed: restarts from noise of deviation 0 are the training images themselves.
    #[test]
    fn restarts_are_images_or_uniform_noise_in_the_recipes_shares() {
        let mut jeat = literal();
        jeat.buffer = BufferSettings {
            capacity: 4000,
            uniform: 0.25,
            ..jeat.buffer
        };
        let [images_array, _] = jeat.init(&images(), 3, Key::new(2)).to_arrays();
        let originals: Vec<Vec<f32>> = (0..8)
            .map(|i| {
                images()
                    .pixels(i)
                    .iter()
                    .map(|&byte| f32::from(byte) / 255.0)
                    .collect()
            })
            .collect();
        let of_images = images_array.values.chunks(64);
        let share = of_images
            .filter(|x| originals.iter().any(|o| o == x))
            .count() as f64
            / 4000.0;
        let standard_error = (0.25f64 * 0.75 / 4000.0).sqrt();
        assert!((share - 0.75).abs() < 5.0 * standard_error, "{share}");
    }
}
