//! Classifiers trained as energy-based models too: by negatives that chains find, or by score matching.

pub(super) mod dat;
pub(super) mod dsm;
pub(super) mod igebm;
pub(super) mod jem;
pub(super) mod jem_plus_plus;
pub(super) mod negatives;
pub(super) mod sada_jem;
