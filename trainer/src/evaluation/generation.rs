//! What a model draws: images from every start by the card's settings, and by those for people in a hurry.

use basin_shared::{
    Key,
    samplers::{SamplerSettings, Start},
};

use super::{
    candidate::Candidate,
    generator::{Generator, class_distance, start_name},
    measured::Measured,
};

/// Training images whose features drawings are compared with.
const REAL: usize = 10_000;

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
    }
}
