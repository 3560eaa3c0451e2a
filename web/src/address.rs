//! What is on screen, as the address bar holds it: `#tab=dream&class=9&seed=4711&…`.
//!
//! Numbers that the visitor left alone are `None` and mean the model's own recommendation; the
//! address writes them out all the same, so that a link means the same with a later model.

use basin_protocol::{
    ByDistance, EnergyKind, GradientScaling, Model, Origin, Plan, Sampler, SamplerSettings, Sgld,
};

use crate::bundled::Bundled;

/// Most steps of a chain.
pub const LONGEST_CHAIN: usize = 2000;

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
    pub steps: Option<usize>,
    pub sampler: SamplerChoice,
}

/// The numbers of a sampler that the visitor has set.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct SamplerChoice {
    /// Which; without it, that to which one of the numbers belongs, or else what the model recommends.
    pub kind: Option<SamplerKind>,
    pub step_size: Option<f32>,
    pub noise_std: Option<f32>,
    pub friction: Option<f32>,
    pub h: Option<f32>,
    pub beta: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerKind {
    Langevin,
    ByDistance,
}

/// Langevin dynamics of a model that recommends another sampler.
const LANGEVIN: Sgld = Sgld {
    step_size: 0.2,
    noise_std: 0.01,
    friction: 0.5,
    gradient: GradientScaling::Normalize,
    clamp: true,
};

/// Steps by distance of a model that recommends another sampler.
const BY_DISTANCE: ByDistance = ByDistance {
    h: 0.3,
    beta: 0.8,
    last_steps: 2,
    last_h: 0.3,
};

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
    pub steps: Option<usize>,
    pub sampler: SamplerChoice,
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
            sampler: SamplerChoice::default(),
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
            sampler: SamplerChoice::default(),
        }
    }
}

impl SamplerKind {
    pub fn of(sampler: &Sampler) -> Self {
        match sampler {
            Sampler::Sgld(_) => Self::Langevin,
            Sampler::ByDistance(_) => Self::ByDistance,
        }
    }

    /// The word for it in a link and in a form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Langevin => "langevin",
            Self::ByDistance => "distance",
        }
    }
}

impl SamplerChoice {
    /// The sampler, with the model's numbers where the visitor has set none.
    fn decide(&self, recommended: &Sampler, model: &Model) -> Sampler {
        let langevin = [self.step_size, self.noise_std, self.friction];
        let kind = self.kind.unwrap_or(match langevin {
            [None, None, None] => SamplerKind::of(recommended),
            _ => SamplerKind::Langevin,
        });
        // What does not say how far away the data are cannot go by it.
        if kind == SamplerKind::ByDistance && model.distances.is_some() {
            let sampler = match recommended {
                Sampler::ByDistance(sampler) => *sampler,
                Sampler::Sgld(_) => BY_DISTANCE,
            };
            return Sampler::ByDistance(ByDistance {
                h: self.h.unwrap_or(sampler.h),
                beta: self.beta.unwrap_or(sampler.beta),
                ..sampler
            });
        }
        let sampler = match recommended {
            Sampler::Sgld(sampler) => *sampler,
            Sampler::ByDistance(_) => LANGEVIN,
        };
        Sampler::Sgld(Sgld {
            step_size: self.step_size.unwrap_or(sampler.step_size),
            noise_std: self.noise_std.unwrap_or(sampler.noise_std),
            friction: self.friction.unwrap_or(sampler.friction),
            ..sampler
        })
    }

    /// Whether these numbers are of a link of the time when every model was Langevin dynamics' and none had
    /// to say so.
    pub fn is_of_an_early_link(&self) -> bool {
        let langevin = [self.step_size, self.noise_std, self.friction];
        self.kind.is_none() && langevin != [None; 3]
    }

    /// All numbers of a sampler.
    fn all_of(sampler: &Sampler) -> Self {
        let kind = Some(SamplerKind::of(sampler));
        match sampler {
            Sampler::Sgld(sampler) => Self {
                kind,
                step_size: Some(sampler.step_size),
                noise_std: Some(sampler.noise_std),
                friction: Some(sampler.friction),
                ..Self::default()
            },
            Sampler::ByDistance(sampler) => Self {
                kind,
                h: Some(sampler.h),
                beta: Some(sampler.beta),
                ..Self::default()
            },
        }
    }

    /// In a link; `decided` has all numbers. Langevin dynamics of a model that goes by nothing else needs
    /// no name, as links had none when there was nothing else.
    fn write(
        &self,
        decided: Option<&Sampler>,
        model: Option<&Model>,
        pairs: &mut Vec<(&'static str, String)>,
    ) {
        let of = decided.map_or(*self, Self::all_of);
        let plain = model.is_some_and(|model| model.distances.is_none());
        let kind = of.kind.filter(|_| !plain);
        let numbers = [
            ("step", of.step_size),
            ("noise", of.noise_std),
            ("friction", of.friction),
            ("h", of.h),
            ("beta", of.beta),
        ];
        let numbers = numbers.map(|(name, value)| (name, value.map(text)));
        let kind = ("sampler", kind.map(|kind| kind.name().to_owned()));
        let all = [kind].into_iter().chain(numbers);
        pairs.extend(all.filter_map(|(name, value)| Some((name, value?))));
    }

    /// One pair of a link; whether it is one of a sampler. The error says what was expected.
    fn read(&mut self, name: &str, value: &str) -> Result<bool, &'static str> {
        let share = || number(value, 0.0..=1.0, "0 to 1").map(Some);
        match name {
            "sampler" => {
                self.kind = Some(match value {
                    "langevin" => SamplerKind::Langevin,
                    "distance" => SamplerKind::ByDistance,
                    _ => return Err("langevin or distance"),
                });
            }
            "step" => {
                self.step_size = Some(number(value, 0.0..=1e4, "a number from 0 to 10000")?);
            }
            "noise" => self.noise_std = share()?,
            "friction" => self.friction = Some(number(value, 0.0..=0.99, "0 to 0.99")?),
            "h" => self.h = Some(number(value, 0.01..=1.0, "0.01 to 1")?),
            "beta" => self.beta = share()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Dream {
    /// Everything decided.
    pub fn plan(&self, model: &Model) -> Plan {
        let SamplerSettings { energy, steps, .. } = model.generation;
        let last = model.class_names.len() - 1;
        let classes = match self.class {
            ClassChoice::One(class) => vec![class.min(last); self.images as usize],
            ClassChoice::All => (0..=last.min(15)).collect(),
        };
        let plan = Plan {
            seed: self.seed,
            classes,
            energy: self.energy.unwrap_or(energy),
            sampler: self.sampler.decide(&model.generation.sampler, model),
            steps: self.steps.unwrap_or(steps),
            origin: match self.start(model) {
                StartChoice::Noise => Origin::Noise,
                StartChoice::Class => Origin::Class {
                    spread: model.generation.start.spread().unwrap_or(1.0),
                },
                StartChoice::Image => Origin::Image { noise: 0.0 },
            },
        };
        told(plan)
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
            images: self.images,
            seed: self.seed,
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

impl Denoise {
    /// Everything decided of the chain to something sharp. The image's class is not known, so the class of the
    /// plan matters only where the model recommends an energy that needs one.
    pub fn plan(&self, model: &Model) -> Plan {
        let SamplerSettings { energy, steps, .. } = model.denoising;
        told(Plan {
            seed: self.seed,
            classes: vec![0],
            energy,
            sampler: self.sampler.decide(&model.denoising.sampler, model),
            steps: self.steps.unwrap_or(steps),
            origin: Origin::Image { noise: self.sigma },
        })
    }

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

/// E(x, y) − E(x) tells no distance: a chain that goes by it descends E(x, y).
fn told(plan: Plan) -> Plan {
    let energy = match (plan.energy, plan.sampler) {
        (EnergyKind::Conditional, Sampler::ByDistance(_)) => EnergyKind::Joint,
        (energy, _) => energy,
    };
    Plan { energy, ..plan }
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
        let (dream, denoise) = (&mut self.dream, &mut self.denoise);
        let sampler = match self.tab {
            Tab::Dream => &mut dream.sampler,
            Tab::Denoise => &mut denoise.sampler,
        };
        if sampler.read(name, value)? {
            return Ok(());
        }
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
            ("steps", Tab::Dream) => dream.steps = Some(number(value, 1..=LONGEST_CHAIN, STEPS)?),
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
            ("steps", Tab::Denoise) => {
                denoise.steps = Some(number(value, 1..=LONGEST_CHAIN, STEPS)?)
            }
            _ => return Err(""),
        }
        Ok(())
    }
}

impl Dream {
    fn write(&self, model: Option<&Model>, pairs: &mut Vec<(&'static str, String)>) {
        let class = match self.class {
            ClassChoice::One(class) => class.to_string(),
            ClassChoice::All => "all".into(),
        };
        pairs.push(("class", class));
        if self.class != ClassChoice::All && self.images != 1 {
            pairs.push(("images", self.images.to_string()));
        }
        pairs.push(("seed", self.seed.to_string()));
        let plan = model.map(|model| self.plan(model));
        let plan = plan.as_ref();
        let steps = plan.map(|plan| plan.steps).or(self.steps);
        pairs.extend(steps.map(|steps| ("steps", text(steps))));
        let sampler = plan.map(|plan| &plan.sampler);
        self.sampler.write(sampler, model, pairs);
        let energy = plan.map(|plan| plan.energy).or(self.energy);
        pairs.extend(energy.map(|energy| ("energy", energy_name(energy).into())));
        let start = model.map(|model| self.start(model)).or(self.start);
        pairs.extend(start.map(|start| ("start", start_name(start).into())));
    }
}

impl Denoise {
    fn write(&self, model: Option<&Model>, pairs: &mut Vec<(&'static str, String)>) {
        let picture = match self.picture {
            Picture::Sample(index) => index.to_string(),
            Picture::Own => "own".into(),
        };
        pairs.push(("picture", picture));
        pairs.push(("sigma", self.sigma.to_string()));
        pairs.push(("seed", self.seed.to_string()));
        let plan = model.map(|model| self.plan(model));
        let steps = plan.as_ref().map(|plan| plan.steps).or(self.steps);
        pairs.extend(steps.map(|steps| ("steps", text(steps))));
        let sampler = plan.as_ref().map(|plan| &plan.sampler);
        self.sampler.write(sampler, model, pairs);
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
    use basin_protocol::Start;

    fn by_distance() -> Model {
        let mut model = model();
        let table = basin_protocol::DistanceTable {
            energies: vec![0.0, 1.0],
            distances: vec![0.0, 2.0],
            factors: vec![0.0, 1.0],
        };
        model.distances = Some(basin_protocol::Distances {
            joint: table.clone(),
            marginal: table,
            known_noise: basin_protocol::NoiseTable::default(),
        });
        model.generation.sampler = Sampler::ByDistance(ByDistance {
            last_steps: 6,
            ..BY_DISTANCE
        });
        model
    }

    #[test]
    fn quick_is_what_the_model_says_or_a_third_of_the_steps() {
        let mut model = model();
        model.generation.start = Start::ClassPca;
        let dream = Dream::default();
        let plan = dream.quick(&model).plan(&model);
        assert_eq!(
            (plan.steps, plan.origin),
            (33, Origin::Class { spread: 0.35 })
        );
        let mut quick = model.generation;
        let friction = Sgld {
            friction: 0.5,
            ..LANGEVIN
        };
        quick.sampler = Sampler::Sgld(friction);
        (quick.steps, quick.start) = (12, Start::Uniform);
        model.quick = Some(quick);
        let plan = dream.quick(&model).plan(&model);
        assert_eq!((plan.steps, plan.origin), (12, Origin::Noise));
        let Sampler::Sgld(langevin) = plan.sampler else {
            panic!("{plan:?}")
        };
        assert_eq!((langevin.friction, langevin.noise_std), (0.5, 0.01));
    }

    #[test]
    fn the_sampler_is_the_models_unless_another_is_asked_for() {
        let (old, new) = (model(), by_distance());
        let read = |hash: &str| Settings::from_hash(hash).0.dream;
        // A link of the time when there was nothing but Langevin dynamics.
        let link = read("#steps=50&step=0.5&noise=0.01&friction=0.8&energy=joint&start=class");
        assert!(link.sampler.is_of_an_early_link());
        assert!(
            !read("#steps=50&sampler=langevin&step=0.5")
                .sampler
                .is_of_an_early_link()
        );
        assert_eq!(
            link.plan(&new).sampler,
            Sampler::Sgld(Sgld {
                step_size: 0.5,
                friction: 0.8,
                ..LANGEVIN
            })
        );
        assert_eq!(Dream::default().plan(&new).sampler, new.generation.sampler);
        let link = read("#sampler=distance&h=0.5&energy=conditional");
        let plan = link.plan(&new);
        assert_eq!(plan.energy, EnergyKind::Joint);
        let Sampler::ByDistance(sampler) = plan.sampler else {
            panic!("{plan:?}")
        };
        assert_eq!((sampler.h, sampler.last_steps), (0.5, 6));
        // A model that tells no distance has its own sampler.
        assert_eq!(link.plan(&old).sampler, old.generation.sampler);
        assert_eq!(Denoise::default().best_guess(&old), None);
        assert_eq!(Denoise::default().best_guess(&new).unwrap().steps, 1);
    }

    #[test]
    fn a_link_gives_back_what_it_was_made_of() {
        let dream = Dream {
            class: ClassChoice::All,
            seed: u32::MAX,
            start: Some(StartChoice::Noise),
            energy: Some(EnergyKind::Conditional),
            steps: Some(37),
            sampler: SamplerChoice {
                step_size: Some(0.1),
                noise_std: Some(1e-3),
                friction: Some(0.5),
                ..SamplerChoice::default()
            },
            ..Dream::default()
        };
        let denoise = Denoise {
            picture: Picture::Own,
            sigma: 0.25,
            seed: 3,
            steps: Some(9),
            sampler: SamplerChoice {
                kind: Some(SamplerKind::ByDistance),
                h: Some(0.2),
                beta: Some(0.9),
                ..SamplerChoice::default()
            },
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
        for model in [model(), by_distance()] {
            let (read, faults) = Settings::from_hash(&Settings::default().to_hash(Some(&model)));
            assert!(faults.is_empty(), "{faults:?}");
            assert_eq!(read.dream.steps, Some(100));
            assert_eq!(read.dream.start, Some(StartChoice::Class));
            assert_eq!(read.dream.plan(&model), Dream::default().plan(&model));
        }
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
        assert_eq!(dream.plan(&model()).classes, [2]);
    }
}
