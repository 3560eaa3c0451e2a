//! The numbers of a sampler, as a visitor may set them.

use basin_protocol::{ByDistance, GradientScaling, Model, Sampler, Sgld};

use super::{Pairs, setting};

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
pub const LANGEVIN: Sgld = Sgld {
    step_size: 0.2,
    noise_std: 0.01,
    friction: 0.5,
    gradient: GradientScaling::Normalize,
    clamp: true,
};

/// Steps by distance of a model that recommends another sampler.
pub const BY_DISTANCE: ByDistance = ByDistance {
    h: 0.3,
    beta: 0.8,
    last_steps: 2,
    last_h: 0.3,
};

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
    pub(super) fn decide(&self, recommended: &Sampler, model: &Model) -> Sampler {
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
    pub(super) fn all_of(sampler: &Sampler) -> Self {
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
    pub(super) fn write(
        &self,
        decided: Option<&Sampler>,
        model: Option<&Model>,
        pairs: &mut Pairs,
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
        let numbers = numbers.map(|(name, value)| (name, value.map(|value| value.to_string())));
        let kind = ("sampler", kind.map(|kind| kind.name().to_owned()));
        let all = [kind].into_iter().chain(numbers);
        pairs.extend(all.filter_map(|(name, value)| Some((name, value?))));
    }

    /// One pair of a link; whether it is one of a sampler. The error says what was expected.
    pub(super) fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "sampler" => {
                self.kind = Some(match value {
                    "langevin" => SamplerKind::Langevin,
                    "distance" => SamplerKind::ByDistance,
                    _ => return Err("langevin or distance".into()),
                });
            }
            "step" => self.step_size = Some(setting(value, "step_size")?),
            "noise" => self.noise_std = Some(setting(value, "noise_std")?),
            "friction" => self.friction = Some(setting(value, "friction")?),
            "h" => self.h = Some(setting(value, "h")?),
            "beta" => self.beta = Some(setting(value, "by_distance.beta")?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
