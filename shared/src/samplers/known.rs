//! What is known of an image that is to be restored, in the words of a task.

use serde::{Deserialize, Serialize};

use super::observation::{LUMA, ObservationError, Observed, fill_smoothly};

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// All but the pixels of a hole, `[size, size]`.
    Around {
        /// Whether each pixel is in the hole.
        hole: Vec<bool>,
    },
    /// The means of blocks of `factor` × `factor` pixels: what a smaller picture says.
    BlockMeans {
        /// The enlargement.
        factor: usize,
    },
    /// The luma; and all of the colour outside of a mask, `[size, size]`, where there is one.
    Grey {
        /// Whether the colour of each pixel is unknown.
        colourless: Option<Vec<bool>>,
    },
}

impl Known {
    /// The sums of an image's numbers that this says, of images of `channels` and `size`.
    ///
    /// # Errors
    /// If such images are not restored so: a mask of another size, an enlargement that does not divide it, grey
    /// images whose colour is asked for.
    pub fn observed(&self, [channels, size]: [usize; 2]) -> Result<Observed, ObservationError> {
        let shape = [channels, size];
        match self {
            Self::Around { hole } => Observed::around(shape, hole),
            Self::BlockMeans { factor } => Observed::block_means(shape, *factor),
            Self::Grey { colourless } => Observed::grey(shape, colourless.as_deref()),
        }
    }

    /// Makes of an image, `[channels, size, size]`, the plainest that agrees with what is known of it, which
    /// needs no model: a hole filled from its surroundings, blocks of one colour, grey. Images that
    /// [`Self::observed`] refuses stay as they are.
    pub fn plainest(&self, image: &mut [f32], size: usize) {
        let pixels = size * size;
        if self.observed([image.len() / pixels, size]).is_err() {
            return;
        }
        match self {
            Self::Around { hole } => {
                for plane in image.chunks_exact_mut(pixels) {
                    fill_smoothly(plane, hole, size);
                }
            }
            Self::BlockMeans { factor } => {
                let block = |pixel: usize| {
                    let [row, column] = [pixel / size, pixel % size].map(|at| at / factor);
                    row * size + column
                };
                for plane in image.chunks_exact_mut(pixels) {
                    let mut sums = vec![0.0; pixels];
                    for (pixel, x) in plane.iter().enumerate() {
                        sums[block(pixel)] += x / (factor * factor) as f32;
                    }
                    for (pixel, x) in plane.iter_mut().enumerate() {
                        *x = sums[block(pixel)];
                    }
                }
            }
            Self::Grey { colourless } => {
                let is_grey = |pixel: usize| colourless.as_ref().is_none_or(|mask| mask[pixel]);
                for pixel in (0..pixels).filter(|&pixel| is_grey(pixel)) {
                    let channels = (0..).map(|channel| channel * pixels + pixel).zip(LUMA);
                    let luma = channels.clone().map(|(at, w)| w * image[at]).sum();
                    for (at, _) in channels {
                        image[at] = luma;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::Key, samplers::Observation};

    #[test]
    fn what_cannot_be_restored_stays() {
        let (image, size) = (Key::new(3).uniforms(64), 8);
        for known in [
            Known::Grey { colourless: None },
            Known::BlockMeans { factor: 3 },
            Known::Around {
                hole: vec![true; 9],
            },
        ] {
            let mut plain = image.clone();
            known.plainest(&mut plain, size);
            assert_eq!(plain, image, "{known:?}");
        }
    }

    #[test]
    fn the_plainest_image_agrees_with_what_is_known() {
        let size = 8;
        let hole: Vec<bool> = (0..size * size).map(|pixel| pixel % 5 == 0).collect();
        let all = [
            Known::Around { hole: hole.clone() },
            Known::BlockMeans { factor: 4 },
            Known::Grey { colourless: None },
            Known::Grey {
                colourless: Some(hole),
            },
        ];
        let image = Key::new(3).uniforms(3 * size * size);
        for known in all {
            let observed = known.observed([3, size]).unwrap();
            let mut plain = image.clone();
            known.plainest(&mut plain, size);
            assert_ne!(plain, image, "{known:?}");
            let observation = Observation::new(observed.clone(), observed.of(&image), 1).unwrap();
            let mut projected = plain.clone();
            observation.project(&mut projected);
            let off = plain.iter().zip(&projected).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-5, "{known:?}");
        }
    }
}
