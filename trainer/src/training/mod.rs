//! What a run is made of: the network and its average, the optimiser, the devices, and what is kept of it.

pub(crate) mod checkpoint;
pub(crate) mod class_gaussian;
#[cfg(feature = "cubecl")]
mod descent;
pub(crate) mod ema;
pub(crate) mod gradient_norm;
pub(crate) mod metrics_log;
pub(crate) mod optimizer;
pub(crate) mod replay_buffer;
pub(crate) mod replicas;
pub(crate) mod run;
pub(crate) mod sam;
pub(crate) mod schedule;
pub(crate) mod validation;
