//! The class Gaussians of a data set: means, shared principal directions, and the covariance of
//! each class in them (`basin_shared::samplers::ClassGaussian`).

use anyhow::{Context, Result};
use basin_shared::{Key, arrays::Array, samplers::ClassGaussian};
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{Cholesky, DMatrix};

use crate::data::Images;

/// Orthogonal iterations; the directions need not be exact, only to hold most of the variance.
const ITERATIONS: usize = 20;

/// Means μ_y, the `rank` leading directions of the pooled covariance Σ = mean (x − μ_y)(x − μ_y)ᵀ,
/// and the Cholesky factors of each class's covariance in them.
pub(crate) fn class_gaussian(
    images: &Images,
    classes: usize,
    rank: usize,
    device: &Device,
) -> Result<ClassGaussian> {
    let [channels, height, width] = images.shape();
    let dimension = channels * height * width;
    let mut members = vec![Vec::new(); classes];
    for (index, &label) in images.labels().iter().enumerate() {
        members[label as usize].push(index);
    }
    let mut means = Vec::with_capacity(classes * dimension);
    let mut centred = Vec::with_capacity(classes);
    let mut covariance = Tensor::<2>::zeros([dimension, dimension], device);
    for (class, members) in members.iter().enumerate() {
        anyhow::ensure!(
            members.len() > 1,
            "class {class} has {} images, needs 2",
            members.len()
        );
        let x = images.batch(members, device).0.flatten::<2>(1, 3); // [members, dimension]
        let mean = x.clone().mean_dim(0);
        means.extend(mean.clone().into_data().iter::<f32>());
        let x = x - mean;
        covariance = covariance + x.clone().transpose().matmul(x.clone());
        centred.push(x);
    }
    let basis = leading_directions(covariance / images.len() as f32, rank, device); // [dim, rank]
    let mut factors = Vec::with_capacity(classes * rank * rank);
    for (class, x) in centred.into_iter().enumerate() {
        let [members, _] = x.dims();
        let coefficients = x.matmul(basis.clone()); // [members, rank]
        let covariance =
            coefficients.clone().transpose().matmul(coefficients) / (members as f32 - 1.0);
        let covariance = to_matrix(covariance);
        let jitter = DMatrix::identity(rank, rank) * (1e-6 * covariance.trace() / rank as f64);
        let factor = Cholesky::new(covariance + jitter)
            .with_context(|| format!("class {class}: the covariance is not positive definite"))?;
        factors.extend(factor.l().transpose().iter().map(|&v| v as f32)); // row-major
    }
    let image = [channels, height, width];
    let basis: Vec<f32> = basis.transpose().into_data().iter().collect();
    Ok(ClassGaussian {
        mean: Array {
            shape: [&[classes], image.as_slice()].concat(),
            values: means,
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

/// The leading eigenvectors of a symmetric matrix as columns, by orthogonal iteration.
fn leading_directions(matrix: Tensor<2>, rank: usize, device: &Device) -> Tensor<2> {
    let [dimension, _] = matrix.dims();
    let mut directions = Key::new(0).normal([dimension, rank], device);
    for _ in 0..ITERATIONS {
        let q = to_matrix(matrix.clone().matmul(directions)).qr().q();
        let values: Vec<f32> = q.transpose().iter().map(|&v| v as f32).collect();
        directions = Tensor::from_data(TensorData::new(values, [dimension, rank]), device);
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
        let found = to_matrix(leading_directions(matrix, 2, &device));
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
}
