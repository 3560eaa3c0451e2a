//! Where the Square attack's random numbers come from.

use std::collections::VecDeque;

use crate::key::Key;

/// Random numbers one after the other.
#[derive(Clone, Debug)]
pub struct Draws(Source);

#[derive(Clone, Debug)]
enum Source {
    Key { key: Key, drawn: u64 },
    Recorded(VecDeque<usize>),
}

impl Draws {
    /// Of a key.
    pub fn of(key: Key) -> Self {
        Self(Source::Key { key, drawn: 0 })
    }

    /// Drawn elsewhere: places from 0, 0 or 1 for a square that is turned, and 0 or 1 for the sign − or +.
    pub fn recorded(numbers: impl IntoIterator<Item = usize>) -> Self {
        Self(Source::Recorded(numbers.into_iter().collect()))
    }

    /// One of {0, …, bound − 1}.
    ///
    /// # Panics
    /// If what was recorded is at its end.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        match &mut self.0 {
            Source::Key { key, drawn } => {
                *drawn += 1;
                key.fold_in(*drawn).integers(1, bound)[0]
            }
            Source::Recorded(numbers) => {
                let number = numbers.pop_front();
                number.expect("as many recorded draws as the attack takes")
            }
        }
    }

    /// −1 or 1.
    pub(super) fn sign(&mut self) -> f32 {
        self.below(2) as f32 * 2.0 - 1.0
    }
}
