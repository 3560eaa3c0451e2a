//! Readers of file formats.

pub(super) mod idx;
pub(super) mod mat;
pub(super) mod pictures;
