//! f\[y\] − max_{i≠y} f\[i\], how far a class is ahead of the likeliest other one; and how far it is from being behind
//! by enough, which Carlini and Wagner descend (2017, "Towards evaluating the robustness of neural networks", f₆ of
//! section IV.B): max(f\[y\] − max_{i≠y} f\[i\] + κ, 0).

use super::Objective;

/// The likeliest of the other classes; the first of equal ones. `logits`: `[classes]`, two at least
pub fn likeliest_other(logits: &[f32], class: usize) -> usize {
    let others = (0..logits.len()).filter(|&other| other != class);
    let better = |best: Option<usize>, other: usize| match best {
        Some(best) if logits[best] >= logits[other] => Some(best),
        _ => Some(other),
    };
    others.fold(None, better).expect("two classes at least")
}

/// f\[y\] − max_{i≠y} f\[i\]. `logits`: `[classes]`, two at least
pub fn margin(logits: &[f32], class: usize) -> f32 {
    logits[class] - logits[likeliest_other(logits, class)]
}

/// Carlini and Wagner's hinge: zero where another class is ahead by κ.
#[derive(Clone, Debug)]
pub struct Hinge {
    /// y of each image.
    pub classes: Vec<usize>,
    /// κ, by how much another class is to be ahead.
    pub confidence: f32,
}

impl Objective for Hinge {
    fn value(&self, image: usize, logits: &[f32]) -> f32 {
        (margin(logits, self.classes[image]) + self.confidence).max(0.0)
    }

    fn slope(&self, image: usize, logits: &[f32], slope: &mut [f32]) {
        slope.fill(0.0);
        let class = self.classes[image];
        if self.value(image, logits) > 0.0 {
            slope[class] = 1.0;
            slope[likeliest_other(logits, class)] = -1.0;
        }
    }
}
