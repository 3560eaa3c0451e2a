//! Standard training: cross-entropy on clean images.

use basin_shared::models::WideResNet;
use serde::{Deserialize, Serialize};

use super::{Batch, Loss, cross_entropy};

/// Settings: none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standard {}

impl Standard {
    /// Mean of E(x, y) − E(x).
    pub(super) fn loss(&self, model: &WideResNet, batch: Batch) -> Loss {
        cross_entropy(model, batch.x, batch.y)
    }
}
