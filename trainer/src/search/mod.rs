//! The search for a sampler's settings: candidates meet in rounds, each draws a few images of every class,
//! the best third goes on and draws more (successive halving, Jamieson & Talwalkar 2016).

pub(crate) mod by_distance;
pub(crate) mod langevin;

use basin_shared::{
    ModelFile,
    metrics::mean,
    samplers::{Distances, SamplerSettings},
    tensors::{Frozen, OnTensors, energy},
};
use burn::tensor::Device;

use crate::{
    data::Images,
    evaluation::{
        accuracy::BATCH,
        generator::{Drawn, Generator, class_distance},
        judge::{Judge, Real},
    },
};

/// Images of each class in the first rounds; the last one's number is the user's.
const FIRST_ROUNDS: [usize; 2] = [3, 8];
/// One of so many candidates goes on to the next round.
const KEPT: usize = 3;
/// Distances of pixels and of the judge's features within a class, of real images', that lose nothing.
const ENOUGH_DIVERSITY: f64 = 0.6;
const ENOUGH_FEATURE_DIVERSITY: f64 = 0.95;
/// What energies far above the real images' cost at most.
const ENERGY_WEIGHT: f64 = 0.1;
/// What a Fréchet distance of 1 between the judge's features of what is drawn and of real images costs: it
/// is about what saturated colours and one image drawn again and again have.
const FRECHET_WEIGHT: f64 = 0.5;

/// Settings, and what they are worth by [`Hunt::score`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub settings: SamplerSettings,
    pub score: f64,
}

/// What is drawn with, and what it is held to.
pub(crate) struct Hunt<'a> {
    pub file: &'a ModelFile,
    pub network: &'a Frozen,
    pub distances: Option<&'a Distances>,
    pub validation: &'a Images,
    pub judge: &'a Judge,
    /// The validation images as the judge sees them.
    pub real: Real,
    /// E(x) of the validation images: mean and standard deviation.
    pub energy: [f64; 2],
    /// Images of each class that the last candidates draw.
    pub last_round: usize,
    pub device: &'a Device,
}

impl Hunt<'_> {
    /// Images of each class in each round; one who is alone need not prove himself.
    fn rounds(&self, candidates: usize) -> Vec<usize> {
        let first: &[usize] = if candidates > 1 { &FIRST_ROUNDS } else { &[] };
        [first, &[self.last_round]].concat()
    }

    /// Draws so many images of each class.
    fn generator(&self, count: usize) -> Generator<'_> {
        let classes = self.file.card.class_names.len();
        Generator {
            network: self.network,
            gaussian: self.file.class_gaussian(),
            distances: self.distances,
            shape: self.file.card.architecture.image(),
            count,
            real_distance: class_distance(self.validation, count.max(BATCH / classes), classes),
            judge: Some((self.judge, &self.real)),
            device: self.device,
        }
    }

    /// The judge's agreement, less where images are unlike the real ones or resemble each other more, or where
    /// the model itself finds them unlikely.
    fn score(&self, drawn: &Drawn) -> f64 {
        let judged = drawn.judged.expect("there is a judge");
        let diversity = (drawn.diversity / ENOUGH_DIVERSITY).min(1.0)
            * (judged.feature_diversity / ENOUGH_FEATURE_DIVERSITY).min(1.0);
        let [centre, std] = self.energy;
        let above = ((drawn.energy - centre) / std.max(1e-6)).clamp(0.0, 1.0);
        judged.agreement * diversity - FRECHET_WEIGHT * judged.frechet - ENERGY_WEIGHT * above
    }
}

/// Mean and standard deviation of E(x) of images.
pub(crate) fn energy_of(network: &Frozen, images: &Images, device: &Device) -> [f64; 2] {
    let order: Vec<usize> = (0..images.len()).collect();
    let energies: Vec<f32> = order
        .chunks(BATCH)
        .flat_map(|indices| {
            let f = network.logits_of(images.batch(indices, device).0);
            energy::marginal(f)
                .into_data()
                .iter::<f32>()
                .collect::<Vec<_>>()
        })
        .collect();
    let centre = mean(&energies);
    let square = |e: &f32| (f64::from(*e) - centre).powi(2);
    let variance = energies.iter().map(square).sum::<f64>() / energies.len() as f64;
    [centre, variance.sqrt()]
}
