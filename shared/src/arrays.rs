//! A model's parameters by name, and back. Names are PyTorch's: `layer1.0.conv1.weight`.

use std::collections::BTreeMap;

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// Row-major values, as many as the shape says.
    pub values: Vec<f32>,
}

/// Parameters by name.
pub type Weights = BTreeMap<String, Array>;

/// How numbers are stored, in a file or on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// f16
    Half,
    /// f32
    Single,
}
