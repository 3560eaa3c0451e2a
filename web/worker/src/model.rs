//! The model card in the words of the protocol.

use basin_protocol::{EnergyKind, Gradient, Model, Recommended, Sampler};
use basin_shared::{
    ModelFile,
    model_card::{self, SamplerSettings},
    samplers::{GradientScaling, Sgld},
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
        licence: card.licence,
        author: card.author,
        basin_version: card.basin_version,
        weights_sha256: card.weights_sha256,
        file_length,
    }
}

fn recommended(settings: SamplerSettings) -> Recommended {
    let Sgld {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    } = settings.sampler;
    let gradient = match gradient {
        GradientScaling::Raw => Gradient::Raw,
        GradientScaling::Clamp(limit) => Gradient::Clamp(limit),
        GradientScaling::Normalize => Gradient::Normalize,
    };
    Recommended {
        energy: energy_said(settings.energy),
        steps: settings.steps as u32,
        from_class: settings.start.spread(),
        sampler: Sampler {
            step_size,
            noise_std,
            friction,
            gradient,
            clamp,
        },
    }
}

/// The energy that the page asks for.
pub(crate) fn energy(energy: EnergyKind) -> model_card::EnergyKind {
    match energy {
        EnergyKind::Joint => model_card::EnergyKind::Joint,
        EnergyKind::Marginal => model_card::EnergyKind::Marginal,
        EnergyKind::Conditional => model_card::EnergyKind::Conditional,
    }
}

/// The same in the words of the protocol.
pub(crate) fn energy_said(energy: model_card::EnergyKind) -> EnergyKind {
    match energy {
        model_card::EnergyKind::Joint => EnergyKind::Joint,
        model_card::EnergyKind::Marginal => EnergyKind::Marginal,
        model_card::EnergyKind::Conditional => EnergyKind::Conditional,
    }
}

/// The sampler that the page asks for.
pub(crate) fn sampler(sampler: Sampler) -> Sgld {
    let Sampler {
        step_size,
        noise_std,
        friction,
        gradient,
        clamp,
    } = sampler;
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
