//! How many images are classified rightly, before and after attacks.

use basin_shared::{
    Key,
    attacks::{Attack, Budget, Pgd},
    energy::Conditional,
    tensors::{OnTensors, from_host, to_host},
};
use burn::tensor::{Device, Tensor};

use crate::{data::Images, tell::Countdown};

/// Images in one pass, where nothing else asks for a number.
pub(crate) const BATCH: usize = 100;

/// The classes that a model gives to images.
pub(crate) fn predictions(model: &impl OnTensors, x: Tensor<4>) -> Vec<u8> {
    model
        .logits_of(x)
        .argmax(1)
        .into_data()
        .iter::<i64>()
        .map(|class| class as u8)
        .collect()
}

/// Share of images that the model classifies rightly.
pub(crate) fn clean_accuracy(model: &impl OnTensors, images: &Images, device: &Device) -> f64 {
    let order: Vec<usize> = (0..images.len()).collect();
    let right = order.chunks(BATCH).map(|indices| {
        let classes = predictions(model, images.batch(indices, device).0);
        let pairs = classes.iter().zip(indices);
        pairs
            .filter(|&(&class, &i)| class == images.labels()[i])
            .count()
    });
    right.sum::<usize>() as f64 / images.len() as f64
}

/// PGD, what it may change, and its random starts.
#[derive(Clone, Copy)]
pub(crate) struct Adversary {
    pub budget: Budget,
    pub pgd: Pgd,
    pub key: Key,
}

/// Those of `indices` that the model classifies rightly before and after PGD on the attacker: where it
/// errs already, nothing needs to be changed.
pub(crate) fn survivors(
    model: &impl OnTensors,
    attacker: &impl OnTensors,
    images: &Images,
    indices: &[usize],
    adversary: Adversary,
    device: &Device,
) -> Vec<usize> {
    let Adversary {
        budget,
        pgd: settings,
        key,
    } = adversary;
    let right = |indices: &[usize], x| {
        let classes = predictions(model, x);
        let pairs = classes.into_iter().zip(indices);
        let kept = pairs.filter(|&(class, &i)| class == images.labels()[i]);
        kept.map(|(_, &i)| i).collect::<Vec<_>>()
    };
    let chunks = indices.chunks(BATCH);
    let clean: Vec<usize> = chunks
        .flat_map(|indices| right(indices, images.batch(indices, device).0))
        .collect();
    let mut countdown = Countdown::of(format!("PGD-{}", settings.steps), clean.len());
    let attacked = clean
        .chunks(BATCH)
        .enumerate()
        .flat_map(|(batch, indices)| {
            let x = images.batch(indices, device).0;
            let (shape, x) = (x.dims(), to_host(x));
            let labels = indices.iter().map(|&i| images.labels()[i].into());
            let objective = Conditional {
                classes: labels.collect(),
            };
            let attack = Attack::pgd(budget, &objective, settings);
            let x_adv = attack.run(attacker, &x, indices.len(), key.fold_in(batch as u64));
            // Judged outside the attack: what left the ball would not count as an attack.
            let spent = budget.spent(&x_adv, &x, indices.len());
            let most = spent.into_iter().fold(0.0, f32::max);
            assert!(most <= 1.0001, "PGD left its ball: {most} of its radius");
            countdown.advance(indices.len());
            right(indices, from_host(x_adv, shape, device))
        });
    attacked.collect()
}
