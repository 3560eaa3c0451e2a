//! f\[t\] − f\[y\], how far a class is ahead of another: the boundary between both is where it is zero.

use super::Objective;

/// Difference of two logits. Its slope is e_t − e_y.
#[derive(Clone, Debug)]
pub struct Difference {
    /// y of each image.
    pub classes: Vec<usize>,
    /// t of each image, another class.
    pub targets: Vec<usize>,
}

impl Objective for Difference {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        logits[self.targets[image]] - logits[self.classes[image]]
    }

    fn slope(&self, image: usize, _: &[f32], slope: &mut [f32]) {
        slope.fill(0.0);
        slope[self.targets[image]] = 1.0;
        slope[self.classes[image]] -= 1.0;
    }
}
