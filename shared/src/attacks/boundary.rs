//! The way to a hyperplane within the pixel range: what FAB takes for the decision boundary (Croce and Hein 2020,
//! "Minimally distorted adversarial examples with a fast adaptive boundary attack", section 2).

use super::Norm;

/// The shortest d under the norm with ⟨w, x + d⟩ = b and x + d in [0, 1], `offset` being ⟨w, x⟩ − b; where the box
/// does not reach the hyperplane, d leads to the corner that is nearest to it.
///
/// Every pixel goes the same way λ (L∞), or one in proportion to |w_i| (L2), until it meets the box. What that gains,
/// Σ |w_i| min(λ m_i, r_i), is concave and piecewise linear in λ, so Newton's method from λ = 0 comes to the solution
/// from below, in as many steps as there are pieces between at most.
pub fn way_to_hyperplane(norm: Norm, x: &[f32], w: &[f32], offset: f64) -> Vec<f32> {
    struct Pixel {
        /// |w_i|
        weight: f64,
        /// How fast it goes.
        pace: f64,
        /// How far it can go.
        room: f64,
    }
    let up = |w: f32| (w > 0.0) == (offset < 0.0);
    let pixel = |(&x, &w): (&f32, &f32)| {
        let weight = f64::from(w.abs());
        Pixel {
            weight,
            pace: match norm {
                Norm::Linf if weight > 0.0 => 1.0,
                Norm::Linf => 0.0,
                Norm::L2 => weight,
            },
            room: f64::from(if up(w) { 1.0 - x } else { x }),
        }
    };
    let pixels: Vec<Pixel> = x.iter().zip(w).map(pixel).collect();
    let wanted = offset.abs();
    let (mut lambda, mut free) = (0.0, usize::MAX);
    loop {
        let (mut gained, mut slope, mut moving) = (0.0, 0.0, 0);
        for Pixel { weight, pace, room } in &pixels {
            if lambda * pace < *room {
                gained += weight * lambda * pace;
                slope += weight * pace;
                moving += 1;
            } else {
                gained += weight * room;
            }
        }
        // The last step ended within the piece that it began in.
        if moving == free {
            break;
        }
        free = moving;
        if slope == 0.0 {
            lambda = f64::INFINITY;
            break;
        }
        lambda += (wanted - gained) / slope;
    }
    let moved = |(pixel, &w): (&Pixel, &f32)| {
        // Of a pixel that does not matter, 0 · ∞ would be no number.
        let far = match pixel.pace == 0.0 {
            true => 0.0,
            false => (lambda * pixel.pace).min(pixel.room),
        };
        (if up(w) { far } else { -far }) as f32
    };
    pixels.iter().zip(w).map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    /// Against bisection of λ, and the equations themselves.
    #[test]
    fn the_way_ends_on_the_hyperplane_and_is_the_shortest() {
        for norm in [Norm::Linf, Norm::L2] {
            for seed in 0..40 {
                let [x_key, w_key, b_key] = Key::new(seed).split();
                let (x, mut w) = (x_key.uniforms(30), w_key.normals(30));
                w[3] = 0.0;
                let offset = f64::from(b_key.normals(1)[0]) * 4.0;
                let d = way_to_hyperplane(norm, &x, &w, offset);
                let gained = |d: &[f32]| -> f64 {
                    let pairs = w.iter().zip(d);
                    pairs.map(|(w, d)| f64::from(*w) * f64::from(*d)).sum()
                };
                assert!((gained(&d) + offset).abs() < 1e-4, "{norm:?}, seed {seed}");
                let inside = |(x, d): (&f32, &f32)| (-1e-6..=1.0 + 1e-6).contains(&(x + d));
                assert!(x.iter().zip(&d).all(inside), "{norm:?}, seed {seed}");
                // A ball a little smaller holds no point of the hyperplane within the box: not even the one
                // that goes farthest towards it.
                let radius = norm.of(&d) * 0.999;
                let far = |lambda: f32| -> Vec<f32> {
                    let along = |(x, w): (&f32, &f32)| {
                        let way = -w * offset.signum() as f32;
                        let way = if norm == Norm::Linf && way != 0.0 {
                            way.signum()
                        } else {
                            way
                        };
                        (lambda * way).clamp(-x, 1.0 - x)
                    };
                    x.iter().zip(&w).map(along).collect()
                };
                let (mut low, mut high) = (0.0, 1e3);
                for _ in 0..60 {
                    let middle = (low + high) / 2.0;
                    match norm.of(&far(middle)) < radius {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                assert!(
                    gained(&far(low)).abs() < offset.abs(),
                    "{norm:?}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn out_of_reach_is_the_corner() {
        for norm in [Norm::Linf, Norm::L2] {
            let d = way_to_hyperplane(norm, &[0.25, 0.5, 0.5], &[1.0, -2.0, 0.0], -100.0);
            assert_eq!(d, [0.75, -0.5, 0.0], "{norm:?}");
        }
    }
}
