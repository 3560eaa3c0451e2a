//! The attack of a method that leaves the choice of it to the recipe.

use basin_shared::{
    Key,
    attacks::{Attack, Budget, GradientAt, Pgd},
    energy::EnergyKind,
    tensors::OnTensors,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::trades::KlAttack;

/// What finds adversarial examples, and within which ball.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum InnerAttack {
    /// Steps up an energy from a uniform start in the ball (Madry et al. 2018). One step of 1.25 ε up
    /// E(x, y) − E(x) is the attack of fast adversarial training (Wong et al. 2020).
    Pgd {
        budget: Budget,
        energy: EnergyKind,
        steps: usize,
        /// In [0, 1] pixel units.
        step_size: f32,
    },
    /// JEAT's single step of ε.
    Energy {
        budget: Budget,
        energy: EnergyKind,
        gradient_at: GradientAt,
    },
    /// TRADES' steps up KL(p(y | x) ‖ p(y | x_adv)).
    Kl(KlAttack),
}

impl InnerAttack {
    /// The ball.
    pub(in crate::methods) fn budget(&self) -> Budget {
        match self {
            Self::Pgd { budget, .. } | Self::Energy { budget, .. } => *budget,
            Self::Kl(attack) => Budget::linf(attack.epsilon),
        }
    }

    /// Passes through the network that it costs an image.
    pub(in crate::methods) fn passes(&self) -> f64 {
        match self {
            Self::Pgd { steps, .. } => 2.0 * *steps as f64,
            Self::Energy { .. } => 2.0,
            Self::Kl(attack) => 1.0 + 2.0 * attack.pgd.steps as f64,
        }
    }

    /// x_adv, found with the model in evaluation mode.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`, `classes`: `[batch]`; returns the shape of `x`
    pub(in crate::methods) fn examples(
        &self,
        model: &impl OnTensors,
        x: Tensor<4>,
        classes: Vec<usize>,
        key: Key,
    ) -> Tensor<4> {
        match *self {
            Self::Pgd {
                budget,
                energy,
                steps,
                step_size,
            } => {
                let objective = energy.of(classes);
                let attack = Attack::pgd(budget, &*objective, Pgd { steps, step_size });
                attack.on_tensors(model, x, key)
            }
            Self::Energy {
                budget,
                energy,
                gradient_at,
            } => {
                let objective = energy.of(classes);
                Attack::energy(budget, &*objective, gradient_at).on_tensors(model, x, key)
            }
            Self::Kl(ref attack) => attack.examples_of(model, x, key),
        }
    }
}
