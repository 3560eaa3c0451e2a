//! What is on screen, as the address bar holds it: `#tab=dream&class=9&seed=4711&…`.
//!
//! Numbers that the visitor left alone are `None` and mean the model's own recommendation; the
//! address writes them out all the same, so that a link means the same with a later model.

use basin_protocol::Model;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    activities::{
        Activity, Pairs, attack::Attack, denoise::Denoise, dream::Dream, gallery::Gallery,
        landscape::Landscape, picture_choice::Picture, restore::Restore,
    },
    bundled::Bundled,
};

/// All that a link holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    pub tab: Tab,
    pub model: ModelSource,
    pub engine: EngineChoice,
    /// Slow motion: steps a second, one of [`SPEEDS`].
    pub speed: Option<u32>,
    pub dream: Dream,
    pub denoise: Denoise,
    pub restore: Restore,
    pub attack: Attack,
    pub landscape: Landscape,
    pub gallery: Gallery,
}

/// Steps a second in slow motion.
pub const SPEEDS: [u32; 2] = [10, 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tab {
    #[default]
    Dream,
    Denoise,
    Restore,
    Attack,
    Landscape,
    /// The models that there are.
    Models,
}

impl Tab {
    pub const ALL: [Self; 6] = [
        Self::Dream,
        Self::Denoise,
        Self::Restore,
        Self::Attack,
        Self::Landscape,
        Self::Models,
    ];

    /// The word for it in a link.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dream => "dream",
            Self::Denoise => "denoise",
            Self::Restore => "restore",
            Self::Attack => "attack",
            Self::Landscape => "landscape",
            Self::Models => "models",
        }
    }

    /// The word for it on the page.
    pub fn title(self) -> &'static str {
        match self {
            Self::Dream => "Dream",
            Self::Denoise => "Denoise",
            Self::Restore => "Restore",
            Self::Attack => "Attack",
            Self::Landscape => "Landscape",
            Self::Models => "Models",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tab| tab.name() == name)
    }
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

impl Default for ModelSource {
    fn default() -> Self {
        Self::Bundled(Bundled::default())
    }
}

impl Settings {
    /// The part of the address after `#`. Without a model, what it would recommend is left out.
    pub fn to_hash(&self, model: Option<&Model>) -> String {
        let mut pairs = Pairs::new();
        pairs.push(("tab", self.tab.name().into()));
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
        pairs.extend(self.speed.map(|speed| ("speed", speed.to_string())));
        self.activity().write(model, &mut pairs);
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
        // It says whose the other pairs are.
        let tab = parts
            .iter()
            .rev()
            .find_map(|part| Tab::named(part.strip_prefix("tab=")?));
        settings.tab = tab.unwrap_or_default();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if let Err(expected) = settings.read(name, value) {
                let value: String = unescape(value).chars().take(40).collect();
                faults.push(match expected.as_str() {
                    "" => format!("“{name}” means nothing here"),
                    _ => format!("{name} is “{value}”, expected {expected}"),
                });
            }
        }
        (settings, faults)
    }

    /// One pair; the error says what was expected.
    fn read(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "tab" if Tab::named(value).is_some() => {}
            "tab" => return Err(Tab::ALL.map(Tab::name).join(" or ")),
            "model" => {
                self.model = match (Bundled::named(value), value.strip_prefix("file:")) {
                    (Some(bundled), _) => ModelSource::Bundled(bundled),
                    (None, Some(name)) => ModelSource::File(unescape(name)),
                    (None, None) if value.is_empty() => ModelSource::default(),
                    (None, None) => ModelSource::Url(unescape(value)),
                }
            }
            "engine" => {
                self.engine = match value {
                    "auto" => EngineChoice::Auto,
                    "cpu" => EngineChoice::Cpu,
                    "gpu" => EngineChoice::Gpu,
                    _ => return Err("auto, cpu or gpu".into()),
                }
            }
            "speed" => {
                let listed = value.parse().ok().filter(|speed| SPEEDS.contains(speed));
                self.speed = Some(listed.ok_or("10 or 2")?);
            }
            _ if self.activity_mut().read(name, value)? => {}
            _ => return Err(String::new()),
        }
        Ok(())
    }

    /// The settings of the activity on screen.
    pub fn activity(&self) -> &dyn Activity {
        match self.tab {
            Tab::Dream => &self.dream,
            Tab::Denoise => &self.denoise,
            Tab::Restore => &self.restore,
            Tab::Attack => &self.attack,
            Tab::Landscape => &self.landscape,
            Tab::Models => &self.gallery,
        }
    }

    /// The picture that the activity on screen works on, if it works on one.
    pub fn picture_mut(&mut self) -> Option<&mut Picture> {
        match self.tab {
            Tab::Dream | Tab::Models => None,
            Tab::Denoise => Some(&mut self.denoise.picture),
            Tab::Restore => Some(&mut self.restore.picture),
            Tab::Attack => Some(&mut self.attack.picture),
            Tab::Landscape => Some(&mut self.landscape.picture),
        }
    }

    fn activity_mut(&mut self) -> &mut dyn Activity {
        match self.tab {
            Tab::Dream => &mut self.dream,
            Tab::Denoise => &mut self.denoise,
            Tab::Restore => &mut self.restore,
            Tab::Attack => &mut self.attack,
            Tab::Landscape => &mut self.landscape,
            Tab::Models => &mut self.gallery,
        }
    }
}

/// What is escaped in a value: all but letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// Escapes what would end a value or look odd in an address.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The reverse; what is no escape stays as it is.
pub fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        activities::{
            dream::{ClassChoice, StartChoice},
            restore::{Hole, What},
            sampler_choice::{BY_DISTANCE, LANGEVIN, SamplerChoice, SamplerKind},
        },
        tests::model,
    };
    use basin_protocol::{ByDistance, EnergyKind, Norm, Origin, Sampler, Sgld, Start};

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
            morph: Some((0, 35)),
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
                speed: Some(2),
                ..Settings::default()
            },
            Settings {
                tab: Tab::Restore,
                restore: Restore {
                    picture: Picture::Own,
                    what: What::Hole,
                    hole: Hole::default().fitted(28),
                    class: Some(3),
                    seed: 8,
                },
                ..Settings::default()
            },
            Settings {
                tab: Tab::Attack,
                attack: Attack {
                    picture: Picture::Sample(0),
                    class: Some(7),
                    norm: Norm::L2,
                    notch: 32,
                    steps: 7,
                },
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

    /// Found by the fuzzer: what shows only once another class is chosen was lost.
    #[test]
    fn a_link_to_all_classes_keeps_the_number_of_images() {
        let (settings, faults) = Settings::from_hash("#class=all&images=2");
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(settings.dream.images, 2);
        assert_eq!(Settings::from_hash(&settings.to_hash(None)).0, settings);
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
