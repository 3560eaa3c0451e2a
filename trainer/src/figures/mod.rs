//! What figures become: sheets of images, tables, JSON, and the page of a run.

pub(crate) mod jpeg;
pub(crate) mod json;
pub(crate) mod picture;
pub(crate) mod report;
pub(crate) mod robustbench;
pub(crate) mod table;
