//! The two ways in which a model cleans an image: its best guess in one step, and a chain to something
//! sharp.

use basin_shared::{
    Key,
    energy::EnergyKind,
    file::card::ModelCard,
    samplers::{ByDistance, GradientScaling, Sampler, SamplerSettings, Sgld, Start},
    tensors::Frozen,
};
use burn::tensor::Tensor;

use crate::{chains, evaluation::accuracy};

/// A model that cleans.
pub(crate) struct Denoiser<'a> {
    pub network: &'a Frozen,
    pub card: &'a ModelCard,
}

impl Denoiser<'_> {
    /// The posterior mean: one step down E(x), as long as the noise's standard deviation says where it is
    /// known, or else as the energy says. None where the card has no table of distances.
    pub(crate) fn best_guess(&self, noisy: &Tensor<4>, known: Option<f32>) -> Option<Tensor<4>> {
        let distances = self.card.distances.as_ref()?;
        let sampler = match known {
            None => Sampler::ByDistance(ByDistance::BEST_GUESS),
            Some(std) => Sampler::Sgld(Sgld {
                step_size: distances.known_noise.length(std),
                noise_std: 0.0,
                friction: 0.0,
                gradient: GradientScaling::Normalize,
                clamp: true,
            }),
        };
        let settings = SamplerSettings {
            energy: EnergyKind::Marginal,
            steps: 1,
            start: Start::Uniform,
            sampler,
        };
        Some(self.run(&settings, noisy, Key::new(0), |_| {}))
    }

    /// What a chain by these settings leads to; `observe` is told the energies before each step.
    pub(crate) fn run(
        &self,
        settings: &SamplerSettings,
        noisy: &Tensor<4>,
        key: Key,
        observe: impl FnMut(Vec<f32>),
    ) -> Tensor<4> {
        // The class, where the settings want one, is what the model sees in the noisy image.
        let y = match settings.energy {
            EnergyKind::Marginal => vec![0; noisy.dims()[0]],
            _ => accuracy::predictions(self.network, noisy.clone()),
        };
        let distances = self.card.distances.as_ref();
        chains::run_chains(
            self.network,
            settings,
            distances,
            &y,
            noisy.clone(),
            key,
            observe,
        )
    }
}
