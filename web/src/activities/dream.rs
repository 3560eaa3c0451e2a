//! Picking a class and watching it form: the settings.

use basin_protocol::{EnergyKind, Mixture, Model, Morph, Origin, Plan, SamplerSettings};

use super::{Activity, Pairs, number, sampler_choice::SamplerChoice, seed, steps, told};

/// What is dreamt of, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Dream {
    pub class: ClassChoice,
    /// Another class that is mixed in, and its share in hundredths.
    pub mixed: Option<(usize, u32)>,
    /// Images of one class.
    pub images: u32,
    pub seed: u32,
    /// Another seed, and the share of the way to its noise in hundredths.
    pub morph: Option<(u32, u32)>,
    pub start: Option<StartChoice>,
    pub energy: Option<EnergyKind>,
    pub steps: Option<usize>,
    pub sampler: SamplerChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassChoice {
    One(usize),
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartChoice {
    Noise,
    Class,
    Image,
}

impl Default for Dream {
    fn default() -> Self {
        Self {
            class: ClassChoice::One(7),
            mixed: None,
            images: 1,
            seed: 4711,
            morph: None,
            start: None,
            energy: None,
            steps: None,
            sampler: SamplerChoice::default(),
        }
    }
}

impl Dream {
    /// Where chains start.
    pub fn start(&self, model: &Model) -> StartChoice {
        self.start.unwrap_or(recommended_start(&model.generation))
    }

    /// What the model recommends to those in a hurry, or else a third of the steps.
    pub fn quick(&self, model: &Model) -> Self {
        match model.quick {
            Some(quick) => Self {
                start: Some(recommended_start(&quick)),
                energy: Some(quick.energy),
                steps: Some(quick.steps),
                sampler: SamplerChoice::all_of(&quick.sampler),
                ..self.recommended()
            },
            None => Self {
                steps: Some((model.generation.steps / 3).max(10)),
                ..self.recommended()
            },
        }
    }

    /// Back to what the model recommends.
    pub fn recommended(&self) -> Self {
        Self {
            class: self.class,
            mixed: self.mixed,
            images: self.images,
            seed: self.seed,
            morph: self.morph,
            ..Self::default()
        }
    }
}

fn recommended_start(settings: &SamplerSettings) -> StartChoice {
    match settings.start.spread() {
        Some(_) => StartChoice::Class,
        None => StartChoice::Noise,
    }
}

impl Activity for Dream {
    fn plan(&self, model: &Model) -> Plan {
        let SamplerSettings { energy, steps, .. } = model.generation;
        let last = model.class_names.len() - 1;
        let classes = match self.class {
            ClassChoice::One(class) => vec![class.min(last); self.images as usize],
            ClassChoice::All => (0..=last.min(15)).collect(),
        };
        let plan = Plan {
            seed: self.seed,
            morph: self.morph.map(|(seed, share)| Morph {
                seed,
                share: share as f32 / 100.0,
            }),
            classes,
            // Only of E(x, y) is there anything to mix.
            energy: match self.mixed {
                Some(_) => EnergyKind::Joint,
                None => self.energy.unwrap_or(energy),
            },
            mixture: self.mixed.map(|(class, share)| Mixture {
                class: class.min(last),
                share: share as f32 / 100.0,
            }),
            sampler: self.sampler.decide(&model.generation.sampler, model),
            steps: self.steps.unwrap_or(steps),
            origin: match self.start(model) {
                StartChoice::Noise => Origin::Noise,
                StartChoice::Class => Origin::Class {
                    spread: model.generation.start.spread().unwrap_or(1.0),
                },
                StartChoice::Image => Origin::Image { noise: 0.0 },
            },
            known: None,
            adversary: None,
        };
        told(plan)
    }

    fn write(&self, model: Option<&Model>, pairs: &mut Pairs) {
        let class = match self.class {
            ClassChoice::One(class) => class.to_string(),
            ClassChoice::All => "all".into(),
        };
        pairs.push(("class", class));
        pairs.extend(
            self.mixed
                .map(|(class, share)| ("mix", format!("{class},{share}"))),
        );
        if self.images != 1 {
            pairs.push(("images", self.images.to_string()));
        }
        pairs.push(("seed", self.seed.to_string()));
        let morph = self.morph.map(|(seed, share)| format!("{seed},{share}"));
        pairs.extend(morph.map(|morph| ("morph", morph)));
        let plan = model.map(|model| self.plan(model));
        let plan = plan.as_ref();
        let steps = plan.map(|plan| plan.steps).or(self.steps);
        pairs.extend(steps.map(|steps| ("steps", steps.to_string())));
        let sampler = plan.map(|plan| &plan.sampler);
        self.sampler.write(sampler, model, pairs);
        let energy = plan.map(|plan| plan.energy).or(self.energy);
        pairs.extend(energy.map(|energy| ("energy", energy_name(energy).into())));
        let start = model.map(|model| self.start(model)).or(self.start);
        pairs.extend(start.map(|start| ("start", start_name(start).into())));
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "class" if value == "all" => self.class = ClassChoice::All,
            "class" => {
                self.class = ClassChoice::One(number(value, 0..=999, "a class number or all")?);
            }
            "mix" => {
                let expected = "a class number and a share of 0 to 100, as 5,50";
                let (class, share) = shared(value, expected)?;
                self.mixed = Some((number(class, 0..=999, expected)?, share));
            }
            "morph" => {
                let expected = "another seed and a share of 0 to 100, as 5,50";
                let (other, share) = shared(value, expected)?;
                self.morph = Some((number(other, 0..=u32::MAX, expected)?, share));
            }
            "images" => self.images = number(value, 1..=16, "1 to 16")?,
            "seed" => self.seed = seed(value)?,
            "steps" => self.steps = steps(value)?,
            "energy" => {
                self.energy = Some(match value {
                    "joint" => EnergyKind::Joint,
                    "marginal" => EnergyKind::Marginal,
                    "conditional" => EnergyKind::Conditional,
                    _ => return Err("joint, marginal or conditional".into()),
                });
            }
            "start" => {
                self.start = Some(match value {
                    "noise" => StartChoice::Noise,
                    "class" => StartChoice::Class,
                    "image" => StartChoice::Image,
                    _ => return Err("noise, class or image".into()),
                });
            }
            _ => return self.sampler.read(name, value),
        }
        Ok(true)
    }
}

/// What is mixed in, and its share in hundredths.
fn shared<'a>(value: &'a str, expected: &str) -> Result<(&'a str, u32), String> {
    let (what, share) = value.split_once(',').unwrap_or((value, ""));
    Ok((what, number(share, 0..=100, expected)?))
}

/// The word for an energy in a link and in a form.
pub fn energy_name(energy: EnergyKind) -> &'static str {
    match energy {
        EnergyKind::Joint => "joint",
        EnergyKind::Marginal => "marginal",
        EnergyKind::Conditional => "conditional",
    }
}

/// The word for a start in a link and in a form.
pub fn start_name(start: StartChoice) -> &'static str {
    match start {
        StartChoice::Noise => "noise",
        StartChoice::Class => "class",
        StartChoice::Image => "image",
    }
}
