//! Basin's page: a classifier, dreaming.
//!
//! [`lab`] is what the parts share: the model, the worker and the chains. [`activities`] are what a visitor can do,
//! [`page`] what is on screen around them, [`address`] what a link holds. A library only so that a fuzz target reaches
//! the reader of links.

// Nothing is exported, so `pub` here means: for the other files.
#![allow(unreachable_pub)]

mod activities;
mod address;
mod bundled;
#[cfg(fuzzing)]
pub mod fuzzing;
mod images;
mod lab;
mod numbers;
mod page;
mod png_text;

/// Shows the page.
pub fn main() {
    // Apart from the task that makes the program ready.
    let mount = || {
        // What index.html shows until then.
        let document = leptos::prelude::document();
        if let Some(first) = document.get_element_by_id("first") {
            first.remove();
        }
        leptos::mount::mount_to_body(page::app::App);
    };
    leptos::prelude::set_timeout(mount, std::time::Duration::ZERO);
}

#[cfg(test)]
mod tests {
    use basin_protocol::{
        EnergyKind, GradientScaling, Model, Sampler, SamplerSettings, Sgld, Start,
    };

    /// A model of three classes.
    pub(crate) fn model() -> Model {
        let sampler = Sampler::Sgld(Sgld {
            step_size: 0.1,
            noise_std: 0.001,
            friction: 0.0,
            gradient: GradientScaling::Raw,
            clamp: true,
        });
        let recommended = SamplerSettings {
            energy: EnergyKind::Joint,
            steps: 100,
            start: Start::ClassGaussian,
            sampler,
        };
        Model {
            name: "test".into(),
            architecture: "Wide-ResNet 10-1".into(),
            parameters: 1,
            channels: 1,
            size: 2,
            class_names: ["a", "b", "c"].map(String::from).into(),
            data_set: "none".into(),
            method: "none".into(),
            recipe: String::new(),
            metrics: Default::default(),
            hardware: Vec::new(),
            generation: recommended,
            quick: None,
            denoising: recommended,
            distances: None,
            licence: "MIT".into(),
            author: "test".into(),
            basin_version: "0".into(),
            weights_sha256: String::new(),
            file_length: 1,
        }
    }
}
