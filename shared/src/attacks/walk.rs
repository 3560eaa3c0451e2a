//! Steps of one size after gradients: what [`OneStep`](super::OneStep), [`Pgd`](super::Pgd) and [`Mim`](super::Mim) have in
//! common, for a batch at once or for one image among others.

use super::{
    Budget, Search,
    pursuit::{Found, Pursuit, named},
};
use crate::energy::Objective;

/// A search under way.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    budget: Budget,
    search: Search,
    /// Whether it goes down.
    targeted: bool,
    pub(super) x_adv: Vec<f32>,
    /// What momentum carries on; empty before the first step.
    velocity: Vec<f32>,
    /// Answers taken.
    step: usize,
}

impl Walk {
    /// The search before its first question.
    pub(super) fn from(x_adv: Vec<f32>, budget: Budget, search: Search, targeted: bool) -> Self {
        Self {
            budget,
            search,
            targeted,
            x_adv,
            velocity: Vec::new(),
            step: 0,
        }
    }

    /// The images whose gradient is wanted next; none at the end.
    pub(super) fn asks<'a>(&'a self, x: &'a [f32]) -> Option<&'a [f32]> {
        match &self.search {
            Search::OneStep(one) => (self.step == 0).then(|| one.gradient_at.of(x, &self.x_adv)),
            Search::Pgd(pgd) => (self.step < pgd.steps).then_some(&self.x_adv),
            Search::Mim(mim) => (self.step < mim.pgd.steps).then_some(&self.x_adv),
        }
    }

    /// A step from the images `x`.
    pub(super) fn take(&mut self, x: &[f32], gradient: &[f32], batch: usize) {
        let (size, direction) = match &self.search {
            Search::OneStep(one) => (one.step_size, gradient),
            Search::Pgd(pgd) => (pgd.step_size, gradient),
            Search::Mim(mim) => {
                self.velocity = mim.velocity(&self.velocity, gradient, batch);
                (mim.pgd.step_size, &self.velocity[..])
            }
        };
        let step = if self.targeted { -size } else { size };
        self.budget.step(&mut self.x_adv, x, direction, step, batch);
        self.step += 1;
    }
}

/// The same for one image of a class, judged where it ends.
#[derive(Debug)]
pub(super) struct WalkPursuit {
    walk: Walk,
    objective: Box<dyn Objective>,
    x: Vec<f32>,
    class: usize,
    /// Whether another class is named at the end, once that is known.
    fooled: Option<bool>,
}

impl WalkPursuit {
    /// The pursuit before its first question; `objective` is of one image.
    pub(super) fn new(walk: Walk, objective: Box<dyn Objective>, x: &[f32], class: usize) -> Self {
        Self {
            walk,
            objective,
            x: x.to_vec(),
            class,
            fooled: None,
        }
    }
}

impl Pursuit for WalkPursuit {
    fn asks(&self) -> Option<&[f32]> {
        let next = self.walk.asks(&self.x).unwrap_or(&self.walk.x_adv);
        self.fooled.is_none().then_some(next)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        let ended = self.walk.asks(&self.x).is_none();
        (!ended).then_some(&*self.objective)
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        match self.walk.asks(&self.x).is_some() {
            true => self.walk.take(&self.x, gradient, 1),
            false => self.fooled = Some(named(logits) != self.class),
        }
    }

    fn found(&mut self) -> Found {
        Found {
            x_adv: std::mem::take(&mut self.walk.x_adv),
            fooled: self.fooled == Some(true),
        }
    }
}
