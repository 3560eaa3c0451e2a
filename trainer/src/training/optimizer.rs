//! The optimisers, as recipes name them: Burn's.

use burn::optim::{
    AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig,
    momentum::MomentumConfig,
};

use crate::recipe::OptimizerRecipe;

/// An optimiser with these settings.
pub(crate) fn optimizer(recipe: &OptimizerRecipe) -> ModuleOptimizer {
    match *recipe {
        OptimizerRecipe::Sgd {
            momentum,
            nesterov,
            weight_decay,
            ..
        } => SgdConfig::new()
            .with_momentum(Some(
                MomentumConfig::new()
                    .with_momentum(momentum)
                    .with_dampening(0.0)
                    .with_nesterov(nesterov),
            ))
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
            .init(),
        OptimizerRecipe::Adam {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => AdamConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay)))
            .init(),
        OptimizerRecipe::AdamW {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            ..
        } => AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(weight_decay)
            .init(),
    }
}
