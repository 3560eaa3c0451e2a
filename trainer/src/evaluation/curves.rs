//! Accuracy under PGD-20 as the radius grows, in L-infinity and L2 (JEM++ Fig. 3).

use basin_shared::attacks::{Budget, Norm};
use serde_json::json;

use super::{
    accuracy, attacked::usual_epsilon, candidate::Candidate, measured::Measured,
    robustness::adversary,
};

/// Radii as multiples of the usual one.
const RADII: [f32; 5] = [0.25, 0.5, 1.0, 1.5, 2.0];
/// The usual radius in L2 of images without colour, for which there is no custom.
const GREY_L2: f32 = 1.5;

/// Each radius is tried on the images that withstood those before it: what fools a model within a ball does so within
/// every larger one.
pub(crate) fn curves(candidate: &Candidate, measured: &mut Measured) {
    let (test, images) = (&candidate.data.test, candidate.images());
    measured.add("curve_images", images as f64);
    let [linf_key, l2_key] = candidate.key("curves").split();
    let l2 = usual_epsilon(Norm::L2, test).unwrap_or(GREY_L2);
    let norms = [
        ("linf", Norm::Linf, candidate.budget().epsilon, linf_key),
        ("l2", Norm::L2, l2, l2_key),
    ];
    for (name, norm, usual, key) in norms {
        let mut left: Vec<usize> = (0..images).collect();
        let mut curve = Vec::new();
        for (place, radius) in RADII.into_iter().enumerate() {
            let epsilon = radius * usual;
            let adversary = adversary(20, Budget { norm, epsilon }, key.fold_in(place as u64));
            let network = &candidate.network;
            left = accuracy::survivors(network, network, test, &left, adversary, candidate.device);
            let accuracy = left.len() as f64 / images as f64;
            measured.add(&format!("curve_{name}_{epsilon:.4}_accuracy"), accuracy);
            curve.push(json!({"epsilon": epsilon, "accuracy": accuracy}));
        }
        measured.detail(&format!("curve_{name}"), curve);
    }
}
