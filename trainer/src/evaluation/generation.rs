//! What a model draws: images from every start by the card's settings, and by those for people in a hurry.

use basin_shared::{
    Key,
    metrics::{inception_score, kernel_distance},
    samplers::{SamplerSettings, Start},
};

use super::{
    candidate::Candidate,
    frechet::Gaussian,
    generator::{Generator, class_distance, start_name},
    inception,
    measured::Measured,
};
use crate::cli;

/// Training images whose features drawings are compared with.
const REAL: usize = 10_000;
/// Parts of which the Inception score is the mean (Salimans et al. 2016).
const SPLITS: usize = 10;

pub(crate) fn generation(candidate: &Candidate, key: Key, measured: &mut Measured) {
    let (count, classes) = (candidate.arguments.generated, candidate.classes());
    if count == 0 {
        return measured.leave_out("what the model draws", "--generated is 0");
    }
    let (file, images) = (candidate.file, &candidate.data);
    let judge = candidate.judge.as_ref();
    if judge.is_none() {
        measured.leave_out(
            "agreement, Fréchet and kernel distance, precision and recall of what the model draws",
            "there is no --judge",
        );
    }
    let judge = judge.map(|judge| (judge, judge.real(&images.train, REAL, count)));
    measured.add("generated_images", (count * classes) as f64);
    if let Some((judge, real)) = &judge {
        measured.add("judge_clean_accuracy", judge.accuracy(&images.test));
        let others = [REAL.min(images.train.len()), count * classes];
        if others[0] + others[1] <= images.train.len() {
            let frechet = judge.frechet_of_real(&images.train, others, real);
            measured.add("frechet_of_other_real_images", frechet);
        }
    }
    let inception = candidate.inception.as_ref().map(|inception| {
        let count = REAL.min(images.train.len());
        let real = inception.look(&images.train.values(0..count), images.train.shape());
        measured.add("inception_real_images", count as f64);
        (
            inception,
            Gaussian::of(&real.features, inception::FEATURES),
            real.features,
        )
    });
    if inception.is_none() && candidate.arguments.suite == cli::Suite::Paper {
        measured.leave_out("FID, KID and Inception score", inception::HOW_TO_GET);
    }
    let generator = Generator {
        network: &candidate.network,
        gaussian: file.class_gaussian(),
        distances: file.card.distances.as_ref(),
        shape: file.card.architecture.image(),
        count,
        real_distance: class_distance(&images.test, count, classes),
        judge: judge.as_ref().map(|(judge, real)| (*judge, real)),
        device: candidate.device,
    };
    let best = &file.card.generation;
    let from = |start| (start_name(start), SamplerSettings { start, ..*best });
    let mut runs = vec![from(Start::Uniform), from(Start::ClassGaussian)];
    // It is the class Gaussian but for its spread, so only where the card prefers it.
    if best.start == Start::ClassPca {
        runs.push(from(Start::ClassPca));
    }
    runs.extend(file.card.quick.map(|quick| ("quick", quick)));
    for (place, (name, settings)) in runs.iter().enumerate() {
        let drawn = generator.draw(settings, key.fold_in(place as u64));
        drawn.figures(|figure, value| measured.add(&format!("{figure}_{name}"), value));
        if let Some((inception, gaussian, real)) = &inception {
            let seen = inception.look(&drawn.images, images.train.shape());
            let size = inception::FEATURES;
            let fid = Gaussian::of(&seen.features, size).distance(gaussian);
            measured.add(&format!("fid_{name}"), fid);
            let alike = real.len().min(seen.features.len());
            let kid = kernel_distance(&seen.features[..alike], &real[..alike], size);
            measured.add(&format!("kid_{name}"), kid);
            let [score, spread] = inception_score(&seen.logits, inception::CLASSES, SPLITS);
            measured.add(&format!("inception_score_{name}"), score);
            measured.add(&format!("inception_score_spread_{name}"), spread);
        }
    }
}
