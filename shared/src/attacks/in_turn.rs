//! Attacks on one image one after the other until one fools the network: restarts, target classes, or an ensemble.

use std::fmt;

use super::pursuit::{Found, Pursuit};
use crate::energy::Objective;

/// Pursuits of one image, each begun when the one before has failed.
pub struct InTurn<P, F> {
    /// The pursuit of this number; none after the last.
    begin: F,
    under_way: P,
    begun: usize,
    best: Option<Found>,
}

impl<P: fmt::Debug, F> fmt::Debug for InTurn<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTurn")
            .field("begun", &self.begun)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

impl<P: Pursuit, F: FnMut(usize) -> Option<P>> InTurn<P, F> {
    /// `begin` makes the pursuits by their number, from 0; none if there is not one.
    pub fn new(mut begin: F) -> Option<Self> {
        let under_way = begin(0)?;
        let mut all = Self {
            begin,
            under_way,
            begun: 1,
            best: None,
        };
        all.go_on();
        Some(all)
    }

    /// Begins the next while the one under way is at its end and has failed.
    fn go_on(&mut self) {
        while self.best.as_ref().is_none_or(|found| !found.fooled)
            && self.under_way.asks().is_none()
        {
            self.best = Some(self.under_way.found());
            if self.best.as_ref().is_some_and(|found| found.fooled) {
                return;
            }
            let Some(next) = (self.begin)(self.begun) else {
                return;
            };
            self.begun += 1;
            self.under_way = next;
        }
    }
}

impl<P: Pursuit, F: FnMut(usize) -> Option<P>> Pursuit for InTurn<P, F> {
    fn asks(&self) -> Option<&[f32]> {
        self.under_way.asks()
    }

    fn objective(&self) -> Option<&dyn Objective> {
        self.under_way.objective()
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        self.under_way.take(logits, gradient);
        self.go_on();
    }

    fn found(&mut self) -> Found {
        self.best.take().unwrap_or_else(|| self.under_way.found())
    }
}
