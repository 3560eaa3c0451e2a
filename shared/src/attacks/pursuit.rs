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

/// What happens while images are pursued.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The network has answered about so many images.
    Answered(usize),
    /// A pursuit is at its end.
    Ended {
        /// Its place among all.
        place: usize,
        /// What it has come to.
        found: Found,
        /// How many answers it took.
        answers: usize,
    },
}

/// A pursuit among others.
struct Member<P> {
    place: usize,
    pursuit: P,
    answers: usize,
}

impl<P: Pursuit> Member<P> {
    fn at_end(&self) -> bool {
        self.pursuit.asks().is_none()
    }

    fn ended(mut self) -> Event {
        Event::Ended {
            place: self.place,
            found: self.pursuit.found(),
            answers: self.answers,
        }
    }
}

/// Has a model answer to pursuits until each is at its end, at most `batch` at once.
pub fn pursue<P: Pursuit>(
    model: &impl Classifier,
    batch: usize,
    pursuits: impl IntoIterator<Item = P>,
    mut told: impl FnMut(Event),
) {
    let members = pursuits.into_iter().enumerate();
    let mut waiting = members.map(|(place, pursuit)| Member {
        place,
        pursuit,
        answers: 0,
    });
    let mut under_way: Vec<Member<P>> = Vec::new();
    loop {
        for member in under_way.extract_if(.., |member| member.at_end()) {
            told(member.ended());
        }
        while under_way.len() < batch.max(1)
            && let Some(member) = waiting.next()
        {
            match member.at_end() {
                true => told(member.ended()),
                false => under_way.push(member),
            }
        }
        if under_way.is_empty() {
            return;
        }
        ask(model, &mut under_way);
        told(Event::Answered(under_way.len()));
    }
}

/// One answer for each.
fn ask<P: Pursuit>(model: &impl Classifier, members: &mut [Member<P>]) {
    let questions = members.iter().filter_map(|member| member.pursuit.asks());
    let x: Vec<f32> = questions.flatten().copied().collect();
    let count = members.len();
    // Of those whose gradient nobody looks at.
    let any = Marginal {
        classes: Vec::new(),
    };
    let objectives = members.iter().map(|member| member.pursuit.objective());
    let (logits, gradient) = if objectives.clone().all(|objective| objective.is_none()) {
        (model.logits(&x, count), Vec::new())
    } else {
        let objectives = objectives.map(|objective| objective.unwrap_or(&any));
        let found = model.evaluate(&x, count, &Each(objectives.collect()));
        (found.logits, found.gradient)
    };
    let (classes, image) = (logits.len() / count, gradient.len() / count);
    for (place, member) in members.iter_mut().enumerate() {
        let logits = &logits[place * classes..][..classes];
        let gradient = &gradient[place * image..][..image];
        member.pursuit.take(logits, gradient);
        member.answers += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::Evaluation;

    /// Asks as often as it is told, about one pixel that says how often it has been; the network's answer must be to
    /// that question.
    struct Counted {
        asked: usize,
        often: usize,
        at: Vec<f32>,
    }

    impl Pursuit for Counted {
        fn asks(&self) -> Option<&[f32]> {
            (self.asked < self.often).then_some(&self.at)
        }

        fn objective(&self) -> Option<&dyn Objective> {
            None
        }

        fn take(&mut self, logits: &[f32], _: &[f32]) {
            assert_eq!(logits, [self.at[0], 0.0]);
            self.asked += 1;
            self.at = vec![self.asked as f32];
        }

        fn found(&mut self) -> Found {
            Found {
                x_adv: std::mem::take(&mut self.at),
                fooled: true,
            }
        }
    }

    /// Its logits are the pixel and zero.
    struct Echo;

    impl Classifier for Echo {
        fn logits(&self, x: &[f32], batch: usize) -> Vec<f32> {
            assert!(
                x.len() == batch && batch <= 3,
                "{batch} images of {}",
                x.len()
            );
            x.iter().flat_map(|&x| [x, 0.0]).collect()
        }

        fn evaluate(&self, _: &[f32], _: usize, _: &dyn Objective) -> Evaluation {
            unreachable!("nobody wants a gradient")
        }
    }

    #[test]
    fn images_that_are_done_make_room_for_others() {
        let often = [2, 0, 5, 1, 1, 3, 0];
        let pursuits = often.map(|often| Counted {
            asked: 0,
            often,
            at: vec![0.0],
        });
        let (mut rounds, mut ends) = (Vec::new(), [None; 7]);
        pursue(&Echo, 3, pursuits, |event| match event {
            Event::Answered(images) => rounds.push(images),
            Event::Ended { place, answers, .. } => ends[place] = Some(answers),
        });
        assert_eq!(ends, often.map(Some));
        // Twelve answers, three at a time while there are others.
        assert_eq!(rounds, [3, 3, 2, 2, 2]);
    }
}
