//! Measures what a model's energies tell of the distance to the data: the tables of its card.

use basin_shared::{
    Classifier, Key,
    energy::EnergyKind,
    metrics::mean,
    samplers::{DistanceTable, Distances, NoiseTable},
    tensors::to_host,
};
use burn::tensor::{Device, Tensor};

use crate::{
    data::{self, Images},
    evaluation::accuracy::BATCH,
};

/// Noisy images of each image.
const DRAWS: u64 = 2;
/// Entries of a table: each is the mean of as many images as the others.
const ENTRIES: usize = 24;
/// The standard deviation of Gaussian noise is drawn from U(0, this), the part of uniform noise in a blend
/// from U(0, 1); as in training by score matching.
const LARGEST_NOISE_STD: f32 = 0.7;
/// Noise that is known.
const KNOWN_NOISE_STDS: [f32; 8] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7];
/// Images of each.
const KNOWN_NOISE_IMAGES: usize = 500;

/// One noisy image: what its energy and gradient are, and how they stand to the way back.
#[derive(Clone, Copy, Debug)]
struct Sample {
    energy: f32,
    /// ‖x̃ − x‖
    distance: f32,
    /// ⟨x̃ − x, ∇E⟩
    along: f32,
    /// ‖∇E‖²
    square: f32,
}

/// The tables of a model, off images that it was not trained on.
pub(crate) fn measure(
    model: &impl Classifier,
    images: &Images,
    key: Key,
    device: &Device,
) -> Distances {
    let [mixed_key, known_key] = key.split();
    let order: Vec<usize> = (0..images.len()).collect();
    let mixed = |kind: EnergyKind| {
        let draws = (0..DRAWS).flat_map(|draw| {
            let key = mixed_key.fold_in(draw);
            let batches = order.chunks(BATCH).enumerate();
            batches.flat_map(move |(batch, indices)| {
                let key = key.fold_in(batch as u64);
                samples(
                    model,
                    images,
                    indices,
                    kind,
                    |x| mixed_noise(x, key),
                    device,
                )
            })
        });
        table(draws.collect())
    };
    let joint = mixed(EnergyKind::Joint);
    let marginal = mixed(EnergyKind::Marginal);
    let order = &order[..order.len().min(KNOWN_NOISE_IMAGES)];
    let lengths = KNOWN_NOISE_STDS.map(|std| {
        let batches = order.chunks(BATCH).enumerate();
        let along = batches.flat_map(|(batch, indices)| {
            let key = known_key.fold_in(batch as u64);
            let noise = |x| data::add_noise(x, std, key);
            let samples = samples(model, images, indices, EnergyKind::Marginal, noise, device);
            samples
                .into_iter()
                .map(|s| s.along / s.square.sqrt().max(1e-12))
        });
        // Where a gradient points nowhere near the noise, it is best not to go.
        mean(&along.collect::<Vec<f32>>()).max(0.0) as f32
    });
    let known_noise = NoiseTable {
        stds: [&[0.0], &KNOWN_NOISE_STDS[..]].concat(),
        lengths: not_decreasing(&[&[0.0], &lengths[..]].concat()),
    };
    Distances {
        joint,
        marginal,
        known_noise,
    }
}

/// Gaussian noise or a blend with uniform noise, of all sizes.
fn mixed_noise(x: Tensor<4>, key: Key) -> Tensor<4> {
    let [size_key, noise_key] = key.split();
    let (shape, device) = (x.dims(), x.device());
    let half = shape[0] / 2;
    let size = size_key.uniform([shape[0], 1, 1, 1], &device);
    let normal = noise_key.normal(shape, &device) * size.clone() * LARGEST_NOISE_STD;
    let blend = (noise_key.uniform(shape, &device) - x.clone()) * size;
    let noise = Tensor::cat(
        vec![
            normal.narrow(0, 0, half),
            blend.narrow(0, half, shape[0] - half),
        ],
        0,
    );
    (x + noise).clamp(0.0, 1.0)
}

fn samples(
    model: &impl Classifier,
    images: &Images,
    indices: &[usize],
    kind: EnergyKind,
    noise: impl Fn(Tensor<4>) -> Tensor<4>,
    device: &Device,
) -> Vec<Sample> {
    let x = images.batch(indices, device).0;
    let (noisy, x) = (to_host(noise(x.clone())), to_host(x));
    let labels = indices.iter().map(|&i| images.labels()[i].into());
    let objective = kind.of(labels.collect());
    let found = model.evaluate(&noisy, indices.len(), &*objective);
    let energies = objective.values(&found.logits, indices.len());
    let image = x.len() / indices.len();
    let of_image = |(i, energy)| {
        let place = i * image..(i + 1) * image;
        let gradient = &found.gradient[place.clone()];
        let pairs = noisy[place.clone()].iter().zip(&x[place]);
        let away: Vec<f32> = pairs.map(|(noisy, x)| noisy - x).collect();
        Sample {
            energy,
            distance: dot(&away, &away).sqrt(),
            along: dot(&away, gradient),
            square: dot(gradient, gradient),
        }
    };
    energies.into_iter().enumerate().map(of_image).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Means over samples of neighbouring energies.
fn table(mut samples: Vec<Sample>) -> DistanceTable {
    samples.sort_by(|a, b| a.energy.total_cmp(&b.energy));
    let mut table = DistanceTable::default();
    for bin in samples.chunks(samples.len().div_ceil(ENTRIES).max(1)) {
        let mean = |of: fn(&Sample) -> f32| mean(&bin.iter().map(of).collect::<Vec<_>>()) as f32;
        let energy = mean(|s| s.energy);
        // Energies that are all alike tell nothing.
        if table.energies.last().is_some_and(|&last| last >= energy) {
            continue;
        }
        table.energies.push(energy);
        table.distances.push(mean(|s| s.distance));
        let factor = mean(|s| s.along) / mean(|s| s.square).max(1e-12);
        table.factors.push(factor.max(0.0));
    }
    table.distances = not_decreasing(&table.distances);
    table.factors = not_decreasing(&table.factors);
    table
}

/// The nearest numbers that never decrease: neighbours that do are pooled until none does (pool adjacent
/// violators, Barlow et al. 1972).
fn not_decreasing(values: &[f32]) -> Vec<f32> {
    let mut pools: Vec<(f32, usize)> = Vec::new();
    for &value in values {
        pools.push((value, 1));
        while let [.., (before, many), (after, more)] = pools[..]
            && before > after
        {
            let both = (before * many as f32 + after * more as f32) / (many + more) as f32;
            pools.truncate(pools.len() - 2);
            pools.push((both, many + more));
        }
    }
    let spread = |(value, count): (f32, usize)| std::iter::repeat_n(value, count);
    pools.into_iter().flat_map(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use basin_shared::{classifier::Evaluation, energy::Objective};

    #[test]
    fn pooled_neighbours_never_decrease() {
        assert_eq!(
            not_decreasing(&[1.0, 3.0, 2.0, 5.0, 4.0, 3.0, 6.0]),
            [1.0, 2.5, 2.5, 4.0, 4.0, 4.0, 6.0]
        );
        assert_eq!(not_decreasing(&[3.0, 2.0, 1.0]), [2.0; 3]);
    }

    /// One class with logit −0.6 ‖x − grey‖: of images of that grey, the table is distance = energy / 0.6 and
    /// factor = distance / 0.6.
    struct Cone;

    impl Classifier for Cone {
        fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
            let away = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x - 128.0 / 255.0).collect() };
            let distance = |x: &[f32]| (dot(&away(x), &away(x)) + 1e-12).sqrt();
            let images = x.chunks_exact(x.len() / batch);
            images.map(|x| -0.6 * distance(x)).collect()
        }

        fn evaluate(&self, x: &[f32], batch: usize, objective: &dyn Objective) -> Evaluation {
            let logits = self.logits(x, batch);
            let mut gradient = Vec::new();
            for (i, x) in x.chunks_exact(x.len() / batch).enumerate() {
                let mut slope = [0.0];
                objective.slope(i, &logits[i..=i], &mut slope);
                let distance = logits[i] / -0.6;
                let along = |x: &f32| slope[0] * -0.6 * (x - 128.0 / 255.0) / distance;
                gradient.extend(x.iter().map(along));
            }
            Evaluation { logits, gradient }
        }
    }

    #[test]
    fn a_cone_is_measured() {
        let grey = vec![128; 200 * 3 * 16 * 16];
        let images = Images::new(grey, vec![0; 200], [3, 16, 16]);
        let found = measure(&Cone, &images, Key::new(1), &Device::flex());
        found.check().unwrap();
        for table in [&found.joint, &found.marginal] {
            assert_eq!(table.energies.len(), ENTRIES);
            for (entry, &energy) in table.energies.iter().enumerate() {
                let (distance, factor) = (table.distances[entry], table.factors[entry]);
                assert!((distance / (energy / 0.6) - 1.0).abs() < 0.02, "{table:?}");
                assert!((factor / (distance / 0.6) - 1.0).abs() < 0.03, "{table:?}");
            }
        }
        // Of 768 numbers with noise of 0.1, none is clamped.
        let length = found.known_noise.length(0.1);
        assert!(
            (length / (0.1 * 768f32.sqrt()) - 1.0).abs() < 0.02,
            "{length}"
        );
        assert_eq!(found.known_noise.length(0.0), 0.0);
    }
}
