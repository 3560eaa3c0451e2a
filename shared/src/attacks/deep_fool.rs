//! DeepFool (Moosavi-Dezfooli et al. 2016, "DeepFool: a simple and accurate method to fool deep neural networks",
//! Algorithm 2, and its form for other norms): step after step to the nearest of the linearised
//! boundaries, until another class is named. It looks for a near image, not for one within a ball.
//!
//! With f_k = f\[k\] − f\[y\] and the dual norm q: l = argmin |f_k| / ‖∇f_k‖_q;  r ← r + the shortest way to boundary l;
//! x ← clip(x₀ + 1.02 r). 1e-4 is added to each distance, as foolbox does, so that no step comes to nothing.

use serde::{Deserialize, Serialize};

use super::{
    Budget, Norm,
    pursuit::{Found, Pursuit, Subject, named},
};
use crate::energy::{Difference, Objective, ranked};

/// What is added to lengths that divide.
const LEAST: f32 = 1e-8;
/// What is added to each distance.
const BEYOND: f32 = 1e-4;

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeepFool {
    /// Steps at most.
    pub steps: usize,
    /// How many of the likeliest other classes are looked at.
    pub others: usize,
    /// By what share of the way boundaries are overshot.
    pub overshoot: f32,
}

impl Default for DeepFool {
    fn default() -> Self {
        Self {
            steps: 50,
            others: 9,
            overshoot: 0.02,
        }
    }
}

/// The search for one image.
#[derive(Debug)]
pub struct DeepFoolPursuit {
    settings: DeepFool,
    budget: Budget,
    x: Vec<f32>,
    class: usize,
    others: Vec<usize>,
    /// The boundary that is asked about, by its place among the others.
    boundary: usize,
    objective: Difference,
    /// r
    way: Vec<f32>,
    at: Vec<f32>,
    /// The step to the nearest boundary of those asked about, and how far that is.
    nearest: Option<(Vec<f32>, f32)>,
    steps: usize,
    /// Whether another class is named, which is the end.
    other: bool,
}

impl DeepFool {
    /// The search for one image, by the norm of a budget.
    pub fn pursue(self, budget: Budget, subject: &Subject) -> DeepFoolPursuit {
        let order = ranked(&subject.logits).into_iter();
        let others = order.filter(|&class| class != subject.class);
        let others: Vec<usize> = others.take(self.others.max(1)).collect();
        DeepFoolPursuit {
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
            way: vec![0.0; subject.x.len()],
            at: subject.x.clone(),
            nearest: None,
            steps: 0,
            other: false,
        }
    }
}

impl DeepFoolPursuit {
    /// The shortest way to a boundary, without the pixel range, and a little beyond.
    fn way_to(&self, gradient: &[f32], distance: f32) -> Vec<f32> {
        let distance = distance + BEYOND;
        match self.budget.norm {
            Norm::Linf => {
                let sign = |g: &f32| if *g == 0.0 { 0.0 } else { g.signum() };
                gradient.iter().map(|g| distance * sign(g)).collect()
            }
            Norm::L2 => {
                let factor = distance / (Norm::L2.of(gradient) + LEAST);
                gradient.iter().map(|g| factor * g).collect()
            }
        }
    }
}

impl Pursuit for DeepFoolPursuit {
    fn asks(&self) -> Option<&[f32]> {
        let last = self.steps == self.settings.steps && self.boundary > 0;
        (!self.other && !last).then_some(&self.at)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        Some(&self.objective)
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        if self.boundary == 0 {
            self.other = named(logits) != self.class;
            if self.other {
                return;
            }
        }
        let difference = self.objective.value(0, logits);
        let distance = difference.abs() / (self.budget.norm.dual_of(gradient) + LEAST);
        if self
            .nearest
            .as_ref()
            .is_none_or(|(_, least)| distance < *least)
        {
            self.nearest = Some((self.way_to(gradient, distance), distance));
        }
        self.boundary += 1;
        // Whoever has made all steps is only asked what they led to.
        if self.steps == self.settings.steps {
            return;
        }
        if self.boundary == self.others.len()
            && let Some((step, _)) = self.nearest.take()
        {
            self.boundary = 0;
            self.steps += 1;
            let factor = 1.0 + self.settings.overshoot;
            for ((at, x), (way, step)) in self
                .at
                .iter_mut()
                .zip(&self.x)
                .zip(self.way.iter_mut().zip(step))
            {
                *way += step;
                *at = (x + factor * *way).clamp(0.0, 1.0);
            }
        }
        self.objective.targets[0] = self.others[self.boundary];
    }

    fn found(&mut self) -> Found {
        let distance = self.budget.norm.between(&self.x, &self.at);
        Found {
            fooled: self.other && distance <= self.budget.epsilon,
            x_adv: std::mem::take(&mut self.at),
        }
    }
}
