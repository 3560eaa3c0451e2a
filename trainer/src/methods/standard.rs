//! Standard training: cross-entropy on clean images.

use basin_shared::tensors::Network;
use serde::{Deserialize, Serialize};

use super::{Inner, Loss, cross_entropy};

/// Settings: none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standard {}

impl Standard {
    /// Mean of E(x, y) − E(x).
    pub(super) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let (x, target) = (inner.batch.x.clone(), inner.target());
        move |model| cross_entropy(model, x.clone(), &target)
    }
}
