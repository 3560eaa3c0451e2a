//! A standard classifier of the same classes, which names the images that a model draws, and tells by its
//! features how like the real ones they are.

use std::path::Path;

use anyhow::{Context, Result};
use basin_shared::{
    Classifier, ModelFile,
    attacks::named,
    engine::cpu::CompiledNetwork,
    metrics::{
        PrecisionRecall, inception_score, kernel_distance, mean_pairwise_distance, precision_recall,
    },
};

use crate::{data::Images, evaluation::frechet::Gaussian, model};

/// Images in one pass.
const BATCH: usize = 100;
/// The balls of precision and recall reach to the nearest but two (Kynkäänniemi et al. 2019).
const NEIGHBOUR: usize = 3;

/// The beginnings of two lists, as long as the shorter one.
fn alike<'a>(a: &'a [f32], b: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let length = a.len().min(b.len());
    (&a[..length], &b[..length])
}

/// A classifier without its last layer, and that layer.
#[derive(Debug)]
pub(crate) struct Judge {
    engine: CompiledNetwork,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// What a judge sees in images.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The class that it gives to each.
    pub classes: Vec<u8>,
    /// Its logits, `[images, classes]`.
    pub logits: Vec<f32>,
    /// What its last layer is given, `[images, features]`.
    pub features: Vec<f32>,
}

/// Real images as a judge sees them.
#[derive(Clone, Debug)]
pub(crate) struct Real {
    gaussian: Gaussian,
    /// `[images, features]`
    features: Vec<f32>,
    /// Mean distance of the features of two images of a class, a mean over the classes.
    class_distance: f64,
}

impl Judge {
    /// Reads the model file of a judge for the model of `file`.
    pub(crate) fn read(path: &Path, file: &ModelFile) -> Result<Self> {
        let judge = model::of_same_classes(path, file)?;
        let plan = judge.plan().with_context(|| path.display().to_string())?;
        let (weight, bias) = (plan.head.weight.clone(), plan.head.bias.clone());
        Ok(Self {
            engine: CompiledNetwork::new(plan.without_head()),
            weight,
            bias,
        })
    }

    /// Features of an image.
    fn size(&self) -> usize {
        self.engine.plan().classes()
    }

    /// Looks at images, `[count, channels, height, width]`.
    pub(crate) fn look(&self, x: &[f32]) -> Seen {
        let image = self.engine.plan().image;
        let numbers = image.channels * image.size * image.size;
        let features: Vec<f32> = x
            .chunks(BATCH * numbers)
            .flat_map(|x| self.engine.logits(x, x.len() / numbers))
            .collect();
        let logit = |z: &[f32], class: usize| {
            let weights = &self.weight[class * z.len()..][..z.len()];
            let products = weights.iter().zip(z).map(|(w, z)| w * z);
            self.bias[class] + products.sum::<f32>()
        };
        let images = features.chunks_exact(self.size());
        let logits: Vec<f32> = images
            .flat_map(|z| (0..self.bias.len()).map(move |class| logit(z, class)))
            .collect();
        let rows = logits.chunks_exact(self.bias.len());
        Seen {
            classes: rows.map(|f| named(f) as u8).collect(),
            logits,
            features,
        }
    }

    /// Looks at some of the images of a data set.
    fn look_at(&self, images: &Images, indices: impl Iterator<Item = usize>) -> Seen {
        self.look(&images.values(indices))
    }

    /// Share of images that it names rightly.
    pub(crate) fn accuracy(&self, images: &Images) -> f64 {
        let seen = self.look_at(images, 0..images.len());
        let pairs = seen.classes.iter().zip(images.labels());
        pairs.filter(|(named, label)| named == label).count() as f64 / images.len() as f64
    }

    /// Real images as this judge sees them, the first `count`; distances within a class are those of as many
    /// as are drawn of each.
    pub(crate) fn real(&self, images: &Images, count: usize, drawn: usize) -> Real {
        let count = count.min(images.len());
        let seen = self.look_at(images, 0..count);
        let labels = &images.labels()[..count];
        let size = self.size();
        let distance = |class: usize| {
            let members = (0..count).filter(|&i| usize::from(labels[i]) == class);
            let features = members
                .take(drawn.max(2))
                .flat_map(|i| seen.features[i * size..][..size].iter().copied());
            mean_pairwise_distance(&features.collect::<Vec<_>>(), size)
        };
        let classes = self.bias.len();
        Real {
            gaussian: Gaussian::of(&seen.features, size),
            class_distance: (0..classes).map(distance).sum::<f64>() / classes as f64,
            features: seen.features,
        }
    }

    /// Fréchet distance of the features of images to those of real ones.
    pub(crate) fn frechet(&self, seen: &Seen, real: &Real) -> f64 {
        Gaussian::of(&seen.features, self.size()).distance(&real.gaussian)
    }

    /// Kernel distance of the features of images to those of as many real ones.
    pub(crate) fn kernel_distance(&self, seen: &Seen, real: &Real) -> f64 {
        let (seen, real) = alike(&seen.features, &real.features);
        kernel_distance(seen, real, self.size())
    }

    /// How many of the images lie among as many real ones, and of those among these; none of a few images.
    pub(crate) fn precision_recall(&self, seen: &Seen, real: &Real) -> Option<PrecisionRecall> {
        let (seen, real) = alike(&seen.features, &real.features);
        precision_recall(seen, real, self.size(), NEIGHBOUR)
    }

    /// The Inception score's formula of what it says of images: not that score, which is of another network.
    pub(crate) fn score(&self, seen: &Seen) -> f64 {
        inception_score(&seen.logits, self.bias.len(), 1)[0]
    }

    /// The same of other real images, `count` behind the first `first`: what no drawing can fall below by much.
    pub(crate) fn frechet_of_real(
        &self,
        images: &Images,
        [first, count]: [usize; 2],
        real: &Real,
    ) -> f64 {
        self.frechet(&self.look_at(images, first..first + count), real)
    }

    /// Mean distance of the features of two images of a class, as a share of that of real ones.
    pub(crate) fn diversity(&self, seen: &Seen, real: &Real) -> f64 {
        mean_pairwise_distance(&seen.features, self.size()) / real.class_distance
    }
}
