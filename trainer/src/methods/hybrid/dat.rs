//! DAT, dual adversarial training (Wang et al. 2025, "Scalable energy-based models via adversarial
//! training"): adversarial training first, then beside it a discriminator of real images from ascents
//! that grow longer as it gets better.

use basin_shared::{
    attacks::{Attack, Budget, Origin, Pgd},
    energy::EnergyKind,
    metrics,
    samplers::{GradientScaling, Sgld, Start},
    tensors::{Network, OnTensors, energy},
};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::{
    chains,
    methods::{Batch, ENERGY_DATA, ENERGY_SAMPLE, Inner, Loss, State, Target, accuracy, logits},
};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dat {
    /// The adversary of the classifier: L2 of 0.5 in the paper.
    pub budget: Budget,
    /// Its attack, from the image itself.
    pub attack: Pgd,
    /// Share of the run after which the energy stage begins.
    pub energy_from: f64,
    /// Where negatives start: uniform noise or class Gaussians. (The paper's start from a set of
    /// images that has been withdrawn.)
    pub start: Start,
    /// Directions of the class Gaussians, of use where negatives start there.
    pub gaussian_rank: usize,
    /// L2 length of a step of the ascent.
    pub step_size: f32,
    /// Most steps of an ascent.
    pub most_steps: usize,
    /// An ascent grows by one step where the discriminator's AUC has this mean …
    pub auc: f32,
    /// … over so many images.
    pub auc_images: usize,
    /// Weight of the discriminator's loss.
    pub weight_energy: f32,
}

/// How long ascents are, and how well their ends have been told from real images since that was so.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ascents {
    /// T
    pub(crate) steps: usize,
    /// Sum of AUCs, each times its images.
    pub(crate) auc_sum: f32,
    pub(crate) images: usize,
}

/// The examples of an iteration.
pub(in crate::methods) struct Examples {
    pub(in crate::methods) x_adv: Tensor<4>,
    pub(in crate::methods) target: Target,
    /// Real images and negatives, in the energy stage.
    pub(in crate::methods) contrast: Option<(Tensor<4>, Tensor<4>)>,
}

impl Dat {
    /// The energy stage has images as they are for x, and ascents of −E(x, y) for x_neg.
    pub(in crate::methods) fn outer(
        &self,
        inner: Inner,
        state: &mut State,
    ) -> impl Fn(&Network) -> Loss + use<> {
        let model = inner.model.frozen();
        let objective = inner.cross_entropy();
        let attack = Attack {
            origin: Origin::Image,
            ..Attack::pgd(self.budget, &objective, self.attack)
        };
        let x_adv = attack.on_tensors(&model, inner.batch.x.clone(), inner.key);
        let contrast = (inner.progress >= self.energy_from).then(|| {
            let State::Ascents(ascents) = state else {
                unreachable!("DAT starts with its ascents")
            };
            let negative = self.negatives(&model, &inner, ascents.steps);
            let data = inner.others();
            self.grow(&model, data.clone(), negative.clone(), ascents);
            (data, negative)
        });
        let examples = Examples {
            x_adv,
            target: inner.target(),
            contrast,
        };
        let settings = self.clone();
        move |model| settings.loss(model, &examples)
    }

    /// Cross-entropy of adversarial examples; in the energy stage also
    /// −log σ(−E(x)) − log(1 − σ(−E(x_neg))).
    pub(in crate::methods) fn loss(&self, model: &Network, examples: &Examples) -> Loss {
        let mut figures = Vec::new();
        let mut energy_term = None;
        if let Some((data, negative)) = &examples.contrast {
            let energy_data = energy::marginal(logits(model, data.clone()));
            let energy_sample = energy::marginal(logits(model, negative.clone()));
            let real = activation::softplus(energy_data.clone(), 1.0).mean();
            let negative = activation::softplus(energy_sample.clone().neg(), 1.0).mean();
            energy_term = Some((real + negative) * self.weight_energy);
            figures.push((ENERGY_DATA, energy_data.inner().mean()));
            figures.push((ENERGY_SAMPLE, energy_sample.inner().mean()));
        }
        let f = logits(model, examples.x_adv.clone());
        let conditional = examples.target.cross_entropy(f.clone()).mean();
        figures.push(("cross_entropy", conditional.clone().inner()));
        Loss {
            value: match energy_term {
                Some(energy_term) => conditional + energy_term,
                None => conditional,
            },
            accuracy: accuracy(f, examples.target.y.clone()),
            figures,
            input: None,
        }
    }

    /// Ends of ascents of the batch's classes.
    fn negatives(&self, network: &impl OnTensors, inner: &Inner, steps: usize) -> Tensor<4> {
        let Batch { x, labels, .. } = inner.batch;
        let key = inner.key.stream("negatives");
        let (shape, device) = (inner.train.shape(), x.device());
        let start = chains::start(self.start, inner.gaussian, shape, labels, key, &device);
        let ascent = Sgld {
            step_size: self.step_size,
            noise_std: 0.0,
            friction: 0.0,
            gradient: GradientScaling::Normalize,
            clamp: false,
        };
        chains::reach(
            network,
            ascent,
            EnergyKind::Joint,
            labels,
            start,
            key,
            steps,
        )
    }

    /// Counts how well real images are told from negatives, and lengthens the ascents where that is
    /// well enough.
    fn grow(
        &self,
        model: &impl OnTensors,
        data: Tensor<4>,
        negative: Tensor<4>,
        ascents: &mut Ascents,
    ) {
        // Read back, as the AUC decides how many steps the next ascent has.
        let energies = energy::marginal(model.logits_of(Tensor::cat(vec![data, negative], 0)));
        let energies: Vec<f32> = energies.into_data().iter().collect();
        let (real, other) = energies.split_at(energies.len() / 2);
        ascents.auc_sum += metrics::auc(real, other) as f32 * real.len() as f32;
        ascents.images += real.len();
        if ascents.images >= self.auc_images {
            let reached = ascents.auc_sum / ascents.images as f32 >= self.auc;
            *ascents = Ascents {
                steps: (ascents.steps + usize::from(reached)).min(self.most_steps),
                ..Ascents::default()
            };
        }
    }
}
