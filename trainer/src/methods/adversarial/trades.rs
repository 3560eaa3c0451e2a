//! TRADES (Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy",
//! Algorithm 1), and the examples that the methods built on it share.

use basin_shared::{
    Classifier, Key,
    attacks::{Attack, Budget, Origin, Pgd},
    energy::{Expected, softmax},
    tensors::{Network, energy, from_host, to_host},
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::methods::{Attacked, Inner, Logits, Loss};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trades {
    /// The attack.
    pub attack: KlAttack,
    /// Weight of the divergence, β.
    pub beta: f32,
}

/// PGD on KL(p(y | x) ‖ p(y | x_adv)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KlAttack {
    /// Radius, in [0, 1] pixel units.
    pub epsilon: f32,
    /// Steps and their size.
    pub pgd: Pgd,
    /// Standard deviation of the Gaussian noise of the start: at x itself the gradient is zero.
    pub start_noise_std: f32,
}

impl KlAttack {
    /// The batch with its adversarial examples, found with the model in evaluation mode.
    pub(in crate::methods) fn examples(&self, inner: &Inner) -> Attacked {
        let x = inner.batch.x.clone();
        Attacked {
            x_adv: self.examples_of(&inner.model.frozen(), x.clone(), inner.key),
            x,
            target: inner.target(),
        }
    }

    /// x_adv of images, `[batch, channels, height, width]`.
    pub(in crate::methods) fn examples_of(
        &self,
        model: &impl Classifier,
        x: Tensor<4>,
        key: Key,
    ) -> Tensor<4> {
        let (shape, device) = (x.dims(), x.device());
        let [batch, ..] = shape;
        let x = to_host(x);
        let logits = model.logits(&x, batch);
        let mut probabilities = vec![0.0; logits.len()];
        let classes = logits.len() / batch;
        let rows = logits.chunks_exact(classes);
        for (logits, p) in rows.zip(probabilities.chunks_exact_mut(classes)) {
            softmax(logits, p);
        }
        let objective = Expected { probabilities };
        let attack = Attack {
            origin: Origin::Noise(self.start_noise_std),
            ..Attack::pgd(Budget::linf(self.epsilon), &objective, self.pgd)
        };
        from_host(attack.run(model, &x, batch, key), shape, &device)
    }
}

impl Trades {
    pub(in crate::methods) fn outer(&self, inner: Inner) -> impl Fn(&Network) -> Loss + use<> {
        let (settings, examples) = (self.clone(), self.attack.examples(&inner));
        move |model| settings.loss(model, &examples)
    }

    /// Mean of E(x, y) − E(x) + β KL(p(y | x) ‖ p(y | x_adv)). As in the authors' code, the gradient
    /// flows through both distributions.
    pub(in crate::methods) fn loss(&self, model: &Network, examples: &Attacked) -> Loss {
        let Logits { f, f_adv } = examples.logits(model);
        let natural = examples.target.cross_entropy(f.clone()).mean();
        let divergence = energy::kl_divergence(f.clone(), f_adv.clone()).mean();
        let value = natural + divergence.clone() * self.beta;
        let mut loss = examples.loss(Logits { f, f_adv }, value);
        loss.figures.push(("divergence", divergence.inner()));
        loss
    }
}
