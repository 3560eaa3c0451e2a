//! Auto-PGD (Croce and Hein 2020, Algorithm 1): projected gradient ascent with momentum whose step size is halved, and
//! whose place goes back to the best so far, wherever the last iterations have done too little.
//!
//! z = Π(x_k + η s(∇));  x_{k+1} = Π(x_k + a (z − x_k) + (1 − a) (x_k − x_{k−1})), with s the steepest direction under
//! the norm, a = 0.75, in the first iteration 1, and η = 2 ε at first. At a checkpoint η is halved if
//!
//! 1. at most ρ of the iterations since the one before raised the objective, or
//! 2. η was not halved there and the best objective is what it was there.
//!
//! The paper prints "fewer than ρ"; its authors' code, with whose numbers tables are made, has "at most".

use serde::{Deserialize, Serialize};

use super::{
    Budget,
    pursuit::{Found, Pursuit, named},
};
use crate::energy::Objective;

/// How much of a step is the new one.
const MOMENTUM: f32 = 0.75;

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apgd {
    /// Iterations.
    pub steps: usize,
    /// Share of iterations that must raise the objective for the step size to stay.
    pub rho: f32,
}

impl Default for Apgd {
    /// As in AutoAttack.
    fn default() -> Self {
        Self {
            steps: 100,
            rho: 0.75,
        }
    }
}

/// Iterations to the next checkpoint: 0.22 of all, then each time 0.03 of all fewer, down to 0.06 (as in
/// the paper, with the authors' rounding).
#[derive(Clone, Copy, Debug)]
struct Spacing {
    next: usize,
    fewer: usize,
    least: usize,
}

impl Spacing {
    fn of(steps: usize) -> Self {
        let share = |percent: usize| (steps * percent / 100).max(1);
        Self {
            next: share(22),
            fewer: share(3),
            least: share(6),
        }
    }
}

/// Where the search was, and what was found there.
#[derive(Clone, Debug)]
struct Place {
    x: Vec<f32>,
    gradient: Vec<f32>,
    value: f32,
}

/// The search for one image.
#[derive(Debug)]
pub struct ApgdPursuit {
    settings: Apgd,
    budget: Budget,
    objective: Box<dyn Objective>,
    x: Vec<f32>,
    class: usize,
    /// x_k, whose gradient is wanted.
    at: Vec<f32>,
    /// x_{k−1}
    before: Vec<f32>,
    best: Place,
    /// The objective at x_{k−1}.
    value: f32,
    step_size: f32,
    spacing: Spacing,
    /// Answers taken.
    asked: usize,
    /// Iterations since the last checkpoint, and how many of them raised the objective.
    since: usize,
    raised: usize,
    /// Whether the step size was halved at the last checkpoint, and the best objective there.
    halved: bool,
    best_at_checkpoint: f32,
    fooled: bool,
}

impl Apgd {
    /// The search for one image of a class, from a start within the budget; it ends where the class is no longer
    /// named. `objective` is of one image, and ascended.
    pub fn pursue(
        self,
        budget: Budget,
        objective: Box<dyn Objective>,
        x: &[f32],
        class: usize,
        start: Vec<f32>,
    ) -> ApgdPursuit {
        let best = Place {
            x: start.clone(),
            gradient: Vec::new(),
            value: f32::NEG_INFINITY,
        };
        ApgdPursuit {
            settings: self,
            budget,
            objective,
            x: x.to_vec(),
            class,
            before: start.clone(),
            at: start,
            best,
            value: f32::NEG_INFINITY,
            step_size: 2.0 * budget.epsilon,
            spacing: Spacing::of(self.steps),
            asked: 0,
            since: 0,
            raised: 0,
            // So that no halving follows from the second condition at the first checkpoint.
            halved: true,
            best_at_checkpoint: f32::NEG_INFINITY,
            fooled: false,
        }
    }
}

impl ApgdPursuit {
    /// The bookkeeping of an iteration; at a checkpoint it may halve the step size. Returns whether it did.
    fn checkpoint(&mut self) -> bool {
        self.since += 1;
        if self.since < self.spacing.next {
            return false;
        }
        let too_few = self.raised as f32 <= self.settings.rho * self.since as f32;
        let no_better = !self.halved && self.best_at_checkpoint >= self.best.value;
        self.halved = too_few || no_better;
        self.best_at_checkpoint = self.best.value;
        self.since = 0;
        self.raised = 0;
        let Spacing { next, fewer, least } = self.spacing;
        self.spacing.next = next.saturating_sub(fewer).max(least);
        if self.halved {
            self.step_size /= 2.0;
        }
        self.halved
    }

    /// From x_k to x_{k+1}.
    fn step(&mut self, gradient: &[f32]) {
        let a = if self.asked == 1 { 1.0 } else { MOMENTUM };
        let mut next = self.at.clone();
        self.budget
            .step(&mut next, &self.x, gradient, self.step_size, 1);
        for ((z, at), before) in next.iter_mut().zip(&self.at).zip(&self.before) {
            *z = at + a * (*z - at) + (1.0 - a) * (at - before);
        }
        self.budget.project(&mut next, &self.x, 1);
        self.before = std::mem::replace(&mut self.at, next);
    }
}

impl Pursuit for ApgdPursuit {
    fn asks(&self) -> Option<&[f32]> {
        (!self.fooled && self.asked <= self.settings.steps).then_some(&self.at)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        Some(&*self.objective)
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        let value = self.objective.value(0, logits);
        self.fooled = named(logits) != self.class;
        let first = self.asked == 0;
        self.asked += 1;
        if self.fooled {
            return;
        }
        if first || value > self.best.value {
            self.best = Place {
                x: self.at.clone(),
                gradient: gradient.to_vec(),
                value,
            };
        }
        let mut gradient = gradient.to_vec();
        if first {
            self.best_at_checkpoint = value;
        } else {
            self.raised += usize::from(value > self.value);
            if self.checkpoint() {
                self.at.clone_from(&self.best.x);
                gradient.clone_from(&self.best.gradient);
            }
        }
        self.value = value;
        self.step(&gradient);
    }

    fn found(&mut self) -> Found {
        let x_adv = if self.fooled {
            &mut self.at
        } else {
            &mut self.best.x
        };
        Found {
            x_adv: std::mem::take(x_adv),
            fooled: self.fooled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkpoints for 100 iterations, as the paper gives their shares: 0, 0.22, 0.41, 0.57, 0.70,
    /// 0.80, 0.87, 0.93, 0.99.
    #[test]
    fn checkpoints_come_faster_and_faster() {
        let mut spacing = Spacing::of(100);
        let mut at = 0;
        let mut checkpoints = Vec::new();
        while at + spacing.next <= 100 {
            at += spacing.next;
            checkpoints.push(at);
            spacing.next = (spacing.next - spacing.fewer).max(spacing.least);
        }
        assert_eq!(checkpoints, [22, 41, 57, 70, 80, 87, 93, 99]);
    }
}
