//! Unselected images of every class from a model, and how good they are: what a judge says of them, how
//! much they differ, how like the real ones they are, and their energy.

use basin_shared::{
    Key,
    metrics::{PrecisionRecall, mean, mean_pairwise_distance},
    samplers::{ClassGaussian, Distances, SamplerSettings, Start},
    tensors::{Frozen, OnTensors, energy},
};
use burn::tensor::Device;

use crate::{
    chains,
    data::Images,
    evaluation::judge::{Judge, Real, Seen},
    tell::Countdown,
};

/// What draws, and who judges.
pub(crate) struct Generator<'a> {
    pub network: &'a Frozen,
    pub gaussian: &'a ClassGaussian,
    pub distances: Option<&'a Distances>,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// Images of each class.
    pub count: usize,
    /// Mean distance of two real images of a class, [`class_distance`].
    pub real_distance: f64,
    /// A standard classifier of the same classes, and how it sees real images.
    pub judge: Option<(&'a Judge, &'a Real)>,
    pub device: &'a Device,
}

/// Images drawn, and what is said of them, each figure a mean over the classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawn {
    /// The images, class by class, `[images, channels, height, width]`.
    pub images: Vec<f32>,
    /// What a judge says; nothing without one.
    pub judged: Option<Judged>,
    /// Mean distance of two images of a class, as a share of real ones'.
    pub diversity: f64,
    /// Mean of E(x).
    pub energy: f64,
}

/// What a judge says of the images drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    /// Share of images to which it gives the class intended.
    pub agreement: f64,
    /// The same of the starts of the chains.
    pub agreement_on_starts: f64,
    /// Fréchet distance of its features, all classes together, to those of real images.
    pub frechet: f64,
    /// Mean distance of its features within a class, as a share of real ones'.
    pub feature_diversity: f64,
    /// Kernel distance of its features to those of as many real images.
    pub kernel_distance: f64,
    /// Precision and recall by its features, where there are enough images.
    pub precision_recall: Option<PrecisionRecall>,
    /// The Inception score's formula of what it says.
    pub score: f64,
}

impl Drawn {
    /// All of it by name.
    pub(crate) fn figures(&self, mut add: impl FnMut(&str, f64)) {
        if let Some(judged) = &self.judged {
            add("judge_agrees_on_starts", judged.agreement_on_starts);
            add("judge_agrees", judged.agreement);
            add("frechet", judged.frechet);
            add("feature_diversity", judged.feature_diversity);
            add("judge_kernel_distance", judged.kernel_distance);
            add("judge_score", judged.score);
            let found = judged.precision_recall;
            let [precision, recall] = found.map_or([f64::NAN; 2], |p| [p.precision, p.recall]);
            add("judge_precision", precision);
            add("judge_recall", recall);
        }
        add("diversity", self.diversity);
        add("energy_generated", self.energy);
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
        let share = |value: f64| value / classes as f64;
        let mut drawn = vec![Drawn::default(); steps.len()];
        let mut seen = vec![Seen::default(); steps.len()];
        let mut countdown = Countdown::of("drawing, classes", classes);
        for class in 0..classes {
            countdown.advance(usize::from(class > 0));
            let [start_key, chain_key] = key.fold_in(class as u64).split();
            let labels = vec![class as u8; self.count];
            let gaussian = Some(self.gaussian);
            let start = settings.start;
            let start = chains::start(start, gaussian, self.shape, &labels, start_key, self.device);
            let walk = chains::walk(settings, self.distances);
            let mut chains = chains::chains(walk, settings.energy, &labels, &start, chain_key);
            let agreement = |judge: &Judge, x: &[f32]| {
                let seen = judge.look(x);
                let right = seen.classes.iter().filter(|&&named| named == class as u8);
                (share(right.count() as f64 / labels.len() as f64), seen)
            };
            let on_starts = self.judge.map(|(judge, _)| agreement(judge, &chains.x).0);
            for ((drawn, seen), &steps) in drawn.iter_mut().zip(&mut seen).zip(steps) {
                let left = steps - chains.step as usize;
                let shape = self.shape;
                let x =
                    chains::advance(self.network, &mut chains, shape, left, self.device, |_| {});
                if let Some((judge, real)) = self.judge {
                    let judged = drawn.judged.get_or_insert_default();
                    let (right, of_class) = agreement(judge, &chains.x);
                    judged.agreement += right;
                    judged.agreement_on_starts += on_starts.unwrap_or_default();
                    judged.feature_diversity += share(judge.diversity(&of_class, real));
                    seen.features.extend(of_class.features);
                    seen.logits.extend(of_class.logits);
                }
                drawn.images.extend_from_slice(&chains.x);
                let energies = energy::marginal(self.network.logits_of(x));
                let energies: Vec<f32> = energies.into_data().iter().collect();
                drawn.energy += share(mean(&energies));
                let distance = mean_pairwise_distance(&chains.x, self.shape.iter().product());
                drawn.diversity += share(distance / self.real_distance);
            }
        }
        if let Some((judge, real)) = self.judge {
            for (drawn, seen) in drawn.iter_mut().zip(&seen) {
                let judged = drawn.judged.get_or_insert_default();
                judged.frechet = judge.frechet(seen, real);
                judged.kernel_distance = judge.kernel_distance(seen, real);
                judged.precision_recall = judge.precision_recall(seen, real);
                judged.score = judge.score(seen);
            }
        }
        drawn
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
