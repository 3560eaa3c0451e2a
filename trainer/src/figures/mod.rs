//! What is drawn for people: sheets of images, and the page of a run.

pub(crate) mod jpeg;
pub(crate) mod json;
pub(crate) mod picture;
pub(crate) mod report;
