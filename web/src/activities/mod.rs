//! What a visitor can do with a model. An activity has its settings, which a link holds and which decide about a
//! chain, and its view.

pub mod attack;
pub mod attack_view;
pub mod denoise;
pub mod denoise_view;
pub mod dream;
pub mod dream_view;
pub mod gallery;
pub mod gallery_view;
pub mod landscape;
pub mod landscape_view;
pub mod picture_choice;
pub mod restore;
pub mod restore_view;
pub mod sampler_choice;

use basin_protocol::{EnergyKind, Model, Plan, Sampler, ranges};

use crate::numbers;

/// Longest chain.
pub const LONGEST_CHAIN: usize = 2000;

/// Names and values of a link.
pub type Pairs = Vec<(&'static str, String)>;

/// The settings of an activity. Numbers that the visitor left alone mean the model's own recommendation.
pub trait Activity {
    /// The chain, with everything decided.
    fn plan(&self, model: &Model) -> Plan;

    /// In a link. Without a model, what it would recommend is left out.
    fn write(&self, model: Option<&Model>, pairs: &mut Pairs);

    /// One pair of a link; whether it is one of this activity. The error says what was expected.
    fn read(&mut self, name: &str, value: &str) -> Result<bool, String>;
}

/// E(x, y) − E(x) tells no distance: a chain that goes by it descends E(x, y).
fn told(plan: Plan) -> Plan {
    let energy = match (plan.energy, plan.sampler) {
        (EnergyKind::Conditional, Sampler::ByDistance(_)) => EnergyKind::Joint,
        (energy, _) => energy,
    };
    Plan { energy, ..plan }
}

/// A number of a link, or what was expected.
fn number<T: std::str::FromStr + PartialOrd>(
    value: &str,
    range: std::ops::RangeInclusive<T>,
    expected: &str,
) -> Result<T, String> {
    let number = value.parse().ok();
    let number = number.filter(|number| range.contains(number));
    number.ok_or_else(|| expected.into())
}

/// The same, of a setting that recipes and cards have too, at its path there.
fn setting(value: &str, path: &str) -> Result<f32, String> {
    let found = numbers::read(value).map_or(f32::NAN, |number| number as f32);
    let right = ranges::check(path, found).map(|()| found);
    right.map_err(|fault| fault.range.to_string())
}

fn steps(value: &str) -> Result<Option<usize>, String> {
    setting(value, "generation.steps").map(|steps| Some(steps as usize))
}

fn seed(value: &str) -> Result<u32, String> {
    number(value, 0..=u32::MAX, "0 to 4294967295")
}
