//! The model card in the words of the protocol.

use basin_protocol::{Model, Plan, Sampler, SamplerSettings, Start};
use basin_shared::{
    ModelFile,
    samplers::{Distances, Step},
};

/// What the page shows of a file of `file_length` bytes.
pub(crate) fn describe(file: &ModelFile, file_length: usize) -> Model {
    let card = file.card.clone();
    let [channels, size, _] = card.architecture.image();
    Model {
        name: card.name,
        architecture: card.architecture.title(),
        parameters: card.architecture.parameter_count(),
        channels,
        size,
        class_names: card.class_names,
        data_set: card.data_set,
        method: card.method,
        recipe: card.recipe,
        metrics: card.metrics,
        hardware: card.hardware,
        generation: card.generation,
        quick: card.quick,
        denoising: card.denoising,
        distances: card.distances,
        licence: card.licence,
        author: card.author,
        basin_version: card.basin_version,
        weights_sha256: card.weights_sha256,
        file_length,
    }
}

/// The step that the page asks for; the error says what is wrong with it.
pub(crate) fn step(plan: &Plan, distances: Option<&Distances>) -> Result<Step, String> {
    let settings = SamplerSettings {
        energy: plan.energy,
        steps: plan.steps,
        start: Start::Uniform,
        sampler: plan.sampler,
    };
    // A visitor may set a Langevin step that no card may recommend.
    if let Sampler::Sgld(sgld) = plan.sampler {
        return Ok(Step::Sgld(sgld));
    }
    match settings.fault() {
        Some(fault) => Err(format!("the sampler: {fault}")),
        None => settings
            .walk(distances)
            .ok_or_else(|| "the model's card does not say how far away the data are".into()),
    }
}
