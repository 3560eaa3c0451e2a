//! What is on screen, as the address bar holds it: `#tab=dream&class=9&seed=4711&…`.
//!
//! Numbers that the visitor left alone are `None` and mean the model's own recommendation; the
//! address writes them out all the same, so that a link means the same with a later model.

use basin_protocol::{EnergyKind, Model, Origin, Plan, Recommended, Sampler};

use crate::bundled::Bundled;

/// Most steps of a chain.
pub const MOST_STEPS: u32 = 2000;

/// All that a link holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    pub tab: Tab,
    pub model: ModelSource,
    pub engine: EngineChoice,
    pub dream: Dream,
    pub denoise: Denoise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tab {
    #[default]
    Dream,
    Denoise,
}

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    Bundled(Bundled),
    Url(String),
    /// A file of the visitor's, by name; a link cannot carry it.
    File(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineChoice {
    #[default]
    Auto,
    Cpu,
    Gpu,
}

/// What is dreamt of, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Dream {
    pub class: ClassChoice,
    /// Images of one class.
    pub images: u32,
    pub seed: u32,
    pub start: Option<StartChoice>,
    pub energy: Option<EnergyKind>,
    pub steps: Option<u32>,
    pub step_size: Option<f32>,
    pub noise_std: Option<f32>,
    pub friction: Option<f32>,
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

/// What is cleaned, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Denoise {
    pub picture: Picture,
    /// Standard deviation of the noise that is added first.
    pub sigma: f32,
    pub seed: u32,
    pub steps: Option<u32>,
    pub step_size: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// One of the bundled samples.
    Sample(usize),
    /// The visitor's.
    Own,
}

/// Number of bundled sample images.
pub const SAMPLES: usize = 10;

impl Default for ModelSource {
    fn default() -> Self {
        Self::Bundled(Bundled::default())
    }
}

impl Default for Dream {
    fn default() -> Self {
        Self {
            class: ClassChoice::One(7),
            images: 1,
            seed: 4711,
            start: None,
            energy: None,
            steps: None,
            step_size: None,
            noise_std: None,
            friction: None,
        }
    }
}

impl Default for Denoise {
    fn default() -> Self {
        Self {
            picture: Picture::Sample(9),
            sigma: 0.3,
            seed: 4711,
            steps: None,
            step_size: None,
        }
    }
}

impl Dream {
    /// Everything decided: a chain and its number of steps.
    pub fn plan(&self, model: &Model) -> (Plan, u32) {
        let Recommended {
            energy,
            steps,
            sampler,
            ..
        } = model.generation;
        let last = model.class_names.len() - 1;
        let classes = match self.class {
            ClassChoice::One(class) => vec![class.min(last); self.images as usize],
            ClassChoice::All => (0..=last.min(15)).collect(),
        };
        let plan = Plan {
            seed: self.seed,
            classes,
            energy: self.energy.unwrap_or(energy),
            sampler: Sampler {
                step_size: self.step_size.unwrap_or(sampler.step_size),
                noise_std: self.noise_std.unwrap_or(sampler.noise_std),
                friction: self.friction.unwrap_or(sampler.friction),
                ..sampler
            },
            origin: match self.start(model) {
                StartChoice::Noise => Origin::Noise,
                StartChoice::Class => Origin::Class {
                    spread: model.generation.from_class.unwrap_or(1.0),
                },
                StartChoice::Image => Origin::Image { noise: 0.0 },
            },
        };
        (plan, self.steps.unwrap_or(steps))
    }

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
                step_size: Some(quick.sampler.step_size),
                noise_std: Some(quick.sampler.noise_std),
                friction: Some(quick.sampler.friction),
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
            images: self.images,
            seed: self.seed,
            ..Self::default()
        }
    }
}

fn recommended_start(settings: &Recommended) -> StartChoice {
    match settings.from_class {
        Some(_) => StartChoice::Class,
        None => StartChoice::Noise,
    }
}

impl Denoise {
    /// Everything decided: a chain and its number of steps. The image's class is not known, so the
    /// class of the plan matters only where the model recommends an energy that needs one.
    pub fn plan(&self, model: &Model) -> (Plan, u32) {
        let Recommended {
            energy,
            steps,
            sampler,
            ..
        } = model.denoising;
        let step_size = self.step_size.unwrap_or(sampler.step_size);
        let plan = Plan {
            seed: self.seed,
            classes: vec![0],
            energy,
            sampler: Sampler {
                step_size,
                ..sampler
            },
            origin: Origin::Image { noise: self.sigma },
        };
        (plan, self.steps.unwrap_or(steps))
    }
}

impl Settings {
    /// The part of the address after `#`. Without a model, what it would recommend is left out.
    pub fn to_hash(&self, model: Option<&Model>) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let tab = match self.tab {
            Tab::Dream => "dream",
            Tab::Denoise => "denoise",
        };
        pairs.push(("tab", tab.into()));
        let source = match &self.model {
            ModelSource::Bundled(bundled) => bundled.name().into(),
            ModelSource::Url(url) => escape(url),
            ModelSource::File(name) => format!("file:{}", escape(name)),
        };
        pairs.push(("model", source));
        match self.engine {
            EngineChoice::Auto => {}
            EngineChoice::Cpu => pairs.push(("engine", "cpu".into())),
            EngineChoice::Gpu => pairs.push(("engine", "gpu".into())),
        }
        match self.tab {
            Tab::Dream => self.dream.write(model, &mut pairs),
            Tab::Denoise => self.denoise.write(model, &mut pairs),
        }
        pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    }

    /// Reads such a part. What cannot be read keeps its default and is named in a sentence.
    pub fn from_hash(hash: &str) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut faults = Vec::new();
        let parts: Vec<_> = hash
            .trim_start_matches('#')
            .split('&')
            .filter(|p| !p.is_empty())
            .collect();
        if parts.contains(&"tab=denoise") {
            settings.tab = Tab::Denoise;
        }
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if let Err(expected) = settings.read(name, value) {
                let value: String = unescape(value).chars().take(40).collect();
                faults.push(match expected {
                    "" => format!("“{name}” means nothing here"),
                    _ => format!("{name} is “{value}”, expected {expected}"),
                });
            }
        }
        (settings, faults)
    }

    /// One pair; the error says what was expected.
    fn read(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        const STEPS: &str = "1 to 2000";
        let step_size = || number(value, 0.0..=1e4, "a number from 0 to 10000");
        let (dream, denoise) = (&mut self.dream, &mut self.denoise);
        match (name, self.tab) {
            ("tab", _) if value == "dream" || value == "denoise" => {}
            ("tab", _) => return Err("dream or denoise"),
            ("model", _) => {
                let bundled = Bundled::ALL.into_iter().find(|b| b.name() == value);
                self.model = match (bundled, value.strip_prefix("file:")) {
                    (Some(bundled), _) => ModelSource::Bundled(bundled),
                    (None, Some(name)) => ModelSource::File(unescape(name)),
                    (None, None) if value.is_empty() => ModelSource::default(),
                    (None, None) => ModelSource::Url(unescape(value)),
                }
            }
            ("engine", _) => {
                self.engine = match value {
                    "auto" => EngineChoice::Auto,
                    "cpu" => EngineChoice::Cpu,
                    "gpu" => EngineChoice::Gpu,
                    _ => return Err("auto, cpu or gpu"),
                }
            }
            ("class", Tab::Dream) if value == "all" => dream.class = ClassChoice::All,
            ("class", Tab::Dream) => {
                dream.class = ClassChoice::One(number(value, 0..=999, "a class number or all")?)
            }
            ("images", Tab::Dream) => dream.images = number(value, 1..=16, "1 to 16")?,
            ("seed", Tab::Dream) => dream.seed = number(value, 0..=u32::MAX, "0 to 4294967295")?,
            ("steps", Tab::Dream) => dream.steps = Some(number(value, 1..=MOST_STEPS, STEPS)?),
            ("step", Tab::Dream) => dream.step_size = Some(step_size()?),
            ("noise", Tab::Dream) => dream.noise_std = Some(number(value, 0.0..=1.0, "0 to 1")?),
            ("friction", Tab::Dream) => {
                dream.friction = Some(number(value, 0.0..=0.99, "0 to 0.99")?)
            }
            ("energy", Tab::Dream) => {
                dream.energy = Some(match value {
                    "joint" => EnergyKind::Joint,
                    "marginal" => EnergyKind::Marginal,
                    "conditional" => EnergyKind::Conditional,
                    _ => return Err("joint, marginal or conditional"),
                })
            }
            ("start", Tab::Dream) => {
                dream.start = Some(match value {
                    "noise" => StartChoice::Noise,
                    "class" => StartChoice::Class,
                    "image" => StartChoice::Image,
                    _ => return Err("noise, class or image"),
                })
            }
            ("picture", Tab::Denoise) if value == "own" => denoise.picture = Picture::Own,
            ("picture", Tab::Denoise) => {
                denoise.picture = Picture::Sample(number(value, 0..=SAMPLES - 1, "0 to 9 or own")?)
            }
            ("sigma", Tab::Denoise) => denoise.sigma = number(value, 0.0..=1.0, "0 to 1")?,
            ("seed", Tab::Denoise) => {
                denoise.seed = number(value, 0..=u32::MAX, "0 to 4294967295")?
            }
            ("steps", Tab::Denoise) => denoise.steps = Some(number(value, 1..=MOST_STEPS, STEPS)?),
            ("step", Tab::Denoise) => denoise.step_size = Some(step_size()?),
            _ => return Err(""),
        }
        Ok(())
    }
}

impl Dream {
    fn write(&self, model: Option<&Model>, pairs: &mut Vec<(&str, String)>) {
        let class = match self.class {
            ClassChoice::One(class) => class.to_string(),
            ClassChoice::All => "all".into(),
        };
        pairs.push(("class", class));
        if self.class != ClassChoice::All && self.images != 1 {
            pairs.push(("images", self.images.to_string()));
        }
        pairs.push(("seed", self.seed.to_string()));
        let decided = model.map(|model| (self.plan(model), self.start(model)));
        let plan = decided.as_ref().map(|((plan, _), _)| plan);
        let mut push = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        push(
            "steps",
            decided
                .as_ref()
                .map(|((_, steps), _)| *steps)
                .or(self.steps)
                .map(text),
        );
        let sampler = plan.map(|plan| plan.sampler);
        push(
            "step",
            sampler.map(|s| s.step_size).or(self.step_size).map(text),
        );
        push(
            "noise",
            sampler.map(|s| s.noise_std).or(self.noise_std).map(text),
        );
        push(
            "friction",
            sampler.map(|s| s.friction).or(self.friction).map(text),
        );
        let energy = plan.map(|plan| plan.energy).or(self.energy);
        push("energy", energy.map(|energy| energy_name(energy).into()));
        let start = decided.as_ref().map(|(_, start)| *start).or(self.start);
        push("start", start.map(|start| start_name(start).into()));
    }
}

impl Denoise {
    fn write(&self, model: Option<&Model>, pairs: &mut Vec<(&str, String)>) {
        let picture = match self.picture {
            Picture::Sample(index) => index.to_string(),
            Picture::Own => "own".into(),
        };
        pairs.push(("picture", picture));
        pairs.push(("sigma", self.sigma.to_string()));
        pairs.push(("seed", self.seed.to_string()));
        let decided = model.map(|model| self.plan(model));
        let steps = decided.as_ref().map(|(_, steps)| *steps).or(self.steps);
        pairs.extend(steps.map(|steps| ("steps", text(steps))));
        let step_size = decided
            .map(|(plan, _)| plan.sampler.step_size)
            .or(self.step_size);
        pairs.extend(step_size.map(|step_size| ("step", text(step_size))));
    }
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

fn text(value: impl ToString) -> String {
    value.to_string()
}

fn number<T: std::str::FromStr + PartialOrd>(
    value: &str,
    range: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, &'static str> {
    value
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or(expected)
}

/// Percent-encodes what would end a value or look odd in an address.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    let escaped = |byte| {
        if plain(byte) {
            (byte as char).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escaped).collect()
}

/// The reverse; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes
            .get(i + 1..i + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                plain.push(byte);
                i += 3;
            }
            _ => {
                plain.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::model;

    #[test]
    fn quick_is_what_the_model_says_or_a_third_of_the_steps() {
        let mut model = model();
        model.generation.from_class = Some(0.35);
        let dream = Dream::default();
        let (plan, steps) = dream.quick(&model).plan(&model);
        assert_eq!((steps, plan.origin), (33, Origin::Class { spread: 0.35 }));
        let mut quick = model.generation;
        (quick.steps, quick.from_class, quick.sampler.friction) = (12, None, 0.5);
        model.quick = Some(quick);
        let (plan, steps) = dream.quick(&model).plan(&model);
        assert_eq!((steps, plan.origin), (12, Origin::Noise));
        assert_eq!(plan.sampler.friction, 0.5);
    }

    #[test]
    fn a_link_gives_back_what_it_was_made_of() {
        let dream = Dream {
            class: ClassChoice::All,
            seed: u32::MAX,
            start: Some(StartChoice::Noise),
            energy: Some(EnergyKind::Conditional),
            steps: Some(37),
            step_size: Some(0.1),
            noise_std: Some(1e-3),
            friction: Some(0.5),
            ..Dream::default()
        };
        let denoise = Denoise {
            picture: Picture::Own,
            sigma: 0.25,
            seed: 3,
            steps: Some(9),
            step_size: Some(1e-7),
        };
        let url = "https://example.org/a b&c=d#e?é%41.safetensors".to_owned();
        let cases = [
            Settings {
                dream,
                ..Settings::default()
            },
            Settings {
                tab: Tab::Denoise,
                denoise,
                engine: EngineChoice::Gpu,
                ..Settings::default()
            },
            Settings {
                model: ModelSource::Url(url),
                ..Settings::default()
            },
            Settings {
                model: ModelSource::Bundled(Bundled::FashionMnist),
                ..Settings::default()
            },
            Settings {
                model: ModelSource::File("my file".into()),
                ..Settings::default()
            },
        ];
        for settings in cases {
            let hash = settings.to_hash(None);
            assert_eq!(Settings::from_hash(&hash), (settings, vec![]), "{hash}");
        }
    }

    #[test]
    fn a_link_writes_out_what_the_model_recommends() {
        let model = model();
        let (read, faults) = Settings::from_hash(&Settings::default().to_hash(Some(&model)));
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(read.dream.steps, Some(100));
        assert_eq!(read.dream.start, Some(StartChoice::Class));
        assert_eq!(read.dream.plan(&model), Dream::default().plan(&model));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_honoured() {
        let (settings, faults) =
            Settings::from_hash("#class=3&seed=-1&steps=1e9&colour=red&step=NaN&start=class");
        assert_eq!(settings.dream.class, ClassChoice::One(3));
        assert_eq!(settings.dream.start, Some(StartChoice::Class));
        assert_eq!((settings.dream.seed, settings.dream.steps), (4711, None));
        assert_eq!(faults.len(), 4);
        assert_eq!(faults[0], "seed is “-1”, expected 0 to 4294967295");
        assert_eq!(faults[2], "“colour” means nothing here");
    }

    #[test]
    fn a_class_that_the_model_lacks_becomes_its_last() {
        let dream = Dream {
            class: ClassChoice::One(700),
            ..Dream::default()
        };
        assert_eq!(dream.plan(&model()).0.classes, [2]);
    }
}
