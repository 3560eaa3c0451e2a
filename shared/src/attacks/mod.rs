//! Attacks: what may change ([`Budget`]), what is sought (an [`Objective`]), and how it is looked for
//! ([`Search`], one a file).
//!
//! An attack is written as what it asks and what it does with the answer ([`Attempt`]), so that whoever has to await a
//! network's numbers can run it as well as [`Attack::run`] does. Those that go another way with each image, and end
//! when it is fooled, are written so of one image ([`Pursuit`]); tables know them by their names ([`AttackName`]).

mod apgd;
pub mod auto_attack;
mod boundary;
mod budget;
mod by_name;
mod carlini_wagner;
mod deep_fool;
mod fab;
mod in_turn;
mod mim;
mod one_step;
mod pgd;
mod pursuit;
mod square;
mod walk;

pub use apgd::{Apgd, ApgdPursuit};
pub use boundary::way_to_hyperplane;
pub use budget::{Budget, Norm};
pub use by_name::{AttackError, AttackName, NamedAttack};
pub use carlini_wagner::{CarliniWagner, CarliniWagnerPursuit};
pub use deep_fool::{DeepFool, DeepFoolPursuit};
pub use fab::{Fab, FabPursuit};
pub use in_turn::InTurn;
pub use mim::Mim;
pub use one_step::{GradientAt, OneStep};
pub use pgd::Pgd;
pub use pursuit::{Event, Found, Pursuit, Subject, named, pursue};
pub use square::{Draws, Square, SquarePursuit};

use walk::Walk;

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
    /// Many, with momentum.
    Mim(Mim),
}

impl Origin {
    /// The start for images.
    fn start(self, budget: Budget, x: &[f32], batch: usize, key: Key) -> Vec<f32> {
        match self {
            Self::Image => x.to_vec(),
            Self::Ball => budget.random_start(key, x, batch),
            Self::Noise(std) => {
                let noise = key.normals(x.len());
                let mut start: Vec<f32> = x.iter().zip(noise).map(|(x, n)| x + n * std).collect();
                budget.project(&mut start, x, batch);
                start
            }
        }
    }
}

/// An attack under way.
#[derive(Debug)]
pub struct Attempt<'a> {
    attack: Attack<'a>,
    x: &'a [f32],
    batch: usize,
    walk: Walk,
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
        let x_adv = self.origin.start(self.budget, x, batch, key);
        self.begin_at(x, batch, x_adv)
    }

    /// The same with a start of one's own, which lies within the budget.
    pub fn begin_at<'b>(&'b self, x: &'b [f32], batch: usize, start: Vec<f32>) -> Attempt<'b> {
        Attempt {
            attack: *self,
            x,
            batch,
            walk: Walk::from(start, self.budget, self.search, self.targeted),
        }
    }
}

impl Attempt<'_> {
    /// The images whose gradient is wanted next; none where the attack is at its end.
    pub fn asks(&self) -> Option<&[f32]> {
        self.walk.asks(self.x)
    }

    /// Goes on by what the network has computed of the images asked for.
    pub fn take(&mut self, found: &Evaluation) {
        self.walk.take(self.x, &found.gradient, self.batch);
    }

    /// Has the model answer to the end; returns x_adv.
    pub fn run(mut self, model: &impl Classifier) -> Vec<f32> {
        while let Some(point) = self.asks() {
            let found = model.evaluate(point, self.batch, self.attack.objective);
            self.take(&found);
        }
        self.walk.x_adv
    }

    /// x_adv so far.
    pub fn end(self) -> Vec<f32> {
        self.walk.x_adv
    }
}
