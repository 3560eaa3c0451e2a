//! Noising a picture and having the model clean it: the settings.

use basin_protocol::{ByDistance, EnergyKind, Model, Origin, Plan, Sampler, SamplerSettings};

use crate::numbers;

use super::{
    Activity, Pairs,
    picture_choice::{self, Picture},
    sampler_choice::SamplerChoice,
    seed, steps, told,
};

/// What is cleaned, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Denoise {
    pub picture: Picture,
    /// Standard deviation of the noise that is added first.
    pub sigma: f32,
    pub seed: u32,
    pub steps: Option<usize>,
    pub sampler: SamplerChoice,
}

impl Default for Denoise {
    fn default() -> Self {
        Self {
            picture: Picture::default(),
            sigma: 0.3,
            seed: 4711,
            steps: None,
            sampler: SamplerChoice::default(),
        }
    }
}

impl Denoise {
    /// The best guess of the clean picture, of the same noise: one step down E(x), as long as the energy says
    /// that the data are away. None of a model whose energy does not say it.
    pub fn best_guess(&self, model: &Model) -> Option<Plan> {
        model.distances.as_ref()?;
        Some(Plan {
            energy: EnergyKind::Marginal,
            sampler: Sampler::ByDistance(ByDistance {
                h: 1.0,
                beta: 1.0,
                last_steps: 0,
                last_h: 1.0,
            }),
            steps: 1,
            ..self.plan(model)
        })
    }
}

impl Activity for Denoise {
    // The image's class is not known, so the class of the plan matters only where the model recommends an energy
    // that needs one.
    fn plan(&self, model: &Model) -> Plan {
        let SamplerSettings { energy, steps, .. } = model.denoising;
        told(Plan {
            seed: self.seed,
            morph: None,
            classes: vec![0],
            energy,
            sampler: self.sampler.decide(&model.denoising.sampler, model),
            steps: self.steps.unwrap_or(steps),
            origin: Origin::Image { noise: self.sigma },
            mixture: None,
            known: None,
            adversary: None,
        })
    }

    fn write(&self, model: Option<&Model>, pairs: &mut Pairs) {
        pairs.push(("picture", self.picture.name()));
        pairs.push(("sigma", self.sigma.to_string()));
        pairs.push(("seed", self.seed.to_string()));
        let plan = model.map(|model| self.plan(model));
        let steps = plan.as_ref().map(|plan| plan.steps).or(self.steps);
        pairs.extend(steps.map(|steps| ("steps", steps.to_string())));
        let sampler = plan.as_ref().map(|plan| &plan.sampler);
        self.sampler.write(sampler, model, pairs);
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "picture" => self.picture = picture_choice::read(value)?,
            "sigma" => {
                let sigma = numbers::read(value).filter(|sigma| (0.0..=1.0).contains(sigma));
                self.sigma = sigma.ok_or("0 to 1")? as f32;
            }
            "seed" => self.seed = seed(value)?,
            "steps" => self.steps = steps(value)?,
            _ => return self.sampler.read(name, value),
        }
        Ok(true)
    }
}
