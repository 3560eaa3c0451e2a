//! Training on noised images, the baseline of JEAT section 3.2 (standard deviations of 8, 16 and 24
//! of 255).

use basin_shared::tensors::Network;
use serde::{Deserialize, Serialize};

use super::{Inner, Loss, cross_entropy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noise {
    /// Standard deviation of the Gaussian noise, in [0, 1] pixel units; images are clamped after.
    pub noise_std: f32,
}

impl Noise {
    /// Mean of E(x + ξ, y) − E(x + ξ).
    pub(super) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let (x, target) = (inner.batch.x.clone(), inner.target());
        let noise = inner.key.normal(x.dims(), &x.device()) * self.noise_std;
        let x = (x + noise).clamp(0.0, 1.0);
        move |model| cross_entropy(model, x.clone(), &target)
    }
}
