//! Random changes to training images that leave their class alone.

use basin_shared::Key;
use serde::{Deserialize, Serialize};

use super::DataError;

/// What is done to each training image, each time anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Augmentation {
    /// A window of the image's size is cut at random from the image padded by this much per side.
    pub crop_padding: usize,
    /// What the padding holds.
    pub padding: Padding,
    /// Whether each image is mirrored left to right with probability 1/2.
    pub flip: bool,
    /// What is cut out of each image, after the above.
    pub cutout: Cutout,
}

/// A square that is painted over (DeVries and Taylor 2017, "Improved Regularization of Convolutional
/// Neural Networks with Cutout").
///
/// Its centre is any pixel with equal chance, so part of it may lie outside the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cutout {
    /// Height and width; 0 is none.
    pub size: usize,
    /// The paint, a value in [0, 1] for each channel. The paper's is zero of normalised images, which
    /// is the data set's mean.
    pub fill: Vec<f32>,
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
    /// Whether images of `shape` (channels, height, width) can be changed so.
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
        let Cutout { size: cut, fill } = &self.cutout;
        let wrong = |name, found, expected| {
            Err(DataError::Setting {
                name,
                found,
                expected,
            })
        };
        if *cut > size {
            let expected = format!("at most {size}, the size of the images");
            return wrong("cutout.size", cut.to_string(), expected);
        }
        let good = fill.iter().all(|value| (0.0..=1.0).contains(value));
        if fill.len() != shape[0] || !good {
            let expected = format!("{} values from 0 to 1, one a channel", shape[0]);
            return wrong("cutout.fill", format!("{fill:?}"), expected);
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
        assert!(
            self.check(shape).is_ok(),
            "{self:?} cannot change {shape:?}"
        );
        let count = pixels.len() / values;
        let crops = key.stream("crops");
        let flips = key.stream("flips");
        let rows = key.stream("rows");
        let columns = key.stream("columns");
        let offsets = crops.integers(2 * count, 2 * self.crop_padding + 1);
        let flips = flips.integers(count, 2);
        let centres = [rows.integers(count, height), columns.integers(count, width)];

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
            let [row, column] = [centres[0][at], centres[1][at]];
            let image = &mut changed[at * values..];
            self.cutout.apply([row, column], image, shape);
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

impl Cutout {
    fn apply(&self, centre: [usize; 2], image: &mut [u8], [_, height, width]: [usize; 3]) {
        // From c − ⌊size / 2⌋ on, inside the image.
        let cut = |centre: usize, length: usize| {
            let before = self.size / 2;
            centre.saturating_sub(before)..(centre + self.size - before).min(length)
        };
        let [rows, columns] = [cut(centre[0], height), cut(centre[1], width)];
        for (channel, &fill) in image.chunks_exact_mut(height * width).zip(&self.fill) {
            let fill = (fill * 255.0).round() as u8;
            for row in rows.clone() {
                channel[row * width..][columns.clone()].fill(fill);
            }
        }
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

    fn no_cutout() -> Cutout {
        Cutout {
            size: 0,
            fill: vec![0.0, 0.0],
        }
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
                    cutout: no_cutout(),
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
            cutout: no_cutout(),
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
            cutout: no_cutout(),
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
                cutout: no_cutout(),
            };
            let result = augmentation.check([2, 28, 28]);
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

    /// A batch of one-coloured images, cut but otherwise as they are.
    fn cut(size: usize, shape: [usize; 3], count: usize) -> Vec<u8> {
        let augmentation = Augmentation {
            crop_padding: 0,
            padding: Padding::Zero,
            flip: false,
            cutout: Cutout {
                size,
                fill: vec![0.2, 0.8],
            },
        };
        let images = vec![1; count * shape.iter().product::<usize>()];
        augmentation.apply(Key::new(7), &images, shape)
    }

    #[test]
    fn a_cut_is_a_rectangle_of_the_fill_in_every_channel() {
        const SHAPE: [usize; 3] = [2, 5, 6];
        for size in 0..=5 {
            let mut seen = [[false; 6]; 5];
            for image in cut(size, SHAPE, 500).chunks(60) {
                let (first, second) = image.split_at(30);
                let is_cut: Vec<bool> = first.iter().map(|&value| value == 51).collect();
                for (at, &cut) in is_cut.iter().enumerate() {
                    let expected = if cut { [51, 204] } else { [1, 1] };
                    assert_eq!([first[at], second[at]], expected, "size {size}");
                    seen[at / 6][at % 6] |= cut;
                }
                let rows: Vec<usize> = (0..5)
                    .filter(|r| is_cut[r * 6..][..6].contains(&true))
                    .collect();
                let columns: Vec<usize> = (0..6)
                    .filter(|c| is_cut.iter().skip(*c).step_by(6).any(|&cut| cut))
                    .collect();
                assert_eq!(
                    is_cut.iter().filter(|&&cut| cut).count(),
                    rows.len() * columns.len(),
                    "size {size}: no rectangle"
                );
                for lines in [&rows, &columns] {
                    let adjacent = lines.windows(2).all(|pair| pair[1] == pair[0] + 1);
                    assert!(adjacent && lines.len() <= size, "size {size}: {lines:?}");
                    // At least the centre and what is before it, or after, is inside.
                    assert!(lines.len() >= size.div_ceil(2), "size {size}: {lines:?}");
                }
            }
            // Every pixel is cut sometimes: the centres are all over the image.
            assert_eq!(seen, [[size > 0; 6]; 5], "size {size}");
        }
    }

    #[test]
    fn the_share_of_pixels_cut_is_that_of_a_clipped_square() {
        // Along an axis of n pixels a window of L reaches a = ⌊L/2⌋ to the left of its centre and
        // b = L − a − 1 to the right. Of the n windows, those near an edge lose 1 + … + a pixels
        // there and 1 + … + b, so the mean share cut is (nL − a(a+1)/2 − b(b+1)/2) / n².
        let share = |n: usize, size: usize| {
            let (a, b) = (size / 2, (size - 1) - size / 2);
            (n * size - a * (a + 1) / 2 - b * (b + 1) / 2) as f64 / (n * n) as f64
        };
        for (size, shape) in [
            (16, [2, 32, 32]),
            (5, [2, 8, 12]),
            (8, [2, 8, 8]),
            (1, [2, 6, 6]),
        ] {
            let [_, height, width] = shape;
            let (count, values) = (20_000, 2 * height * width);
            let cut_share = |image: &[u8]| {
                let plane = &image[..height * width];
                let cut = plane.iter().filter(|&&value| value == 51).count();
                cut as f64 / (height * width) as f64
            };
            let shares: Vec<f64> = cut(size, shape, count)
                .chunks(values)
                .map(cut_share)
                .collect();
            let mean = shares.iter().sum::<f64>() / count as f64;
            let variance = shares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
            let expected = share(height, size) * share(width, size);
            let tolerance = 5.0 * (variance / count as f64).sqrt() + 1e-12;
            assert!(
                (mean - expected).abs() < tolerance,
                "size {size} of {shape:?}: {mean}, expected {expected} within {tolerance}"
            );
        }
    }

    #[test]
    fn cutout_leaves_the_crop_and_the_flip_as_they_are() {
        let with = |size| Augmentation {
            crop_padding: 1,
            padding: Padding::Reflect,
            flip: true,
            cutout: Cutout {
                size,
                fill: vec![0.0, 0.0],
            },
        };
        let batch = image().repeat(50);
        let [plain, cut] = [0, 2].map(|size| with(size).apply(Key::new(3), &batch, SHAPE));
        let pairs = || plain.iter().zip(&cut);
        // No pixel of the images is 0.
        assert!(pairs().all(|(plain, cut)| cut == plain || *cut == 0));
        assert!(pairs().any(|(plain, cut)| cut != plain));
    }

    #[test]
    fn cutout_is_bounded_by_the_image_and_its_channels() {
        for (size, fill, message) in [
            (28, vec![0.5], None),
            (
                29,
                vec![0.5],
                Some("cutout.size is 29, expected at most 28"),
            ),
            (8, vec![], Some("cutout.fill is [], expected 1 values")),
            (8, vec![0.5, 0.5], Some("expected 1 values from 0 to 1")),
            (8, vec![1.5], Some("cutout.fill is [1.5]")),
            (8, vec![f32::NAN], Some("cutout.fill is [NaN]")),
        ] {
            let augmentation = Augmentation {
                crop_padding: 0,
                padding: Padding::Zero,
                flip: false,
                cutout: Cutout { size, fill },
            };
            let result = augmentation
                .check([1, 28, 28])
                .map_err(|error| error.to_string());
            match message {
                None => assert_eq!(result, Ok(())),
                Some(part) => {
                    let error = result.unwrap_err();
                    assert!(error.contains(part), "{error:?} lacks {part:?}");
                }
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let good = r#"{"crop_padding": 4, "padding": "reflect", "flip": true,
            "cutout": {"size": 8, "fill": [0.5]}}"#;
        let parsed: Augmentation = serde_json::from_str(good).unwrap();
        let expected = Augmentation {
            crop_padding: 4,
            padding: Padding::Reflect,
            flip: true,
            cutout: Cutout {
                size: 8,
                fill: vec![0.5],
            },
        };
        assert_eq!(parsed, expected);
        for (from, to) in [
            (r#""flip""#, r#""rotate": 5, "flip""#),
            (r#""size""#, r#""colour": 5, "size""#),
            (r#""size": 8, "#, ""),
        ] {
            let bad = good.replace(from, to);
            assert!(bad != good && serde_json::from_str::<Augmentation>(&bad).is_err());
        }
    }
}
