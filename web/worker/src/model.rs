//! The model card in the words of the protocol.

use basin_protocol::{
    ByDistance, DistanceTable, EnergyKind, Gradient, Langevin, Model, Plan, Recommended, Sampler,
};
use basin_shared::{
    ModelFile, energy,
    samplers::{self, Distances, GradientScaling, SamplerSettings, Sgld, Start, Step},
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
        generation: recommended(card.generation),
        quick: card.quick.map(recommended),
        denoising: recommended(card.denoising),
        distances: card.distances.map(
            |Distances {
                 joint, marginal, ..
             }| {
                [joint, marginal].map(|table| DistanceTable {
                    energies: table.energies,
                    distances: table.distances,
                })
            },
        ),
        licence: card.licence,
        author: card.author,
        basin_version: card.basin_version,
        weights_sha256: card.weights_sha256,
        file_length,
    }
}

fn recommended(settings: SamplerSettings) -> Recommended {
    Recommended {
        energy: energy_said(settings.energy),
        steps: settings.steps as u32,
        from_class: settings.start.spread(),
        sampler: match settings.sampler {
            samplers::Sampler::Sgld(sgld) => Sampler::Langevin(langevin(sgld)),
            samplers::Sampler::ByDistance(sampler) => Sampler::ByDistance(ByDistance {
                h: sampler.h,
                beta: sampler.beta,
                last_steps: sampler.last_steps as u32,
                last_h: sampler.last_h,
            }),
        },
    }
}

fn langevin(sgld: Sgld) -> Langevin {
    let Sgld {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    } = sgld;
    let gradient = match gradient {
        GradientScaling::Raw => Gradient::Raw,
        GradientScaling::Clamp(limit) => Gradient::Clamp(limit),
        GradientScaling::Normalize => Gradient::Normalize,
    };
    Langevin {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    }
}

/// The energy that the page asks for.
pub(crate) fn energy(energy: EnergyKind) -> energy::EnergyKind {
    match energy {
        EnergyKind::Joint => energy::EnergyKind::Joint,
        EnergyKind::Marginal => energy::EnergyKind::Marginal,
        EnergyKind::Conditional => energy::EnergyKind::Conditional,
    }
}

/// The same in the words of the protocol.
pub(crate) fn energy_said(energy: energy::EnergyKind) -> EnergyKind {
    match energy {
        energy::EnergyKind::Joint => EnergyKind::Joint,
        energy::EnergyKind::Marginal => EnergyKind::Marginal,
        energy::EnergyKind::Conditional => EnergyKind::Conditional,
    }
}

/// The step that the page asks for; the error says what is wrong with it.
pub(crate) fn step(plan: &Plan, distances: Option<&Distances>) -> Result<Step, String> {
    let settings = SamplerSettings {
        energy: energy(plan.energy),
        steps: plan.steps as usize,
        start: Start::Uniform,
        sampler: match plan.sampler {
            Sampler::Langevin(langevin) => return Ok(Step::Sgld(sgld(langevin))),
            Sampler::ByDistance(sampler) => samplers::Sampler::ByDistance(samplers::ByDistance {
                h: sampler.h,
                beta: sampler.beta,
                last_steps: sampler.last_steps as usize,
                last_h: sampler.last_h,
            }),
        },
    };
    match settings.fault() {
        Some(fault) => Err(format!("the sampler: {fault}")),
        None => settings
            .walk(distances)
            .ok_or_else(|| "the model's card does not say how far away the data are".into()),
    }
}

fn sgld(langevin: Langevin) -> Sgld {
    let Langevin {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    } = langevin;
    let gradient = match gradient {
        Gradient::Raw => GradientScaling::Raw,
        Gradient::Clamp(limit) => GradientScaling::Clamp(limit),
        Gradient::Normalize => GradientScaling::Normalize,
    };
    Sgld {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    }
}
