//! What is known of an image that is to be restored: some of its pixels, the means of its blocks, its grey
//! values; a linear observation whose rows are orthonormal and share no number of the image.

use std::sync::Arc;

/// Luma of red, green and blue (ITU-R BT.601).
pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Which sums of an image's numbers are known: the rows of an orthonormal matrix whose supports are
/// disjoint. P = AᵀA is then the projection on what is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The row that each number of an image is in, `[channels, height, width]`; none where nothing
    /// is known of it.
    rows: Vec<Option<u32>>,
    /// Its weight there; 0 where it is in none.
    weights: Vec<f32>,
    /// How many rows there are.
    rank: usize,
}

/// What is known of the images of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    observed: Arc<Observed>,
    /// A x of each image, `[batch, rank]`.
    values: Vec<f32>,
}

/// Why nothing can be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum ObservationError {
    #[error(
        "the mask has {found} pixels, expected {expected} of {size}×{size}, one for each of the image's"
    )]
    MaskSize {
        found: usize,
        expected: usize,
        size: usize,
    },
    #[error("the mask is empty: no pixel is to be filled in; expected at least one")]
    NothingToFill,
    #[error(
        "the mask covers the whole image: nothing is known; expected at least one pixel outside of it"
    )]
    NothingKnown,
    #[error(
        "an enlargement by {factor} of images of {size}×{size}: expected a factor from 2 to {size} that divides {size}"
    )]
    Factor { factor: usize, size: usize },
    #[error(
        "images of {channels} channel have no colour to find; expected a model of colour images, with 3 channels"
    )]
    NoColour { channels: usize },
    #[error("{found} known values, expected {expected} for each image of the batch")]
    Values { found: usize, expected: usize },
}

impl Observed {
    /// All but the pixels of a hole, `[size, size]`.
    ///
    /// # Errors
    /// If the hole is of another size, empty, or everywhere.
    pub fn around([channels, size]: [usize; 2], hole: &[bool]) -> Result<Self, ObservationError> {
        check_mask(hole, size)?;
        if hole.iter().all(|&inside| inside) {
            return Err(ObservationError::NothingKnown);
        }
        let rows = (0..channels * size * size)
            .map(|number| (!hole[number % (size * size)]).then_some(1.0));
        Ok(Self::alone(rows.collect()))
    }

    /// The means of blocks of `factor` × `factor` pixels in each channel: what a smaller picture says.
    ///
    /// # Errors
    /// If the factor does not divide the size.
    pub fn block_means(
        [channels, size]: [usize; 2],
        factor: usize,
    ) -> Result<Self, ObservationError> {
        if factor < 2 || factor > size || !size.is_multiple_of(factor) {
            return Err(ObservationError::Factor { factor, size });
        }
        let side = size / factor;
        let row = |number: usize| {
            let (channel, pixel) = (number / (size * size), number % (size * size));
            let (i, j) = (pixel / size / factor, pixel % size / factor);
            Some(((channel * side + i) * side + j) as u32)
        };
        let numbers = channels * size * size;
        Ok(Self {
            rows: (0..numbers).map(row).collect(),
            weights: vec![1.0 / factor as f32; numbers],
            rank: channels * side * side,
        })
    }

    /// The luma of each pixel; and all of its colour outside of `colourless`, `[size, size]`, where one is
    /// given.
    ///
    /// # Errors
    /// If images have no colour, or `colourless` is of another size or empty.
    pub fn grey(
        [channels, size]: [usize; 2],
        colourless: Option<&[bool]>,
    ) -> Result<Self, ObservationError> {
        if channels != LUMA.len() {
            return Err(ObservationError::NoColour { channels });
        }
        let pixels = size * size;
        if let Some(mask) = colourless {
            check_mask(mask, size)?;
        }
        let is_grey = |pixel: usize| colourless.is_none_or(|mask| mask[pixel]);
        let norm = LUMA.iter().map(|w| w * w).sum::<f32>().sqrt();
        let mut rank = 0;
        let (mut rows, mut weights) = (vec![None; channels * pixels], vec![0.0; channels * pixels]);
        for pixel in 0..pixels {
            for (channel, luma) in LUMA.into_iter().enumerate() {
                let number = channel * pixels + pixel;
                rows[number] = Some(rank as u32);
                weights[number] = if is_grey(pixel) { luma / norm } else { 1.0 };
                if !is_grey(pixel) || channel + 1 == channels {
                    rank += 1;
                }
            }
        }
        Ok(Self {
            rows,
            weights,
            rank,
        })
    }

    /// A row for each number that is known, with this weight.
    fn alone(known: Vec<Option<f32>>) -> Self {
        let mut rank = 0;
        let rows = known.iter().map(|weight| {
            weight.map(|_| {
                rank += 1;
                rank - 1
            })
        });
        Self {
            rows: rows.collect(),
            weights: known.iter().map(|weight| weight.unwrap_or(0.0)).collect(),
            rank: rank as usize,
        }
    }

    /// How many sums are known.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Numbers of an image.
    pub fn numbers(&self) -> usize {
        self.rows.len()
    }

    /// A x of each of some images.
    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        let images = x.chunks_exact(self.numbers());
        images.flat_map(|x| self.sums(x)).collect()
    }

    /// A x of one image.
    fn sums(&self, x: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.rank];
        for ((row, weight), x) in self.rows.iter().zip(&self.weights).zip(x) {
            if let Some(row) = row {
                sums[*row as usize] += weight * x;
            }
        }
        sums
    }

    /// Aᵀ v, an image.
    fn spread(&self, values: &[f32]) -> impl Iterator<Item = f32> {
        let each = self.rows.iter().zip(&self.weights);
        each.map(|(row, weight)| row.map_or(0.0, |row| weight * values[row as usize]))
    }
}

/// Fills the `hole` of one channel, `[size, size]`, as smoothly as its surroundings allow: each pixel in it
/// becomes the mean of its neighbours (the discrete Laplace equation, by successive over-relaxation).
///
/// A model decides what is coarse while noise hides what is known; this guess says it before.
///
/// # Panics
/// If the lengths do not agree.
pub fn fill_smoothly(channel: &mut [f32], hole: &[bool], size: usize) {
    const RELAXATION: f32 = 1.8;
    const TOLERANCE: f32 = 1e-3;
    assert_eq!((channel.len(), hole.len()), (size * size, size * size));
    let (known, pixels) = channel
        .iter()
        .zip(hole)
        .filter(|(_, inside)| !**inside)
        .fold((0.0, 0), |(sum, count), (x, _)| (sum + x, count + 1));
    for (x, _) in channel.iter_mut().zip(hole).filter(|(_, inside)| **inside) {
        *x = known / pixels.max(1) as f32;
    }
    for _ in 0..size * size {
        let mut largest = 0.0f32;
        for pixel in (0..size * size).filter(|&pixel| hole[pixel]) {
            let (row, column) = (pixel / size, pixel % size);
            let neighbours = [
                (row > 0).then(|| pixel - size),
                (row + 1 < size).then_some(pixel + size),
                (column > 0).then(|| pixel - 1),
                (column + 1 < size).then_some(pixel + 1),
            ];
            let neighbours = neighbours.into_iter().flatten();
            let (sum, count) =
                neighbours.fold((0.0, 0), |(sum, count), n| (sum + channel[n], count + 1));
            let change = RELAXATION * (sum / count as f32 - channel[pixel]);
            channel[pixel] += change;
            largest = largest.max(change.abs());
        }
        if largest < TOLERANCE {
            break;
        }
    }
}

fn check_mask(mask: &[bool], size: usize) -> Result<(), ObservationError> {
    let (found, expected) = (mask.len(), size * size);
    if found != expected {
        return Err(ObservationError::MaskSize {
            found,
            expected,
            size,
        });
    }
    match mask.iter().any(|&inside| inside) {
        true => Ok(()),
        false => Err(ObservationError::NothingToFill),
    }
}

impl Observation {
    /// These sums have these values, `[batch, rank]`.
    ///
    /// # Errors
    /// If there is another number of values.
    pub fn new(
        observed: Observed,
        values: Vec<f32>,
        batch: usize,
    ) -> Result<Self, ObservationError> {
        let (found, expected) = (values.len(), batch * observed.rank);
        if found != expected {
            return Err(ObservationError::Values { found, expected });
        }
        Ok(Self {
            observed: Arc::new(observed),
            values,
        })
    }

    /// What is observed.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// f = (I − P) f + (obs − P x) of image `image` of the batch, and σ, the deviation of its noise; see
    /// [`super::by_distance`]. `factor` is c for a σ.
    pub(super) fn step(
        &self,
        image: usize,
        x: &[f32],
        gradient: &[f32],
        factor: impl Fn(f32) -> f32,
    ) -> (Vec<f32>, f32) {
        let Observed { rank, .. } = *self.observed;
        let known = self.observed.sums(x);
        let values = &self.values[image * rank..][..rank];
        let missing: Vec<f32> = values.iter().zip(known).map(|(v, k)| v - k).collect();
        let square: f32 = missing.iter().map(|n| n * n).sum();
        let std = (square / rank as f32).sqrt();
        let factor = factor(std);
        let along = self.observed.sums(gradient);
        let (missing, along) = (self.observed.spread(&missing), self.observed.spread(&along));
        let each = gradient.iter().zip(missing).zip(along);
        let step = each.map(|((g, missing), along)| missing - factor * (g - along));
        (step.collect(), std)
    }

    /// The images whose known sums have the values observed and which are nearest to `x`: x + Aᵀ (v − A x).
    pub fn project(&self, x: &mut [f32]) {
        let Observed { rank, .. } = *self.observed;
        let size = self.observed.numbers();
        for (x, values) in x.chunks_exact_mut(size).zip(self.values.chunks_exact(rank)) {
            let known = self.observed.sums(x);
            let missing: Vec<f32> = values.iter().zip(known).map(|(v, k)| v - k).collect();
            for (x, missing) in x.iter_mut().zip(self.observed.spread(&missing)) {
                *x += missing;
            }
        }
    }

    /// As the device has it: of each row, where its numbers begin; the numbers row after row; of each
    /// number, its row, or `u32::MAX`; its weight; and the values.
    pub fn words(&self) -> Vec<u32> {
        let Observed {
            rows,
            weights,
            rank,
        } = &*self.observed;
        let mut members = vec![Vec::new(); *rank];
        for (number, row) in rows.iter().enumerate() {
            if let Some(row) = row {
                members[*row as usize].push(number as u32);
            }
        }
        let mut begin = 0;
        let begins = members.iter().map(|members| {
            begin += members.len() as u32;
            begin
        });
        [0].into_iter()
            .chain(begins)
            .chain(rows.iter().map(|row| row.unwrap_or(u32::MAX)))
            .chain(weights.iter().map(|weight| weight.to_bits()))
            .chain(self.values.iter().map(|value| value.to_bits()))
            .chain(members.concat())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn all() -> Vec<Observed> {
        let hole: Vec<bool> = (0..16).map(|pixel| pixel % 3 == 0).collect();
        vec![
            Observed::around([3, 4], &hole).unwrap(),
            Observed::block_means([3, 4], 2).unwrap(),
            Observed::grey([3, 4], None).unwrap(),
            Observed::grey([3, 4], Some(&hole)).unwrap(),
        ]
    }

    /// A Aᵀ = I: what is projected stays what it is, and has the values observed.
    /// In a plane the smoothest guess of a hole is the plane.
    #[test]
    fn a_hole_in_a_slope_is_filled_by_the_slope() {
        let size = 16;
        let slope =
            |pixel: usize| 0.2 + 0.03 * (pixel / size) as f32 + 0.01 * (pixel % size) as f32;
        let inside = |at: usize| (4..12).contains(&at);
        let hole: Vec<bool> = (0..size * size)
            .map(|pixel| inside(pixel / size) && inside(pixel % size))
            .collect();
        let mut channel: Vec<f32> = (0..size * size).map(slope).collect();
        for (x, _) in channel.iter_mut().zip(&hole).filter(|(_, inside)| **inside) {
            *x = 0.0;
        }
        fill_smoothly(&mut channel, &hole, size);
        for (pixel, x) in channel.iter().enumerate() {
            assert!((x - slope(pixel)).abs() < 0.005, "pixel {pixel}: {x}");
        }
    }

    #[test]
    fn rows_are_orthonormal() {
        for (observed, rank) in all().into_iter().zip([30, 12, 16, 36]) {
            assert_eq!(observed.rank(), rank);
            let values = Key::new(1).normals(2 * rank);
            let observation = Observation::new(observed, values.clone(), 2).unwrap();
            let mut x = Key::new(2).uniforms(96);
            observation.project(&mut x);
            let near = |found: &[f32], expected: &[f32]| {
                for (a, b) in found.iter().zip(expected) {
                    assert!((a - b).abs() < 1e-5, "{a} where {b} was expected");
                }
            };
            near(&observation.observed().of(&x), &values);
            let again = x.clone();
            observation.project(&mut x);
            near(&x, &again);
        }
    }

    #[test]
    fn block_means_and_luma_are_what_they_are_called() {
        let x: Vec<f32> = (0..48).map(|n| n as f32).collect();
        // A mean is half of its row's sum of four halves.
        let means = Observed::block_means([3, 4], 2).unwrap().of(&x);
        assert_eq!(means[0] / 2.0, (0.0 + 1.0 + 4.0 + 5.0) / 4.0);
        assert_eq!(means[11] / 2.0, (42.0 + 43.0 + 46.0 + 47.0) / 4.0);
        let grey = Observed::grey([3, 4], None).unwrap().of(&x);
        let norm = LUMA.iter().map(|w| w * w).sum::<f32>().sqrt();
        let luma = 0.299 * 5.0 + 0.587 * 21.0 + 0.114 * 37.0;
        assert!((grey[5] * norm - luma).abs() < 1e-4);
    }

    /// The part that is known is led to its values, the rest against the gradient.
    #[test]
    fn a_step_is_split_as_in_algorithm_2() {
        for observed in all() {
            let clean = Key::new(3).uniforms(48);
            let values = observed.of(&clean);
            let noise = Key::new(4).normals(48);
            let x: Vec<f32> = clean.iter().zip(noise).map(|(x, n)| x + 0.1 * n).collect();
            let gradient = Key::new(5).normals(48);
            let observation = Observation::new(observed, values.clone(), 1).unwrap();
            let (step, std) = observation.step(0, &x, &gradient, |std| 20.0 * std);
            assert!((0.05..0.2).contains(&std), "{std}");
            let observed = observation.observed();
            let moved: Vec<f32> = x.iter().zip(&step).map(|(x, f)| x + f).collect();
            for (a, b) in observed.of(&moved).iter().zip(&values) {
                assert!((a - b).abs() < 1e-5, "{a} where {b} was expected");
            }
            // Across what is known, it is −20 σ times the gradient across it.
            let across = |x: &[f32]| {
                let along: Vec<f32> = observed.spread(&observed.of(x)).collect();
                x.iter().zip(along).map(|(x, a)| x - a).collect::<Vec<_>>()
            };
            for (f, g) in across(&step).into_iter().zip(across(&gradient)) {
                assert!((f + 20.0 * std * g).abs() < 1e-4, "{f} against {g}");
            }
        }
    }

    #[test]
    fn what_cannot_be_observed_is_said() {
        let shape = [3, 4];
        let said = |found: Result<Observed, ObservationError>| found.unwrap_err().to_string();
        assert_eq!(
            said(Observed::around(shape, &[true; 15])),
            "the mask has 15 pixels, expected 16 of 4×4, one for each of the image's"
        );
        assert!(said(Observed::around(shape, &[false; 16])).starts_with("the mask is empty"));
        assert!(said(Observed::around(shape, &[true; 16])).starts_with("the mask covers"));
        for factor in [0, 1, 3, 8] {
            let said = said(Observed::block_means(shape, factor));
            assert!(said.contains("divides 4"), "{said}");
        }
        assert!(said(Observed::grey([1, 4], None)).contains("3 channels"));
        let values = Observation::new(Observed::grey(shape, None).unwrap(), vec![0.0; 5], 1);
        assert_eq!(
            values.unwrap_err().to_string(),
            "5 known values, expected 16 for each image of the batch"
        );
    }
}
