//! Attacks: what may change ([`Budget`]), what is sought (an [`Objective`]), and how it is looked for
//! ([`Search`], one a file).
//!
//! An attack is written as what it asks and what it does with the answer ([`Attempt`]), so that whoever has to await a
//! network's numbers can run it as well as [`Attack::run`] does.

mod budget;
mod one_step;
mod pgd;

pub use budget::{Budget, Norm};
pub use one_step::{GradientAt, OneStep};
pub use pgd::Pgd;

use crate::{
    classifier::{Classifier, Evaluation},
    energy::Objective,
    key::Key,
};

/// An attack on the images of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Attack<'a> {
    /// What may change.
    pub budget: Budget,
    /// What is sought: images for which it is large.
    pub objective: &'a dyn Objective,
    /// Whether images for which it is small are sought instead.
    pub targeted: bool,
    /// Where the search begins.
    pub origin: Origin,
    /// How it goes on.
    pub search: Search,
}

/// Where a search begins, within the budget in any case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// At the image itself.
    Image,
    /// Anywhere in the ball, uniformly.
    Ball,
    /// At the image plus Gaussian noise of this standard deviation (TRADES: its objective has no slope at
    /// the image itself).
    Noise(f32),
}

/// How adversarial examples are looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// One step.
    OneStep(OneStep),
    /// Many.
    Pgd(Pgd),
}

/// An attack under way.
#[derive(Debug)]
pub struct Attempt<'a> {
    attack: Attack<'a>,
    x: &'a [f32],
    batch: usize,
    x_adv: Vec<f32>,
    /// Answers taken.
    step: usize,
}

impl<'a> Attack<'a> {
    /// Projected gradient ascent from anywhere in the ball.
    pub fn pgd(budget: Budget, objective: &'a dyn Objective, pgd: Pgd) -> Self {
        Self {
            budget,
            objective,
            targeted: false,
            origin: Origin::Ball,
            search: Search::Pgd(pgd),
        }
    }

    /// JEAT's single step (eq. 18 and Algorithm 1; eq. 7 and 31 of its supplement):
    /// δ ~ U(−ε, ε);  δ ← clamp(δ + ε · sign ∇_x E, −ε, ε);  x_adv = x + δ, in [0, 1].
    ///
    /// The paper ascends E(x, y); with E(x, y) − E(x) it is the attack of fast adversarial training with a step
    /// of ε. The paper does not say that x_adv is clipped to the pixel range, we do.
    pub fn energy(budget: Budget, objective: &'a dyn Objective, gradient_at: GradientAt) -> Self {
        Self {
            search: Search::OneStep(OneStep {
                step_size: budget.epsilon,
                gradient_at,
            }),
            ..Self::pgd(budget, objective, Pgd::default())
        }
    }

    /// The fast gradient sign method (Goodfellow et al. 2015; JEAT eq. 2 and 14):
    /// x_adv = x + ε · sign ∇_x, in [0, 1].
    pub fn fgsm(budget: Budget, objective: &'a dyn Objective) -> Self {
        Self {
            origin: Origin::Image,
            ..Self::energy(budget, objective, GradientAt::Clean)
        }
    }

    /// x_adv for the images `x`, `[batch, channels, height, width]`.
    pub fn run(&self, model: &impl Classifier, x: &[f32], batch: usize, key: Key) -> Vec<f32> {
        self.begin(x, batch, key).run(model)
    }

    /// The attack before its first question.
    pub fn begin<'b>(&'b self, x: &'b [f32], batch: usize, key: Key) -> Attempt<'b> {
        let x_adv = match self.origin {
            Origin::Image => x.to_vec(),
            Origin::Ball => self.budget.random_start(key, x, batch),
            Origin::Noise(std) => {
                let noise = key.normals(x.len());
                let mut start: Vec<f32> = x.iter().zip(noise).map(|(x, n)| x + n * std).collect();
                self.budget.project(&mut start, x, batch);
                start
            }
        };
        self.begin_at(x, batch, x_adv)
    }

    /// The same with a start of one's own, which lies within the budget.
    pub fn begin_at<'b>(&'b self, x: &'b [f32], batch: usize, start: Vec<f32>) -> Attempt<'b> {
        Attempt {
            attack: *self,
            x,
            batch,
            x_adv: start,
            step: 0,
        }
    }
}

impl Attempt<'_> {
    /// The images whose gradient is wanted next; none where the attack is at its end.
    pub fn asks(&self) -> Option<&[f32]> {
        match &self.attack.search {
            Search::OneStep(one) => {
                (self.step == 0).then(|| one.gradient_at.of(self.x, &self.x_adv))
            }
            Search::Pgd(pgd) => (self.step < pgd.steps).then_some(&self.x_adv),
        }
    }

    /// Goes on by what the network has computed of the images asked for.
    pub fn take(&mut self, found: &Evaluation) {
        let Attack { budget, search, .. } = self.attack;
        let size = match search {
            Search::OneStep(one) => one.step_size,
            Search::Pgd(pgd) => pgd.step_size,
        };
        let step = if self.attack.targeted { -size } else { size };
        budget.step(&mut self.x_adv, self.x, &found.gradient, step, self.batch);
        self.step += 1;
    }

    /// Has the model answer to the end; returns x_adv.
    pub fn run(mut self, model: &impl Classifier) -> Vec<f32> {
        while let Some(point) = self.asks() {
            let found = model.evaluate(point, self.batch, self.attack.objective);
            self.take(&found);
        }
        self.x_adv
    }

    /// x_adv so far.
    pub fn end(self) -> Vec<f32> {
        self.x_adv
    }
}
