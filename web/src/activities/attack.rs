//! Attacking a picture: the settings.

use basin_protocol::{Adversary, Budget, EnergyKind, Model, Norm, Origin, Plan, Sampler};

use super::{
    Activity, Pairs, number,
    picture_choice::{self, Picture},
    sampler_choice::LANGEVIN,
};

/// What is attacked, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Attack {
    pub picture: Picture,
    /// The class to get away from; without it, that of the sample, or the one that the model sees in the visitor's.
    pub class: Option<usize>,
    pub norm: Norm,
    /// The radius in notches of the slider.
    pub notch: u32,
    pub steps: u32,
}

/// The slider's last notch.
pub const LAST_NOTCH: u32 = 32;

/// Most steps of an attack.
pub const MOST_STEPS: u32 = 200;

impl Default for Attack {
    fn default() -> Self {
        Self {
            picture: Picture::Sample(3),
            class: None,
            norm: Norm::Linf,
            notch: 8,
            steps: 20,
        }
    }
}

impl Attack {
    /// The class to get away from, where it is known before the model has seen the picture. Samples are one of each
    /// class.
    pub fn truth(&self) -> Option<usize> {
        let of_sample = match self.picture {
            Picture::Sample(index) => Some(index),
            Picture::Own => None,
        };
        self.class.or(of_sample)
    }

    /// What may change.
    pub fn budget(&self) -> Budget {
        let epsilon = match self.norm {
            Norm::Linf => self.notch as f32 / 255.0,
            Norm::L2 => self.notch as f32 / 16.0,
        };
        Budget {
            norm: self.norm,
            epsilon,
        }
    }

    /// The radius in words.
    pub fn radius(&self) -> String {
        match self.norm {
            Norm::Linf => format!("each number by at most {}/255", self.notch),
            Norm::L2 => format!("all together by at most {:.2}", self.budget().epsilon),
        }
    }

    /// The same attack on the rival.
    pub fn on_rival(plan: &Plan) -> Plan {
        let adversary = plan.adversary.map(|adversary| Adversary {
            rival: true,
            ..adversary
        });
        Plan {
            adversary,
            ..plan.clone()
        }
    }
}

impl Activity for Attack {
    fn plan(&self, model: &Model) -> Plan {
        let last = model.class_names.len() - 1;
        let budget = self.budget();
        Plan {
            seed: 0,
            morph: None,
            classes: vec![self.truth().unwrap_or(0).min(last)],
            energy: EnergyKind::Conditional,
            // Climbs, and so takes no step of a sampler.
            sampler: Sampler::Sgld(LANGEVIN),
            steps: self.steps as usize,
            origin: Origin::Image { noise: 0.0 },
            mixture: None,
            known: None,
            adversary: Some(Adversary {
                budget,
                // In a quarter of the steps it could be at the rim, from where it goes along it.
                step_size: 4.0 * budget.epsilon / self.steps as f32,
                rival: false,
            }),
        }
    }

    fn write(&self, _: Option<&Model>, pairs: &mut Pairs) {
        pairs.push(("picture", self.picture.name()));
        pairs.extend(self.class.map(|class| ("class", class.to_string())));
        let norm = match self.norm {
            Norm::Linf => "linf",
            Norm::L2 => "l2",
        };
        pairs.push(("norm", norm.into()));
        pairs.push(("radius", self.notch.to_string()));
        pairs.push(("steps", self.steps.to_string()));
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "picture" => self.picture = picture_choice::read(value)?,
            "class" if value == "auto" => self.class = None,
            "class" => self.class = Some(number(value, 0..=999, "a class number or auto")?),
            "norm" => {
                self.norm = match value {
                    "linf" => Norm::Linf,
                    "l2" => Norm::L2,
                    _ => return Err("linf or l2".into()),
                }
            }
            "radius" => self.notch = number(value, 0..=LAST_NOTCH, "0 to 32")?,
            "steps" => self.steps = number(value, 1..=MOST_STEPS, "1 to 200")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
