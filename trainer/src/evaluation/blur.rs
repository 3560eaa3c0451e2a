//! A Gaussian blur, which any denoiser must beat.

use image::{ImageBuffer, Luma, imageops};

use basin_shared::metrics::{mean, psnr};

/// Widths that are tried, in pixels.
const WIDTHS: [f32; 20] = [
    0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8,
    2.0, 2.5,
];

/// Images, `[count, channels, height, width]`, blurred by a Gaussian of this standard deviation.
pub(crate) fn blur(x: &[f32], [_, height, width]: [usize; 3], std: f32) -> Vec<f32> {
    let planes = x.chunks_exact(height * width);
    planes
        .flat_map(|plane| {
            let plane = ImageBuffer::from_raw(width as u32, height as u32, plane.to_vec());
            let plane: ImageBuffer<Luma<f32>, _> = plane.expect("as many numbers as pixels");
            imageops::blur(&plane, std).into_raw()
        })
        .collect()
}

/// The width whose blur brings noisy images nearest to the clean ones.
pub(crate) fn best_width(noisy: &[f32], clean: &[f32], shape: [usize; 3]) -> f32 {
    let image = shape.iter().product();
    let quality = |&std: &f32| {
        let blurred = blur(noisy, shape, std);
        let pairs = blurred.chunks_exact(image).zip(clean.chunks_exact(image));
        mean(&pairs.map(|(a, b)| psnr(a, b) as f32).collect::<Vec<_>>())
    };
    let best = WIDTHS
        .into_iter()
        .map(|std| (std, quality(&std)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(WIDTHS[0], |(std, _)| std)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point becomes a Gaussian, and grey stays grey up to its borders.
    #[test]
    fn a_point_becomes_a_gaussian() {
        let mut point = vec![0.0; 2 * 15 * 15];
        point[7 * 15 + 7] = 1.0;
        point[225..].fill(0.5);
        let blurred = blur(&point, [2, 15, 15], 1.0);
        let at = |i: usize, j: usize| blurred[i * 15 + j];
        let ratio = |d: f32| (-d * d / 2.0).exp();
        assert!((at(7, 8) / at(7, 7) - ratio(1.0)).abs() < 0.02);
        assert!((at(9, 7) / at(7, 7) - ratio(2.0)).abs() < 0.02);
        assert!(blurred[225..].iter().all(|v| (v - 0.5).abs() < 1e-4));
    }

    #[test]
    fn the_best_width_of_what_is_clean_is_the_least() {
        let clean: Vec<f32> = (0..256).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
        assert_eq!(best_width(&clean, &clean, [1, 16, 16]), WIDTHS[0]);
    }
}
