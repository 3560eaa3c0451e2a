//! The range of every setting that is a number: the one place where recipes, flags, cards and links look.
//!
//! A setting is found by the last parts of its path, as many as tell it from others of its name:
//! `method.attack.budget.epsilon` is an `epsilon`, `optimizer.epsilon` another.

use std::fmt;

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    lowest: f64,
    /// Whether the lowest number itself is left out.
    above: bool,
    highest: f64,
    /// Whether the highest number itself is left out.
    below: bool,
    whole: bool,
    /// What the number measures; empty where its name says it.
    unit: &'static str,
}

/// A setting that is not in its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {}, expected {range}", shown(*.found))]
pub struct OutOfRange {
    /// Its path.
    pub name: String,
    /// What it is.
    pub found: f64,
    /// What it may be.
    pub range: Range,
}

/// As it was written, in single precision too.
fn shown(number: f64) -> String {
    match f64::from(number as f32) == number {
        true => (number as f32).to_string(),
        false => number.to_string(),
    }
}

const fn from(lowest: f64, highest: f64) -> Range {
    Range {
        lowest,
        above: false,
        highest,
        below: false,
        whole: false,
        unit: "",
    }
}

const fn above(lowest: f64, highest: f64) -> Range {
    Range {
        above: true,
        ..from(lowest, highest)
    }
}

const fn whole(lowest: u64, highest: u64) -> Range {
    Range {
        whole: true,
        ..from(lowest as f64, highest as f64)
    }
}

impl Range {
    const fn left_out(self) -> Self {
        Self {
            below: true,
            ..self
        }
    }

    const fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Whether the number is in it; none that is not finite is.
    pub fn contains(&self, number: f64) -> bool {
        let low = match self.above {
            true => number > self.lowest,
            false => number >= self.lowest,
        };
        let high = match self.below {
            true => number < self.highest,
            false => number <= self.highest,
        };
        low && high && (!self.whole || number.fract() == 0.0)
    }

    /// The bounds, whether or not they are left out.
    pub fn bounds(&self) -> [f64; 2] {
        [self.lowest, self.highest]
    }

    /// Whether it holds whole numbers alone.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.whole {
            "a whole number from "
        } else {
            ""
        };
        let low = if self.above { "above " } else { "" };
        let high = if self.below { "below " } else { "" };
        let comma = if self.unit.is_empty() { "" } else { ", " };
        let Self {
            lowest,
            highest,
            unit,
            ..
        } = self;
        // 1e9 rather than its zeros.
        match *highest < 1e6 {
            true => write!(f, "{kind}{low}{lowest} to {high}{highest}{comma}{unit}"),
            false => write!(f, "{kind}{low}{lowest} to {high}{highest:e}{comma}{unit}"),
        }
    }
}

const PIXELS: &str = "of pixel values from 0 to 1";
const DISTANCE: &str = "an L2 distance of images";
const SHARE: Range = from(0.0, 1.0);
const BELOW_ONE: Range = from(0.0, 1.0).left_out();
const STD: Range = from(0.0, 10.0).of(PIXELS);
const WEIGHT: Range = from(0.0, 1e6);
const COUNT: Range = whole(1, 1_000_000_000);

/// By the ends of paths; where two fit, the longer one holds.
const RANGES: &[(&str, Range)] = &[
    // What is trained, and how long.
    ("seed", whole(0, i64::MAX as u64)),
    ("iterations", COUNT),
    ("validation", COUNT.of("images")),
    ("batch_size", whole(1, 65_536).of("images")),
    ("checkpoint_every", COUNT.of("iterations")),
    ("validate_every", COUNT.of("iterations")),
    ("label_smoothing", BELOW_ONE),
    ("ema_decay", BELOW_ONE),
    ("data_set.folder.classes", whole(2, 256)),
    ("data_set.folder.size", whole(1, 1_024).of("pixels")),
    ("data_set.folder.channels", whole(1, 3)),
    // The network.
    ("architecture.depth", whole(1, 1_000).of("layers")),
    ("architecture.width", whole(1, 4_096)),
    ("layers.convolution.channels", whole(1, 4_096)),
    ("layers.convolution.kernel", whole(1, 31).of("pixels")),
    ("layers.convolution.stride", whole(1, 31).of("pixels")),
    ("layers.convolution.padding", whole(0, 30).of("pixels")),
    ("layers.max_pool.kernel", whole(1, 31).of("pixels")),
    ("layers.max_pool.stride", whole(1, 31).of("pixels")),
    ("layers.average_pool.kernel", whole(1, 31).of("pixels")),
    ("layers.average_pool.stride", whole(1, 31).of("pixels")),
    ("layers.leaky_relu.slope", SHARE),
    ("layers.linear.outputs", whole(1, 65_536)),
    ("normalization.mean", from(-1e3, 1e3)),
    ("normalization.std", above(0.0, 1e3)),
    ("initialization.gain", from(0.0, 100.0)),
    ("initialization.residual_scale", from(0.0, 100.0)),
    // Augmentation.
    ("crop_padding", whole(0, 1_024).of("pixels")),
    ("cutout.size", whole(0, 1_024).of("pixels")),
    ("cutout.fill", SHARE.of(PIXELS)),
    // Optimisers, their rate, what is done when they fail.
    ("optimizer.momentum", BELOW_ONE),
    ("optimizer.beta_1", BELOW_ONE),
    ("optimizer.beta_2", BELOW_ONE),
    ("optimizer.epsilon", above(0.0, 1.0)),
    ("optimizer.weight_decay", from(0.0, 100.0)),
    (
        "optimizer.clip_norm",
        above(0.0, 1e12).of("the norm of a whole gradient"),
    ),
    ("sam.rho", above(0.0, 1e3).of("a distance of weights")),
    ("schedule.rate", above(0.0, 1e3)),
    ("schedule.peak", above(0.0, 1e3)),
    ("schedule.last", from(0.0, 1e3)),
    ("schedule.up", BELOW_ONE.of("a share of the iterations")),
    ("schedule.factor", above(0.0, 1.0)),
    ("schedule.milestones", SHARE.of("shares of the iterations")),
    ("schedule.div_factor", from(1.0, 1e12)),
    ("schedule.final_div_factor", from(1.0, 1e12)),
    ("divergence.largest_energy", above(0.0, 1e12)),
    ("divergence.rate_factor", above(0.0, 1.0)),
    ("divergence.roll_backs", whole(0, 1_000)),
    // Attacks.
    ("epsilon", SHARE.of("a change of pixel values from 0 to 1")),
    ("l2.epsilon", from(0.0, 1e3).of(DISTANCE)),
    ("start_noise_std", STD),
    ("replays", whole(1, 1_000)),
    ("largest_drop", SHARE.of("of accuracy")),
    ("most_steps", whole(1, 10_000)),
    ("auc", SHARE),
    ("auc_images", COUNT),
    ("inner_steps", whole(1, 10_000)),
    ("outer_steps", whole(1, 10_000)),
    // Chains.
    ("steps", whole(0, 10_000)),
    ("generation.steps", whole(1, 10_000)),
    ("denoising.steps", whole(1, 10_000)),
    ("step_size", above(0.0, 1e4)),
    ("noise_std", STD),
    ("friction", BELOW_ONE),
    ("gradient.clamp", above(0.0, 1e6)),
    ("largest_gradient", above(0.0, 1e6)),
    ("h", above(0.0, 1.0)),
    ("by_distance.beta", SHARE),
    ("last_h", above(0.0, 1.0)),
    ("last_steps", whole(0, 10_000)),
    ("capacity", whole(1, 10_000_000).of("images")),
    ("reinit_probability", SHARE),
    ("buffer.uniform", SHARE),
    ("method.chains", whole(1, 65_536)),
    ("gaussian_rank", whole(1, 4_096)),
    // Losses.
    ("beta", from(0.0, 1e3)),
    ("lambda", from(0.0, 1e3)),
    ("scale", above(0.0, 1e3)),
    ("bias", from(-1e3, 1e3)),
    ("slope", above(0.0, 1e3)),
    ("per_distance", above(0.0, 1e3)),
    ("real_distance", from(0.0, 1e6).of(DISTANCE)),
    ("references", COUNT.of("images")),
    ("share", SHARE),
    ("conditional", SHARE),
    ("blended", SHARE),
    ("clean_blend", SHARE),
    ("energy_from", SHARE.of("of the iterations")),
    ("weighted_from", SHARE.of("of the iterations")),
    ("largest_noise_std", STD),
    ("clean_noise_std", STD),
    ("input_noise_std", STD),
    ("difference", above(0.0, 1e3).of(DISTANCE)),
    ("classified_up_to", from(0.0, 1e6).of(DISTANCE)),
    ("largest_value_term", above(0.0, 1e12)),
    ("energy_penalty", WEIGHT),
    ("weight_conditional", WEIGHT),
    ("weight_conditional_clean", WEIGHT),
    ("weight_marginal", WEIGHT),
    ("weight_energy", WEIGHT),
    ("weights.adversarial", WEIGHT),
    ("weights.clean", WEIGHT),
    ("weights.noisy", WEIGHT),
    ("weights.score", WEIGHT),
    ("weights.value", WEIGHT),
    ("weights.marginal", WEIGHT),
    ("weights.conditional", WEIGHT),
    ("weights.energy_penalty", WEIGHT),
    // What a command is asked for.
    ("count", whole(1, 10_000).of("images")),
    ("images", COUNT),
    ("restarts", whole(1, 1_000)),
    ("targets", whole(1, 1_000).of("classes")),
    ("noise", STD),
    ("known_noise", STD),
    ("start_noise", above(0.0, 1.0).of(PIXELS)),
    ("seconds", above(0.0, 86_400.0)),
];

/// The range of the setting at this path.
pub fn range(path: &str) -> Option<Range> {
    let fits = |name: &str| {
        let before = path.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let fitting = RANGES.iter().filter(|(name, _)| fits(name));
    let longest = fitting.max_by_key(|(name, _)| name.len())?;
    Some(longest.1)
}

/// Whether the setting at this path may be this number.
///
/// # Errors
/// If it may not.
///
/// # Panics
/// If no setting is called so.
pub fn check(path: &str, found: impl Into<f64>) -> Result<(), OutOfRange> {
    let range = range(path).unwrap_or_else(|| panic!("no range of `{path}`"));
    let found = found.into();
    match range.contains(found) {
        true => Ok(()),
        false => Err(OutOfRange {
            name: path.into(),
            found,
            range,
        }),
    }
}

/// The first of these settings that may not be what it is.
///
/// # Panics
/// As [`check`].
pub fn first_fault<'a>(settings: impl IntoIterator<Item = (&'a str, f64)>) -> Option<OutOfRange> {
    let mut settings = settings.into_iter();
    settings.find_map(|(path, found)| check(path, found).err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_fits_holds() {
        let high = |path| range(path).map(|range| range.bounds()[1]);
        assert_eq!(high("method.attack.budget.epsilon"), Some(1.0));
        assert_eq!(high("method.attack.budget.l2.epsilon"), Some(1e3));
        assert_eq!(high("epsilon"), Some(1.0));
        assert_eq!(high("method.beta"), Some(1e3));
        assert_eq!(high("generation.sampler.by_distance.beta"), Some(1.0));
        // No part of a name is a name.
        assert_eq!(high("method.autoepsilon"), None);
    }

    #[test]
    fn what_is_expected_is_said() {
        let said = |path, found: f64| check(path, found).unwrap_err().to_string();
        assert_eq!(
            said("epsilon", 8.0),
            "epsilon is 8, expected 0 to 1, a change of pixel values from 0 to 1"
        );
        assert_eq!(
            said("count", 0.0),
            "count is 0, expected a whole number from 1 to 10000, images"
        );
        assert_eq!(
            said("h", f64::from(1.1_f32)),
            "h is 1.1, expected above 0 to 1"
        );
        assert_eq!(
            said("friction", 1.0),
            "friction is 1, expected 0 to below 1"
        );
        assert_eq!(
            said("sampler.h", f64::NAN),
            "sampler.h is NaN, expected above 0 to 1"
        );
        assert_eq!(
            said("iterations", 1.5),
            "iterations is 1.5, expected a whole number from 1 to 1e9"
        );
    }

    /// No range holds a number that is not finite, and every range holds some number.
    #[test]
    fn ranges_are_bounded() {
        for (name, range) in RANGES {
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
                assert!(!range.contains(number), "{name}: {number}");
            }
            let [low, high] = range.bounds();
            let middle = match range.is_whole() {
                true => ((low + high) / 2.0).floor(),
                false => (low + high) / 2.0,
            };
            assert!(low < high && range.contains(middle), "{name}");
        }
    }
}
