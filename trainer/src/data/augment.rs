//! Random changes to training images that leave their class alone.

use basin_shared::Key;
use serde::{Deserialize, Serialize};

use super::DataError;

/// What is done to each training image, each time anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Augmentation {
    /// A window of the image's size is cut at random from the image padded by this much per side.
    pub crop_padding: usize,
    /// What the padding holds.
    pub padding: Padding,
    /// Whether each image is mirrored left to right with probability 1/2.
    pub flip: bool,
}

/// What lies beyond the edge of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Padding {
    /// Black.
    Zero,
    /// The image mirrored in its outermost row or column, which is not repeated.
    Reflect,
}

impl Augmentation {
    /// Whether images of `shape` (channels, height, width) can be padded so.
    pub(crate) fn check(&self, shape: [usize; 3]) -> Result<(), DataError> {
        let size = shape[1].min(shape[2]);
        // A window beside the image shows nothing; a reflection has size - 1 pixels to show.
        let most = match self.padding {
            Padding::Zero => size,
            Padding::Reflect => size - 1,
        };
        if self.crop_padding > most {
            return Err(DataError::CropPadding {
                found: self.crop_padding,
                most,
                size,
            });
        }
        Ok(())
    }

    /// The changed images. What happens to an image depends on `key` and its place in the batch.
    ///
    /// `pixels` holds images of `shape` (channels, height, width) one after another.
    pub(crate) fn apply(&self, key: Key, pixels: &[u8], shape: [usize; 3]) -> Vec<u8> {
        let [channels, height, width] = shape;
        let values = channels * height * width;
        assert!(
            pixels.len().is_multiple_of(values),
            "{} values of {shape:?}",
            pixels.len()
        );
        assert!(self.check(shape).is_ok(), "{self:?} cannot pad {shape:?}");
        let count = pixels.len() / values;
        let [crops, flips] = key.split();
        let offsets = crops.integers(2 * count, 2 * self.crop_padding + 1);
        let flips = flips.integers(count, 2);

        let mut changed = Vec::with_capacity(pixels.len());
        for (at, image) in pixels.chunks_exact(values).enumerate() {
            let mirror = self.flip && flips[at] == 1;
            let rows = self.sources(height, offsets[2 * at], false);
            let columns = self.sources(width, offsets[2 * at + 1], mirror);
            for channel in image.chunks_exact(height * width) {
                for &row in &rows {
                    changed.extend(columns.iter().map(|&column| match (row, column) {
                        (Some(row), Some(column)) => channel[row * width + column],
                        _ => 0,
                    }));
                }
            }
        }
        changed
    }

    /// For each place along an axis of the window, the place in the image that it shows; none
    /// where it shows black.
    fn sources(&self, size: usize, offset: usize, mirror: bool) -> Vec<Option<usize>> {
        let source = |place: usize| {
            let place = (if mirror { size - 1 - place } else { place } + offset) as isize
                - self.crop_padding as isize;
            let last = size as isize - 1;
            match self.padding {
                _ if (0..=last).contains(&place) => Some(place as usize),
                Padding::Zero => None,
                Padding::Reflect if place < 0 => Some(-place as usize),
                Padding::Reflect => Some((2 * last - place) as usize),
            }
        };
        (0..size).map(source).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 3, 4];

    /// Distinct values, none of them 0.
    fn image() -> Vec<u8> {
        (1..=24).collect()
    }

    /// The window of the padded image, written as the definition reads.
    fn cropped(image: &[u8], padding: Padding, p: isize, [top, left]: [isize; 2]) -> Vec<u8> {
        let [channels, height, width] = SHAPE.map(|size| size as isize);
        let reflect = |i: isize, size: isize| {
            if i < 0 {
                -i
            } else if i >= size {
                2 * (size - 1) - i
            } else {
                i
            }
        };
        let mut window = Vec::new();
        for channel in 0..channels {
            for row in 0..height {
                for column in 0..width {
                    let (mut i, mut j) = (row + top - p, column + left - p);
                    if padding == Padding::Reflect {
                        (i, j) = (reflect(i, height), reflect(j, width));
                    }
                    let inside = (0..height).contains(&i) && (0..width).contains(&j);
                    let at = channel * height * width + i * width + j;
                    window.push(if inside { image[at as usize] } else { 0 });
                }
            }
        }
        window
    }

    fn flipped(image: &[u8]) -> Vec<u8> {
        image
            .chunks_exact(SHAPE[2])
            .flat_map(|row| row.iter().rev())
            .copied()
            .collect()
    }

    #[test]
    fn images_become_each_window_flipped_or_not_and_nothing_else() {
        for padding in [Padding::Zero, Padding::Reflect] {
            for (p, flip) in [(0, false), (0, true), (1, false), (2, true)] {
                let mut expected = Vec::new();
                for top in 0..=2 * p {
                    for left in 0..=2 * p {
                        let window = cropped(&image(), padding, p, [top, left]);
                        if flip {
                            expected.push(flipped(&window));
                        }
                        expected.push(window);
                    }
                }
                expected.sort();
                expected.dedup();
                let augmentation = Augmentation {
                    crop_padding: p as usize,
                    padding,
                    flip,
                };
                // With 50 cases the chance that 2,000 images miss one is 50 (1 - 1/50)^2000 < 1e-15.
                let batch = image().repeat(2_000);
                let changed = augmentation.apply(Key::new(4), &batch, SHAPE);
                let mut seen: Vec<Vec<u8>> = changed.chunks(24).map(<[u8]>::to_vec).collect();
                seen.sort();
                seen.dedup();
                assert_eq!(seen, expected, "{augmentation:?}");
            }
        }
    }

    #[test]
    fn flips_are_even() {
        let augmentation = Augmentation {
            crop_padding: 0,
            padding: Padding::Zero,
            flip: true,
        };
        let count = 10_000;
        let changed = augmentation.apply(Key::new(9), &image().repeat(count), SHAPE);
        let flips = changed
            .chunks(24)
            .filter(|&changed| changed != image())
            .count() as f64;
        let standard_error = (count as f64 / 4.0).sqrt();
        assert!(
            (flips - count as f64 / 2.0).abs() < 5.0 * standard_error,
            "{flips} flips"
        );
    }

    #[test]
    fn the_key_decides() {
        let augmentation = Augmentation {
            crop_padding: 2,
            padding: Padding::Reflect,
            flip: true,
        };
        let batch = image().repeat(8);
        let of_seed = |seed| augmentation.apply(Key::new(seed), &batch, SHAPE);
        assert_eq!(of_seed(1), of_seed(1));
        assert_ne!(of_seed(1), of_seed(2));
    }

    #[test]
    fn padding_is_bounded_by_the_image() {
        for (padding, crop_padding, passes) in [
            (Padding::Zero, 28, true),
            (Padding::Zero, 29, false),
            (Padding::Reflect, 27, true),
            (Padding::Reflect, 28, false),
        ] {
            let augmentation = Augmentation {
                crop_padding,
                padding,
                flip: false,
            };
            let result = augmentation.check([1, 28, 28]);
            assert_eq!(result.is_ok(), passes, "{augmentation:?}");
            if let Err(error) = result {
                assert!(
                    error
                        .to_string()
                        .contains(&format!("crop_padding is {crop_padding}"))
                );
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let good = r#"{"crop_padding": 4, "padding": "reflect", "flip": true}"#;
        let parsed: Augmentation = serde_json::from_str(good).unwrap();
        assert_eq!(
            (parsed.crop_padding, parsed.padding, parsed.flip),
            (4, Padding::Reflect, true)
        );
        let unknown = r#"{"crop_padding": 4, "padding": "zero", "flip": true, "rotate": 5}"#;
        assert!(serde_json::from_str::<Augmentation>(unknown).is_err());
    }
}
