//! The Square attack (Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via
//! random search", Algorithms 1 to 3): it knows of the network only logits. A change of a random square of the image
//! is kept if it lowers the margin f\[y\] − max_{i≠y} f\[i\]; squares become smaller as the search goes on.

mod draws;
mod l2;
mod linf;

use serde::{Deserialize, Serialize};

pub use draws::Draws;

use super::{
    Budget, Norm,
    pursuit::{Found, Pursuit, named},
};
use crate::energy::{Objective, margin};

/// Settings of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Square {
    /// Changes tried.
    pub queries: usize,
    /// Share of the image's area that a square has at first.
    pub p: f32,
}

impl Default for Square {
    /// As in AutoAttack.
    fn default() -> Self {
        Self {
            queries: 5000,
            p: 0.8,
        }
    }
}

/// Queries from which on a square has half of the area that it had before (the paper's schedule for 10,000
/// queries; AutoAttack keeps the same for 5,000).
const HALVED_AFTER: [usize; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];

impl Square {
    /// The share of the area for this query, counted from 0.
    fn share(&self, query: usize) -> f64 {
        let halved = HALVED_AFTER.iter().filter(|&&after| query > after).count();
        f64::from(self.p) / f64::from(1 << halved)
    }

    /// The side of a square for this query of an image of so many pixels.
    fn side(&self, query: usize, area: usize) -> usize {
        (self.share(query) * area as f64).sqrt().round_ties_even() as usize
    }

    /// The search for one image of `shape`, `[channels, height, width]`.
    pub fn pursue(
        self,
        budget: Budget,
        x: &[f32],
        shape: [usize; 3],
        class: usize,
        mut draws: Draws,
    ) -> SquarePursuit {
        let tried = match budget.norm {
            Norm::Linf => linf::stripes(x, shape, budget.epsilon, &mut draws),
            Norm::L2 => l2::tiles(x, shape, budget.epsilon, &mut draws),
        };
        SquarePursuit {
            settings: self,
            budget,
            shape,
            x: x.to_vec(),
            class,
            draws,
            best: tried.clone(),
            tried,
            margin: f32::INFINITY,
            asked: 0,
            fooled: false,
        }
    }
}

/// The search for one image.
#[derive(Debug)]
pub struct SquarePursuit {
    settings: Square,
    budget: Budget,
    shape: [usize; 3],
    x: Vec<f32>,
    class: usize,
    draws: Draws,
    best: Vec<f32>,
    tried: Vec<f32>,
    /// The margin of the best.
    margin: f32,
    /// Answers taken.
    asked: usize,
    fooled: bool,
}

impl SquarePursuit {
    /// How far the best is from fooling the network: f\[y\] − max_{i≠y} f\[i\].
    pub fn margin(&self) -> f32 {
        self.margin
    }
}

impl Pursuit for SquarePursuit {
    fn asks(&self) -> Option<&[f32]> {
        (!self.fooled && self.asked <= self.settings.queries).then_some(&self.tried)
    }

    fn objective(&self) -> Option<&dyn Objective> {
        None
    }

    fn take(&mut self, logits: &[f32], _: &[f32]) {
        let margin = margin(logits, self.class);
        self.fooled = named(logits) != self.class;
        if self.fooled || self.asked == 0 || margin < self.margin {
            self.margin = margin;
            self.best.clone_from(&self.tried);
        }
        let (query, epsilon) = (self.asked, self.budget.epsilon);
        self.asked += 1;
        if self.asks().is_none() {
            return;
        }
        let [_, height, width] = self.shape;
        let side = self.settings.side(query, height * width);
        let (x, best, draws) = (&self.x, &self.best, &mut self.draws);
        self.tried = match self.budget.norm {
            Norm::Linf => linf::square(x, best, self.shape, side, epsilon, draws),
            Norm::L2 => l2::square(x, best, self.shape, side, epsilon, draws),
        };
    }

    fn found(&mut self) -> Found {
        Found {
            x_adv: std::mem::take(&mut self.best),
            fooled: self.fooled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's list for images of 32×32 and p = 0.8.
    #[test]
    fn squares_become_smaller() {
        let sides = [0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001];
        let side = |query| Square::default().side(query, 32 * 32);
        assert_eq!(sides.map(side), [29, 29, 20, 14, 10, 7, 5, 4, 3, 2, 1]);
    }
}
