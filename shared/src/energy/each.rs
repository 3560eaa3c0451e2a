//! Objectives of one image each, as that of a batch: images that are in different places of a search are asked for
//! together.

use super::Objective;

/// An objective of one image for each image of the batch.
#[derive(Clone, Debug)]
pub struct Each<'a>(pub Vec<&'a dyn Objective>);

impl Objective for Each<'_> {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        self.0[image].value(0, logits)
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        self.0[image].slope(0, logits, slope);
    }
}
