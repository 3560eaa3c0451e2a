//! Unselected images of every class from a model, and how good they are: what a judge says of them, how
//! much they differ, and their energy.

use basin_shared::{
    Classifier, Key, energy,
    model_card::SamplerSettings,
    models::Frozen,
    samplers::{Chain, ClassGaussian, Start},
};
use burn::tensor::{Device, Tensor};

use crate::{
    data::Images,
    metrics::{mean, mean_pairwise_distance},
    model,
};

/// What draws, and who judges.
pub(crate) struct Generator<'a> {
    pub network: &'a Frozen,
    pub gaussian: &'a ClassGaussian,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// Images of each class.
    pub count: usize,
    /// Mean distance of two real images of a class, [`class_distance`].
    pub real_distance: f64,
    /// A standard classifier of the same classes.
    pub judge: Option<&'a Frozen>,
    pub device: &'a Device,
}

/// What is said of the images drawn, each a mean over the classes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drawn {
    /// Share of images to which the judge gives the class intended; none without one.
    pub agreement: Option<f64>,
    /// The same of the starts of the chains.
    pub agreement_on_starts: Option<f64>,
    /// Mean distance of two images of a class, as a share of real ones'.
    pub diversity: f64,
    /// Mean of E(x).
    pub energy: f64,
}

impl Drawn {
    /// All of it by name.
    pub(crate) fn figures(&self, mut add: impl FnMut(&str, f64)) {
        for (name, value) in [
            ("judge_agrees_on_starts", self.agreement_on_starts),
            ("judge_agrees", self.agreement),
            ("diversity", Some(self.diversity)),
            ("energy_generated", Some(self.energy)),
        ] {
            if let Some(value) = value {
                add(name, value);
            }
        }
    }
}

impl Generator<'_> {
    /// What the settings draw.
    pub(crate) fn draw(&self, settings: &SamplerSettings, key: Key) -> Drawn {
        let mut drawn = self.draw_at(settings, &[settings.steps], key);
        drawn.pop().expect("one number of steps, one outcome")
    }

    /// What the settings draw in each of these numbers of steps, which rise; the longest chain passes
    /// through the others.
    pub(crate) fn draw_at(
        &self,
        settings: &SamplerSettings,
        steps: &[usize],
        key: Key,
    ) -> Vec<Drawn> {
        let classes = self.gaussian.mean.shape[0];
        let mut drawn = vec![Drawn::default(); steps.len()];
        for class in 0..classes {
            let [start_key, chain_key] = key.fold_in(class as u64).split();
            let labels = vec![class as u8; self.count];
            let gaussian = Some(self.gaussian);
            let start = settings.start;
            let start = model::start(start, gaussian, self.shape, &labels, start_key, self.device);
            let on_starts = self.agreement(start.clone(), &labels);
            let energy = settings.energy.of(model::labels(&labels, self.device));
            let mut chain = Chain::init(start);
            for (drawn, &steps) in drawn.iter_mut().zip(steps) {
                let left = steps - chain.step as usize;
                let sampler = &settings.sampler;
                chain = sampler.run(chain_key, self.network, &energy, chain, left);
                let share = |value: f64| value / classes as f64;
                let add = |sum: &mut Option<f64>, agreement: Option<f64>| {
                    *sum = agreement.map(|value| sum.unwrap_or(0.0) + share(value));
                };
                add(&mut drawn.agreement_on_starts, on_starts);
                add(
                    &mut drawn.agreement,
                    self.agreement(chain.x.clone(), &labels),
                );
                let energies = energy::marginal(self.network.logits(chain.x.clone()));
                let energies: Vec<f32> = energies.into_data().iter().collect();
                drawn.energy += share(mean(&energies));
                let pixels: Vec<f32> = chain.x.to_data().iter().collect();
                let distance = mean_pairwise_distance(&pixels, self.shape.iter().product());
                drawn.diversity += share(distance / self.real_distance);
            }
        }
        drawn
    }

    fn agreement(&self, x: Tensor<4>, labels: &[u8]) -> Option<f64> {
        let named = model::predictions(self.judge?, x);
        let pairs = named.iter().zip(labels);
        let right = pairs.filter(|(named, meant)| named == meant).count();
        Some(right as f64 / labels.len() as f64)
    }
}

/// Mean pairwise distance within a class of real images, the first `count` of each.
pub(crate) fn class_distance(images: &Images, count: usize, classes: usize) -> f64 {
    let size: usize = images.shape().iter().product();
    let distance = |class: usize| {
        let members = (0..images.len())
            .filter(|&i| images.labels()[i] as usize == class)
            .take(count);
        let pixels: Vec<f32> = members
            .flat_map(|i| images.pixels(i))
            .map(|&byte| byte as f32 / 255.0)
            .collect();
        mean_pairwise_distance(&pixels, size)
    };
    (0..classes).map(distance).sum::<f64>() / classes as f64
}

/// A start as figures name it.
pub(crate) fn start_name(start: Start) -> &'static str {
    match start {
        Start::Uniform => "uniform",
        Start::ClassGaussian => "class_gaussian",
        Start::ClassPca => "class_pca",
    }
}
