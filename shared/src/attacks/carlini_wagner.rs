//! Carlini and Wagner's attack in L2 (2017, "Towards evaluating the robustness of neural networks", section VI.A): the
//! nearest image of another class, by Adam over w with x = (tanh w + 1) / 2, which never leaves the pixel range:
//!
//! min |x − x₀|² + c · max(f\[y\] − max_{i≠y} f\[i\] + κ, 0),
//!
//! with the smallest c that finds one, by bisection: tenfold until one is found, then between what found none and what
//! did.

use serde::{Deserialize, Serialize};

use super::{
    Budget, Norm,
    pursuit::{Found, Pursuit, Subject, named},
};
use crate::energy::{Hinge, Objective};

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarliniWagner {
    /// Values of c tried.
    pub searches: usize,
    /// Adam's iterations with each at most; fewer where a tenth of them does not lower the loss by 1 in 10,000.
    pub steps: usize,
    /// Adam's step size, for w.
    pub step_size: f32,
    /// The first c.
    pub first: f32,
    /// κ, by how much another class is to be ahead.
    pub confidence: f32,
    /// Whether Adam ends where it no longer gets on.
    pub abort_early: bool,
}

impl Default for CarliniWagner {
    /// As in foolbox, but for a tenth of the iterations.
    fn default() -> Self {
        Self {
            searches: 9,
            steps: 1000,
            step_size: 0.01,
            first: 1e-3,
            confidence: 0.0,
            abort_early: true,
        }
    }
}

/// Adam's decays and what it divides by at least (Kingma and Ba 2015).
const BETAS: [f64; 2] = [0.9, 0.999];
const LEAST: f64 = 1e-8;

/// An optimisation with one c, in double precision: w is far out where a pixel is black or white.
#[derive(Clone, Debug)]
struct Adam {
    w: Vec<f64>,
    means: Vec<[f64; 2]>,
    step: i32,
    /// The loss when progress was last looked at.
    checked: f64,
}

/// The search for one image.
#[derive(Debug)]
pub struct CarliniWagnerPursuit {
    settings: CarliniWagner,
    budget: Budget,
    x: Vec<f32>,
    class: usize,
    objective: Hinge,
    /// w of the image itself, and x of that.
    first: Vec<f64>,
    back: Vec<f64>,
    adam: Adam,
    at: Vec<f32>,
    search: usize,
    /// c, and what it lies between.
    c: f64,
    between: [f64; 2],
    /// Whether this c has found an image.
    found: bool,
    /// The nearest image of another class, and how far it is.
    best: Option<(Vec<f32>, f32)>,
}

fn to_image(w: &[f64]) -> Vec<f64> {
    w.iter().map(|w| (w.tanh() + 1.0) / 2.0).collect()
}

fn single(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

impl Adam {
    fn at(w: &[f64]) -> Self {
        Self {
            w: w.to_vec(),
            means: vec![[0.0; 2]; w.len()],
            step: 0,
            checked: f64::INFINITY,
        }
    }

    /// A step down; `gradient` is with respect to x.
    fn step(&mut self, gradient: impl Iterator<Item = f64>, step_size: f64) {
        self.step += 1;
        let corrections = BETAS.map(|beta| 1.0 - beta.powi(self.step));
        for ((w, means), gradient) in self.w.iter_mut().zip(&mut self.means).zip(gradient) {
            let gradient = gradient * (1.0 - w.tanh().powi(2)) / 2.0;
            for ((mean, beta), moment) in means
                .iter_mut()
                .zip(BETAS)
                .zip([gradient, gradient * gradient])
            {
                *mean = beta * *mean + (1.0 - beta) * moment;
            }
            let [mean, square] = [means[0] / corrections[0], means[1] / corrections[1]];
            *w -= step_size * mean / (square.sqrt() + LEAST);
        }
    }
}

impl CarliniWagner {
    /// The search for one image.
    ///
    /// # Panics
    /// If the budget is not in L2.
    pub fn pursue(self, budget: Budget, subject: &Subject) -> CarliniWagnerPursuit {
        assert_eq!(
            budget.norm,
            Norm::L2,
            "Carlini and Wagner's attack is in L2"
        );
        let to_w = |x: &f32| (0.999_999 * (2.0 * f64::from(*x) - 1.0)).atanh();
        let first: Vec<f64> = subject.x.iter().map(to_w).collect();
        let back = to_image(&first);
        CarliniWagnerPursuit {
            settings: self,
            budget,
            x: subject.x.clone(),
            class: subject.class,
            objective: Hinge {
                classes: vec![subject.class],
                confidence: self.confidence,
            },
            adam: Adam::at(&first),
            at: single(&back),
            first,
            back,
            search: 0,
            c: self.first.into(),
            between: [0.0, f64::INFINITY],
            found: false,
            best: None,
        }
    }
}

impl CarliniWagnerPursuit {
    /// The next c, from the image again.
    fn next_search(&mut self) {
        self.between[usize::from(self.found)] = self.c;
        let [low, high] = self.between;
        self.c = match high.is_finite() {
            true => (low + high) / 2.0,
            false => self.c * 10.0,
        };
        self.search += 1;
        self.found = false;
        self.adam = Adam::at(&self.first);
        self.at = single(&self.back);
    }
}

impl Pursuit for CarliniWagnerPursuit {
    fn asks(&self) -> Option<&[f32]> {
        (self.search < self.settings.searches).then_some(&self.at)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        Some(&self.objective)
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        let mut ahead = logits.to_vec();
        ahead[self.class] += self.settings.confidence;
        if named(&ahead) != self.class {
            self.found = true;
            let distance = Norm::L2.between(&self.x, &self.at);
            if self
                .best
                .as_ref()
                .is_none_or(|(_, least)| distance < *least)
            {
                self.best = Some((self.at.clone(), distance));
            }
        }
        let x = to_image(&self.adam.w);
        let apart = x.iter().zip(&self.back).map(|(x, back)| x - back);
        let loss = self.c * f64::from(self.objective.value(0, logits))
            + apart.clone().map(|d| d * d).sum::<f64>();
        let (step, tenth) = (self.adam.step as usize, self.settings.steps.div_ceil(10));
        if self.settings.abort_early && step.is_multiple_of(tenth.max(1)) {
            if loss > 0.9999 * self.adam.checked {
                return self.next_search();
            }
            self.adam.checked = loss;
        }
        let (c, step_size) = (self.c, self.settings.step_size.into());
        let gradient = gradient
            .iter()
            .zip(apart)
            .map(|(g, d)| c * f64::from(*g) + 2.0 * d);
        self.adam.step(gradient, step_size);
        if self.adam.step as usize >= self.settings.steps {
            return self.next_search();
        }
        self.at = single(&to_image(&self.adam.w));
    }

    fn found(&mut self) -> Found {
        let near = |(_, distance): &(_, f32)| *distance <= self.budget.epsilon;
        let fooled = self.best.as_ref().is_some_and(near);
        let x_adv = match self.best.take() {
            Some((x_adv, _)) => x_adv,
            None => std::mem::take(&mut self.x),
        };
        Found { x_adv, fooled }
    }
}
