//! Learning-rate schedules: iteration -> rate.
//!
//! The straight ascents begin one step up and no descent stops short of its end: of an iteration with
//! a rate of zero nobody has anything.

use serde::{Deserialize, Serialize};

/// How the learning rate varies over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Schedule {
    /// Straight up to `peak` over the first `up` of the run, then straight down to `last`
    /// (the cyclic rate of Wong et al. 2020).
    Triangular { peak: f64, up: f64, last: f64 },
    /// Straight up to `peak` over the first `up` of the run, then half a cosine down to `last`.
    Cosine { peak: f64, up: f64, last: f64 },
    /// `rate`, times `factor` at each milestone (a share of the run); straight up over the first
    /// `up` of the run.
    MultiStep {
        rate: f64,
        up: f64,
        factor: f64,
        milestones: Vec<f64>,
    },
    /// Half a cosine up from `peak / div_factor` over the first `up` of the run, then half a cosine
    /// down to `peak / div_factor / final_div_factor`: PyTorch's OneCycleLR (Smith & Topin 2019), where
    /// `peak` is called max_lr and `up` pct_start.
    OneCycle {
        peak: f64,
        up: f64,
        div_factor: f64,
        final_div_factor: f64,
    },
}

impl Schedule {
    /// The rate of an iteration, the first being 0.
    pub(crate) fn rate(&self, iteration: usize, iterations: usize) -> f64 {
        let progress = (iteration as f64 + 1.0) / iterations as f64; // (0, 1]
        let rise = |up: f64| {
            if up > 0.0 {
                (progress / up).min(1.0)
            } else {
                1.0
            }
        };
        let fall = |up: f64| ((progress - up) / (1.0 - up)).clamp(0.0, 1.0);
        match *self {
            Self::Triangular { peak, up, last } => {
                if progress <= up {
                    peak * rise(up)
                } else {
                    peak + (last - peak) * fall(up)
                }
            }
            Self::Cosine { peak, up, last } => {
                if progress <= up {
                    peak * rise(up)
                } else {
                    half_cosine(peak, last, fall(up))
                }
            }
            Self::MultiStep {
                rate,
                up,
                factor,
                ref milestones,
            } => {
                let passed = milestones.iter().filter(|&&at| progress > at).count();
                rate * rise(up) * factor.powi(passed as i32)
            }
            Self::OneCycle {
                peak,
                up,
                div_factor,
                final_div_factor,
            } => {
                let first = peak / div_factor;
                let last = first / final_div_factor;
                // PyTorch counts steps from 0 to the last one, and the peak is one before `up`.
                let (step, end) = (iteration as f64, iterations as f64 - 1.0);
                let summit = up * iterations as f64 - 1.0;
                if step < summit {
                    half_cosine(first, peak, step / summit)
                } else {
                    half_cosine(peak, last, (step - summit) / (end - summit))
                }
            }
        }
    }
}

/// From `start` to `end` as `progress` goes from 0 to 1.
fn half_cosine(start: f64, end: f64, progress: f64) -> f64 {
    end + 0.5 * (start - end) * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_at_the_corners() {
        let triangular = Schedule::Triangular {
            peak: 0.2,
            up: 0.25,
            last: 0.0,
        };
        let cosine = Schedule::Cosine {
            peak: 0.2,
            up: 0.25,
            last: 0.1,
        };
        let multi_step = Schedule::MultiStep {
            rate: 1.0,
            up: 0.0,
            factor: 0.1,
            milestones: vec![0.5, 0.75],
        };
        for (schedule, iteration, expected) in [
            (&triangular, 0, 0.2 / 25.0),
            (&triangular, 24, 0.2),
            (&triangular, 61, 0.2 * 38.0 / 75.0),
            (&triangular, 99, 0.0),
            (&cosine, 24, 0.2),
            (&cosine, 99, 0.1),
            (&multi_step, 49, 1.0),
            (&multi_step, 50, 0.1),
            (&multi_step, 99, 0.01),
        ] {
            let rate = schedule.rate(iteration, 100);
            assert!(
                (rate - expected).abs() < 1e-12,
                "{schedule:?} at {iteration}: {rate}"
            );
        }
    }
}
