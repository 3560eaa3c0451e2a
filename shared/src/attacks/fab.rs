//! The fast adaptive boundary attack (Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive
//! boundary attack", Algorithm 1), which looks for the nearest image of another class rather than for any within a
//! ball. With π(x) the way from x to the linearised boundary between y and the class that is nearest by it:
//!
//! x ← clip((1 − α) (x + η π(x)) + α (x₀ + η π(x₀))),  α = min(|π(x)| / (|π(x)| + |π(x₀)|), α_max);
//!
//! where that has another class, it is kept if no nearer one is, and x ← x₀ + β (x − x₀).
//!
//! FAB-T, the targeted form of AutoAttack, knows one other class and so needs one gradient an iteration rather
//! than one for each class.

use serde::{Deserialize, Serialize};

use super::{
    Budget,
    boundary::way_to_hyperplane,
    pursuit::{Found, Pursuit, Subject, named},
};
use crate::energy::{Difference, Objective};

/// What no length is below where it divides.
const LEAST: f32 = 1e-8;

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fab {
    /// Iterations.
    pub steps: usize,
    /// How much of a step may begin at the image itself.
    pub alpha_max: f32,
    /// How far a step goes; beyond 1 it crosses the boundary.
    pub eta: f32,
    /// How much of the way from the image is kept where another class was found.
    pub beta: f32,
}

impl Default for Fab {
    /// As in AutoAttack.
    fn default() -> Self {
        Self {
            steps: 100,
            alpha_max: 0.1,
            eta: 1.05,
            beta: 0.9,
        }
    }
}

/// The search for one image.
#[derive(Debug)]
pub struct FabPursuit {
    settings: Fab,
    budget: Budget,
    x: Vec<f32>,
    class: usize,
    /// Other classes whose boundaries are looked at.
    others: Vec<usize>,
    /// The boundary that is asked about, by its place among them.
    boundary: usize,
    objective: Difference,
    at: Vec<f32>,
    /// The nearest boundary of those asked about at this place.
    nearest: Option<Boundary>,
    /// Whether the answer also says if the last step has found another class.
    judged: bool,
    steps: usize,
    /// The nearest image of another class, and how far it is.
    best: Option<(Vec<f32>, f32)>,
    /// Whether it ends once an image within the budget is found.
    until_within: bool,
    over: bool,
}

/// A linearised boundary.
#[derive(Clone, Debug)]
struct Boundary {
    /// f\[t\] − f\[y\]
    difference: f32,
    /// Its gradient.
    w: Vec<f32>,
    /// How far it is without the box.
    distance: f32,
}

impl Fab {
    /// The search for one image from a start: towards any of `others`. It ends early once an image within the budget
    /// is found, if that is enough; else it looks for nearer ones.
    pub fn pursue(
        self,
        budget: Budget,
        subject: &Subject,
        others: Vec<usize>,
        start: Vec<f32>,
        until_within: bool,
    ) -> FabPursuit {
        FabPursuit {
            settings: self,
            budget,
            x: subject.x.clone(),
            class: subject.class,
            objective: Difference {
                classes: vec![subject.class],
                targets: others[..1].to_vec(),
            },
            others,
            boundary: 0,
            at: start,
            nearest: None,
            judged: false,
            steps: 0,
            best: None,
            until_within,
            over: self.steps == 0,
        }
    }
}

impl FabPursuit {
    /// Keeps an image of another class if it is the nearest so far, and goes back towards the image.
    fn keep(&mut self) {
        let distance = self.budget.norm.between(&self.x, &self.at);
        if self
            .best
            .as_ref()
            .is_none_or(|(_, least)| distance < *least)
        {
            self.best = Some((self.at.clone(), distance));
        }
        for (at, x) in self.at.iter_mut().zip(&self.x) {
            *at = x + (*at - x) * self.settings.beta;
        }
    }

    /// Whether an image within the budget has been found.
    fn within(&self) -> bool {
        let near = |(_, distance): &(_, f32)| *distance <= self.budget.epsilon;
        self.best.as_ref().is_some_and(near)
    }

    /// The step to the boundary.
    fn step(&mut self, boundary: &Boundary) {
        let Fab { alpha_max, eta, .. } = self.settings;
        let (norm, w) = (self.budget.norm, &boundary.w);
        // ⟨w, x⟩ − b is the difference at the place itself, and by its gradient that at the image.
        let offset = f64::from(boundary.difference);
        let pairs = w.iter().zip(self.x.iter().zip(&self.at));
        let away: f64 = pairs
            .map(|(w, (x, at))| f64::from(*w) * (f64::from(*x) - f64::from(*at)))
            .sum();
        let from_here = way_to_hyperplane(norm, &self.at, w, offset);
        let from_image = way_to_hyperplane(norm, &self.x, w, offset + away);
        let [here, image] = [&from_here, &from_image].map(|way| norm.of(way).max(LEAST));
        let alpha = (here / (here + image)).min(alpha_max);
        let ways = from_here.iter().zip(&from_image);
        for ((at, x), (here, image)) in self.at.iter_mut().zip(&self.x).zip(ways) {
            let moved = (*at + eta * here) * (1.0 - alpha) + (x + eta * image) * alpha;
            *at = moved.clamp(0.0, 1.0);
        }
        self.steps += 1;
        self.judged = true;
    }
}

impl Pursuit for FabPursuit {
    fn asks(&self) -> Option<&[f32]> {
        (!self.over).then_some(&self.at)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        Some(&self.objective)
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        if std::mem::take(&mut self.judged) {
            let other = named(logits) != self.class;
            if other {
                self.keep();
            }
            self.over = self.steps == self.settings.steps || (self.until_within && self.within());
            // The gradient is wanted where the search has gone back to.
            if other || self.over {
                return;
            }
        }
        let difference = self.objective.value(0, logits);
        let dual = self.budget.norm.dual_of(gradient);
        let distance = difference.abs() / (1e-12 + dual);
        if self
            .nearest
            .as_ref()
            .is_none_or(|least| distance < least.distance)
        {
            self.nearest = Some(Boundary {
                difference,
                w: gradient.to_vec(),
                distance,
            });
        }
        self.boundary = (self.boundary + 1) % self.others.len();
        self.objective.targets[0] = self.others[self.boundary];
        if self.boundary == 0
            && let Some(boundary) = self.nearest.take()
        {
            self.step(&boundary);
        }
    }

    fn found(&mut self) -> Found {
        let fooled = self.within();
        let x_adv = match self.best.take() {
            Some((x_adv, _)) => x_adv,
            None => std::mem::take(&mut self.x),
        };
        Found { x_adv, fooled }
    }
}
