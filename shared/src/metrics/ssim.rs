//! Structural similarity.

/// Side and standard deviation of the window of [`ssim`].
const WINDOW: usize = 11;
const WINDOW_STD: f64 = 1.5;

/// Structural similarity of an image in [0, 1] to another (Wang et al. 2004, "Image quality assessment:
/// from error visibility to structural similarity", eq. 13, with their Gaussian window of 11×11 and
/// constants): the mean over channels and over all places where the window fits, in images smaller than it a window of
/// the largest odd side that does.
pub fn ssim(image: &[f32], reference: &[f32], [_, height, width]: [usize; 3]) -> f64 {
    // An odd number, at most the image's side.
    let window = WINDOW.min((height.min(width) - 1) / 2 * 2 + 1);
    let weight = |i: usize| {
        let distance = i as f64 - (window / 2) as f64;
        (-distance * distance / (2.0 * WINDOW_STD * WINDOW_STD)).exp()
    };
    let total: f64 = (0..window).map(weight).sum();
    let weights: Vec<f64> = (0..window).map(|i| weight(i) / total).collect();
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let (mut sum, mut places) = (0.0, 0);
    let planes = image.chunks_exact(height * width);
    for (x, y) in planes.zip(reference.chunks_exact(height * width)) {
        for row in 0..=height - window {
            for column in 0..=width - window {
                // Weighted sums of x, y, x², y² and xy.
                let mut m = [0.0; 5];
                for i in 0..window {
                    for j in 0..window {
                        let place = (row + i) * width + column + j;
                        let (x, y) = (f64::from(x[place]), f64::from(y[place]));
                        let weight = weights[i] * weights[j];
                        for (m, value) in m.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                            *m += weight * value;
                        }
                    }
                }
                let [mx, my, xx, yy, xy] = m;
                let (vx, vy, vxy) = (xx - mx * mx, yy - my * my, xy - mx * my);
                let luminance = (2.0 * mx * my + c1) / (mx * mx + my * my + c1);
                sum += luminance * (2.0 * vxy + c2) / (vx + vy + c2);
                places += 1;
            }
        }
    }
    sum / f64::from(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tests/reference/ssim.py
    #[test]
    fn similarity_agrees_with_pytorch() {
        let image = |phase: f64| -> Vec<f32> {
            let wave = (0..2 * 13 * 12).map(|i| (1.7 * f64::from(i) + phase).sin());
            wave.map(|v| ((v + 1.0) / 2.0) as f32).collect()
        };
        let (x, y) = (image(0.3), image(1.4));
        let found = ssim(&x, &y, [2, 13, 12]);
        assert!((found - 0.4555552425702964).abs() < 1e-9, "{found}");
        assert!((ssim(&x, &x, [2, 13, 12]) - 1.0).abs() < 1e-12);
        // Images smaller than the window have a smaller one.
        for size in 1..12 {
            let (x, y) = (&x[..size * size], &y[..size * size]);
            assert!((ssim(x, x, [1, size, size]) - 1.0).abs() < 1e-12);
            assert!(ssim(x, y, [1, size, size]) < 1.0, "{size}");
        }
    }
}
