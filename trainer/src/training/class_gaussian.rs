//! The class Gaussians of a data set: means, shared principal directions, and the covariance of
//! each class in them (`basin_shared::samplers::ClassGaussian`).

use anyhow::{Context, Result, ensure};
use basin_shared::{Key, arrays::Array, samplers::ClassGaussian};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{Cholesky, DMatrix};

use crate::{data::Images, tell::Countdown};

/// Orthogonal iterations; the directions need not be exact, only to hold most of the variance.
const ITERATIONS: usize = 20;
/// Most numbers of the images that are looked at at once: 64 MB of them in single precision.
const AT_ONCE: usize = 1 << 24;
/// Added to the variances along the directions, as a share of their mean and at least so much: a class whose
/// pictures are all the same has none of its own.
const JITTER: [f64; 2] = [1e-6, 1e-12];

/// Means μ_y, the `rank` leading directions of the pooled covariance Σ = mean (x − μ_y)(x − μ_y)ᵀ, and the
/// Cholesky factors of each class's covariance in them. Of fewer images or smaller ones than that there are
/// fewer directions.
///
/// Σ itself, of 9.7 GB for images of 3 × 128 × 128, is never made: it is applied image by image.
///
/// # Errors
/// If a class has no image.
pub(crate) fn class_gaussian(
    images: &Images,
    classes: usize,
    rank: usize,
    device: &Device,
) -> Result<ClassGaussian> {
    let [channels, height, width] = images.shape();
    let dimension = channels * height * width;
    let rank = rank.min(dimension).min(images.len());
    let mut members = vec![Vec::new(); classes];
    for (index, &label) in images.labels().iter().enumerate() {
        members[label as usize].push(index);
    }
    for (class, members) in members.iter().enumerate() {
        ensure!(!members.is_empty(), "class {class} has no image, needs one");
    }
    let at_once = (AT_ONCE / dimension).max(1);
    let parts = |class: usize| members[class].chunks(at_once);
    let read = |part: &[usize]| images.batch(part, device).0.flatten::<2>(1, 3); // [part, dimension]
    let mut means = Vec::with_capacity(classes);
    for (class, members) in members.iter().enumerate() {
        let sums = parts(class).map(|part| read(part).sum_dim(0));
        let sum = sums.reduce(|a, b| a + b).expect("a class has an image");
        means.push(sum / members.len() as f32); // [1, dimension]
    }
    // Σ_class XᵀX q of the centred images X, for each class.
    let pooled = |q: &Tensor<2>| {
        let of_class = |class: usize| {
            let mean = means[class].clone();
            parts(class).map(move |part| {
                let x = read(part) - mean.clone();
                x.clone().transpose().matmul(x.matmul(q.clone()))
            })
        };
        let sum = (0..classes).flat_map(of_class).reduce(|a, b| a + b);
        sum.expect("there is a class") / images.len() as f32
    };
    let basis = leading_directions(pooled, [dimension, rank], device);
    let mut factors = Vec::with_capacity(classes * rank * rank);
    for (class, members) in members.iter().enumerate() {
        let mean = means[class].clone();
        let covariances = parts(class).map(|part| {
            let coefficients = (read(part) - mean.clone()).matmul(basis.clone()); // [part, rank]
            coefficients.clone().transpose().matmul(coefficients)
        });
        let sum = covariances
            .reduce(|a, b| a + b)
            .expect("a class has an image");
        let covariance = to_matrix(sum) / (members.len() as f64 - 1.0).max(1.0);
        let [share, least] = JITTER;
        let jitter = (share * covariance.trace() / rank as f64).max(least);
        let factor = Cholesky::new(covariance + DMatrix::identity(rank, rank) * jitter)
            .with_context(|| format!("class {class}: the covariance is not positive definite"))?;
        factors.extend(factor.l().transpose().iter().map(|&v| v as f32)); // row-major
    }
    let image = [channels, height, width];
    let basis: Vec<f32> = basis.transpose().into_data().iter().collect();
    Ok(ClassGaussian {
        mean: Array {
            shape: [&[classes], image.as_slice()].concat(),
            values: Tensor::cat(means, 0).into_data().iter().collect(),
        },
        basis: Array {
            shape: [&[rank], image.as_slice()].concat(),
            values: basis,
        },
        factor: Array {
            shape: vec![classes, rank, rank],
            values: factors,
        },
    })
}

/// The leading eigenvectors of a symmetric matrix as columns, `[dimension, rank]`, by orthogonal iteration;
/// `multiply` is told what to multiply it by.
fn leading_directions(
    multiply: impl Fn(&Tensor<2>) -> Tensor<2>,
    shape: [usize; 2],
    device: &Device,
) -> Tensor<2> {
    let mut directions = Key::new(0).normal(shape, device);
    let mut countdown = Countdown::of("principal directions, iterations", ITERATIONS);
    for _ in 0..ITERATIONS {
        countdown.advance(1);
        let q = to_matrix(multiply(&directions)).qr().q();
        let values: Vec<f32> = q.transpose().iter().map(|&v| v as f32).collect();
        directions = Tensor::from_data(TensorData::new(values, shape), device);
    }
    directions
}

fn to_matrix(tensor: Tensor<2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, tensor.into_data().iter::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_directions_are_the_eigenvectors() {
        let device = Device::flex();
        // diag(9, 4, 1, 0.1), its axes turned by a Householder reflection I − 2uuᵀ.
        let u = [0.5f32; 4];
        let reflection = |i: usize, j: usize| f32::from(i == j) - 2.0 * u[i] * u[j];
        let values = [9.0, 4.0, 1.0, 0.1];
        let mut entries: Vec<f32> = Vec::new();
        for i in 0..4 {
            for j in 0..4 {
                entries.push(
                    (0..4)
                        .map(|k| reflection(i, k) * values[k] * reflection(j, k))
                        .sum(),
                );
            }
        }
        let matrix = Tensor::from_data(TensorData::new(entries, [4, 4]), &device);
        let multiply = |q: &Tensor<2>| matrix.clone().matmul(q.clone());
        let found = to_matrix(leading_directions(multiply, [4, 2], &device));
        for (column, axis) in [(0, 0), (1, 1)] {
            let cosine: f64 = (0..4)
                .map(|i| found[(i, column)] * reflection(i, axis) as f64)
                .sum();
            assert!(
                (cosine.abs() - 1.0).abs() < 1e-5,
                "direction {column}: cosine {cosine}"
            );
        }
    }

    /// Mean, variance along the directions and their number, of pictures of all kinds.
    #[test]
    fn equal_few_and_small_pictures_have_a_gaussian() {
        let device = Device::flex();
        let gaussian = |pixels: Vec<u8>, labels: Vec<u8>, rank| {
            let images = Images::new(pixels, labels, [1, 2, 2]);
            class_gaussian(&images, 2, rank, &device)
        };
        // A black class, a class of one picture; four pixels have at most four directions.
        let found = gaussian(
            [[0; 12], [255; 12]].concat()[..16].to_vec(),
            vec![0, 0, 0, 1],
            32,
        );
        let found = found.unwrap();
        assert_eq!(found.basis.shape, [4, 1, 2, 2]);
        assert_eq!(found.mean.values, [[0.0; 4], [1.0; 4]].concat());
        let numbers = found.factor.values.iter().chain(&found.basis.values);
        assert!(numbers.clone().all(|value| value.is_finite()));
        assert!(found.factor.values.iter().all(|value| value.abs() < 1e-3));
        let error = gaussian(vec![0; 8], vec![0, 0], 2).unwrap_err().to_string();
        assert_eq!(error, "class 1 has no image, needs one");
        // One class varies along its first pixel, with the variance 2 (0.2)² of its two images.
        let pixels = [[51, 0, 0, 0], [153, 0, 0, 0], [9, 9, 9, 9], [9, 9, 9, 9]].concat();
        let found = gaussian(pixels, vec![0, 0, 1, 1], 1).unwrap();
        assert!((found.basis.values[0].abs() - 1.0).abs() < 1e-5);
        assert!((found.factor.values[0] - 0.08_f32.sqrt()).abs() < 1e-4);
        assert!(found.factor.values[1] < 1e-5);
    }
}
