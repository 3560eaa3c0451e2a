//! What a visitor can do with a model. An activity has its settings, which a link holds and which decide about a
//! chain, and its view.

pub mod denoise;
pub mod denoise_view;
pub mod dream;
pub mod dream_view;
pub mod sampler_choice;

use basin_protocol::{EnergyKind, Model, Plan, Sampler};

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
    fn read(&mut self, name: &str, value: &str) -> Result<bool, &'static str>;
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
    expected: &'static str,
) -> Result<T, &'static str> {
    value
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or(expected)
}

fn steps(value: &str) -> Result<Option<usize>, &'static str> {
    number(value, 1..=LONGEST_CHAIN, "1 to 2000").map(Some)
}

fn seed(value: &str) -> Result<u32, &'static str> {
    number(value, 0..=u32::MAX, "0 to 4294967295")
}
