//! The pursuit of one image: an attack that goes another way with each image, written as what it asks of the network
//! about it and what it does with the answer; and how many images are pursued together.
//!
//! No two images of a batch have anything in common, so those that are fooled leave it at once and others take their
//! places: the network computes for survivors alone, in full batches, and what is kept of an image is bounded by
//! their size.

use crate::{
    classifier::Classifier,
    energy::{Each, Marginal, Objective},
};

/// An image that is attacked.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its pixels, of its shape.
    pub x: Vec<f32>,
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// Its class y.
    pub class: usize,
    /// What the network makes of it, `[classes]`.
    pub logits: Vec<f32>,
}

/// What an attack has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// An image that the network takes for another class, or the best of those tried.
    pub x_adv: Vec<f32>,
    /// Whether the network does.
    pub fooled: bool,
}

/// An attack on one image, under way.
pub trait Pursuit {
    /// The image that is asked about next, `[channels, height, width]`; none at the end.
    fn asks(&self) -> Option<&[f32]>;

    /// What its gradient is wanted of, an objective of one image; none where logits will do.
    fn objective(&self) -> Option<&dyn Objective>;

    /// Goes on by what the network has computed of the image asked about: its logits, `[classes]`, and the
    /// gradient, of the image's shape, empty where none was wanted.
    fn take(&mut self, logits: &[f32], gradient: &[f32]);

    /// What has been found so far; at the end it is taken out.
    fn found(&mut self) -> Found;
}

impl<P: Pursuit + ?Sized> Pursuit for Box<P> {
    fn asks(&self) -> Option<&[f32]> {
        (**self).asks()
    }

    fn objective(&self) -> Option<&dyn Objective> {
        (**self).objective()
    }

    fn take(&mut self, logits: &[f32], gradient: &[f32]) {
        (**self).take(logits, gradient);
    }

    fn found(&mut self) -> Found {
        (**self).found()
    }
}

/// The class that a network gives: the first with the largest logit.
pub fn named(logits: &[f32]) -> usize {
    let better = |best: usize, class: usize| match logits[class] > logits[best] {
        true => class,
        false => best,
    };
    (1..logits.len()).fold(0, better)
}

/// Has a model answer to pursuits until each is at its end, at most `batch` at once; tells the place of each and what
/// it found, in the order in which they end.
pub fn pursue<P: Pursuit>(
    model: &impl Classifier,
    batch: usize,
    pursuits: impl IntoIterator<Item = P>,
    mut ended: impl FnMut(usize, Found),
) {
    let mut waiting = pursuits.into_iter().enumerate().fuse();
    let mut under_way: Vec<(usize, P)> = Vec::new();
    loop {
        let room = batch.max(1) - under_way.len();
        let before = under_way.len();
        under_way.extend(waiting.by_ref().take(room));
        let came = under_way.len() > before;
        let (on, over): (Vec<_>, Vec<_>) = under_way
            .into_iter()
            .partition(|(_, pursuit)| pursuit.asks().is_some());
        under_way = on;
        for (place, mut pursuit) in over {
            ended(place, pursuit.found());
        }
        match (under_way.is_empty(), came) {
            (true, false) => return,
            (true, true) => {}
            (false, _) => ask(model, &mut under_way),
        }
    }
}

/// One answer for each.
fn ask<P: Pursuit>(model: &impl Classifier, pursuits: &mut [(usize, P)]) {
    let x: Vec<f32> = pursuits
        .iter()
        .flat_map(|(_, pursuit)| pursuit.asks().unwrap_or_default())
        .copied()
        .collect();
    let count = pursuits.len();
    // Of those whose gradient nobody looks at.
    let any = Marginal {
        classes: Vec::new(),
    };
    let objectives = pursuits.iter().map(|(_, pursuit)| pursuit.objective());
    let (logits, gradient) = if objectives.clone().all(|objective| objective.is_none()) {
        (model.logits(&x, count), Vec::new())
    } else {
        let objectives = objectives.map(|objective| objective.unwrap_or(&any));
        let found = model.evaluate(&x, count, &Each(objectives.collect()));
        (found.logits, found.gradient)
    };
    let (classes, image) = (logits.len() / count, gradient.len() / count);
    for (place, (_, pursuit)) in pursuits.iter_mut().enumerate() {
        let logits = &logits[place * classes..][..classes];
        pursuit.take(logits, &gradient[place * image..][..image]);
    }
}
