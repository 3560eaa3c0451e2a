//! The joint and the marginal Fisher score (JEAT 4.3, eq. 23 and 24).

use basin_shared::{
    Classifier,
    energy::EnergyKind,
    metrics::{FisherScore, fisher_score},
    models::{Activation, Architecture, Layer},
};

use super::{accuracy::BATCH, candidate::Candidate, measured::Measured};
use crate::tell::Countdown;

/// Random directions for each image's trace.
const PROBES: usize = 4;
/// How far a probe goes, in pixel units: a power of two, so that little is rounded.
const STEP: f32 = 1.0 / 1024.0;

pub(crate) fn fisher_scores(candidate: &Candidate, measured: &mut Measured) {
    let (test, images) = (&candidate.data.test, candidate.images());
    let key = candidate.key("fisher scores");
    let order: Vec<usize> = (0..images).collect();
    let mut countdown = Countdown::of("Fisher scores", 2 * images);
    measured.add("fisher_images", images as f64);
    for (name, kind) in [
        ("joint", EnergyKind::Joint),
        ("marginal", EnergyKind::Marginal),
    ] {
        let mut score = FisherScore::default();
        for (batch, indices) in order.chunks(BATCH).enumerate() {
            let x = test.values(indices.iter().copied());
            let energy = kind.of(test.classes(indices.iter().copied()));
            let gradient = |x: &[f32]| {
                candidate
                    .network
                    .evaluate(x, indices.len(), &*energy)
                    .gradient
            };
            let key = key.fold_in(batch as u64);
            score.extend(fisher_score(gradient, &x, indices.len(), PROBES, STEP, key));
            countdown.advance(indices.len());
        }
        measured.add(&format!("{name}_fisher_score"), score.mean());
        measured.add(&format!("{name}_fisher_score_error"), score.error());
        measured.add(&format!("{name}_fisher_trace"), score.trace());
    }
    if let Some(name) = piecewise_linear(&candidate.file.card.architecture) {
        measured.notes.push(format!(
            "Fisher scores: the network's activation is {name}, whose curvature is zero almost everywhere; what the \
             trace has is of the energies' own curvature, and scores cannot be compared with those of smooth networks"
        ));
    }
}

/// The activation, where it consists of straight lines.
fn piecewise_linear(architecture: &Architecture) -> Option<&'static str> {
    let activation = match architecture {
        Architecture::Sequential(config) => {
            let of = |layer: &Layer| match layer {
                Layer::Silu => Some(Activation::Silu),
                Layer::LeakyRelu { .. } => Some(Activation::LeakyRelu),
                _ => None,
            };
            // One that is smooth is enough for some curvature.
            let found: Vec<Activation> = config.layers.iter().filter_map(of).collect();
            match found.contains(&Activation::Silu) {
                true => Activation::Silu,
                false => found.first().copied().unwrap_or(Activation::Relu),
            }
        }
        Architecture::WideResnet(config)
        | Architecture::StandardWideResnet(config)
        | Architecture::DmWideResnet(config) => config.activation,
        Architecture::PreActResnet18(_) | Architecture::Resnet18(_) => return Some("ReLU"),
    };
    match activation {
        Activation::Silu => None,
        Activation::LeakyRelu => Some("LeakyReLU"),
        Activation::Relu => Some("ReLU"),
    }
}
