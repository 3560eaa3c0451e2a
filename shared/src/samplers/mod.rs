//! Samplers: steps over an explicit state with an explicit key; one sampler, one file.

pub mod by_distance;
mod chain;
pub mod distances;
mod known;
pub mod noise;
pub mod observation;
pub mod pyld;
mod settings;
pub mod sgld;
pub mod start;

pub use by_distance::{Annealing, ByDistance};
pub use chain::{Frame, HostChain, STEPS_PER_FRAME, Step, objective};
pub use distances::{DistanceTable, Distances, NoiseTable, TableError};
pub use known::Known;
pub use noise::Noise;
pub use observation::{Observation, ObservationError};
pub use pyld::Pyld;
use serde::{Deserialize, Serialize};
pub use settings::SamplerSettings;
pub use sgld::{GradientScaling, Sgld};
pub use start::{ClassGaussian, Start};

/// A sampler by name, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Langevin dynamics with steps of a size that is given.
    Sgld(Sgld),
    /// Steps as long as the energy says that the data are away.
    ByDistance(ByDistance),
}
