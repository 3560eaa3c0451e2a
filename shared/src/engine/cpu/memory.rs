//! Memory for vectors.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// Numbers from the start of a cache line on: a vector that crosses from one line to the next takes
/// two loads.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as part of a slice")] [f32; 16]);

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
        Self {
            lines: vec![Line([0.0; 16]); len.div_ceil(16)],
            len,
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines are nothing but numbers, and hold at least as many.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Memory of one thread that outlives a call, so that it is neither asked for nor cleared again.
pub(crate) struct Scratch(Aligned);

thread_local! {
    static FREE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// At least `len` numbers of any value.
    pub(crate) fn take(len: usize) -> Self {
        let free = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        Self(if free.len() < len {
            Aligned::zeros(len)
        } else {
            free
        })
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.0);
        FREE.with_borrow_mut(|free| free.push(memory));
    }
}
