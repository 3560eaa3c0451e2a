//! One command, one file, read from top to bottom.

pub(crate) mod attack;
pub(crate) mod average;
pub(crate) mod benchmark;
pub(crate) mod checkpoint;
pub(crate) mod denoise;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod publish;
pub(crate) mod recipes;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod shell;
pub(crate) mod train;
pub(crate) mod tune_sampler;
