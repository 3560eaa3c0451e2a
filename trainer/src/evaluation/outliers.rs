//! How well a model tells test images from images of elsewhere, by three scores (JEM 5.3, JEM++ 3.3): log p(x) = −E(x)
//! but for a constant, the confidence max p(y | x), and −‖∇E(x)‖, which is large where the mass around x is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use basin_shared::{
    Classifier, Key,
    attacks::Norm,
    energy::{EnergyKind, Marginal, softmax},
    metrics::{Histogram, auc, common_range},
};
use serde_json::{Map, json};

use super::{accuracy::BATCH, candidate::Candidate, measured::Measured};
use crate::{
    data::{self, DataError, DataSet, Images},
    figures::picture::{self, EXTENSIONS},
    tell::Countdown,
};

/// Intervals of a histogram.
const BINS: usize = 50;

/// The scores of some images, all of them higher where a model has seen the like.
#[derive(Default)]
struct Scores {
    /// −E(x)
    density: Vec<f32>,
    /// max p(y | x)
    confidence: Vec<f32>,
    /// −‖∇E(x)‖
    gradient: Vec<f32>,
}

impl Scores {
    fn by_name(&self) -> [(&'static str, &[f32]); 3] {
        [
            ("log_p", &self.density),
            ("max_p", &self.confidence),
            ("gradient_norm", &self.gradient),
        ]
    }
}

pub(crate) fn outliers(candidate: &Candidate, measured: &mut Measured) -> Result<()> {
    let (test, count) = (&candidate.data.test, candidate.images());
    let shape = test.shape();
    let mut sets: Vec<(String, Vec<f32>)> = Vec::new();
    for data_set in &DataSet::OFFICIAL {
        if data_set.shape() != shape || data_set.name() == candidate.file.card.data_set {
            continue;
        }
        let data_dir = candidate.arguments.data.data_dir.as_deref();
        match data::test_images_at_hand(data_set, data_dir) {
            Ok(images) => sets.push((
                data_set.name().into(),
                images.values(0..count.min(images.len())),
            )),
            Err(why) => {
                measured.leave_out(&format!("outliers of {}", data_set.name()), missing(why));
            }
        }
    }
    for folder in &candidate.arguments.outliers {
        match folder_of_pictures(folder, shape, count) {
            Ok(found) => sets.push(found),
            Err(why) => {
                let what = format!("outliers of {}", folder.display());
                measured.leave_out(&what, format!("{why:#}"));
            }
        }
    }
    sets.extend(made_up(test, count, candidate.key("outliers")));

    let size: usize = shape.iter().product();
    let total: usize = sets.iter().map(|(_, x)| x.len() / size).sum();
    let mut countdown = Countdown::of("outliers", count + total);
    let real = scores(
        &candidate.network,
        &test.values(0..count),
        size,
        &mut countdown,
    );
    measured.add("outlier_images", count as f64);
    let mut histograms = Map::new();
    for (name, x) in &sets {
        let found = scores(&candidate.network, x, size, &mut countdown);
        for ((score, inside), (_, outside)) in real.by_name().into_iter().zip(found.by_name()) {
            // What is no number tells nothing.
            measured.add(&format!("auroc_{score}_{name}"), auc(outside, inside));
            let range = common_range(&[inside, outside]);
            let [inside, outside] = [inside, outside].map(|of| Histogram::of(of, range, BINS));
            histograms.insert(
                format!("{score}_{name}"),
                json!({"test": inside, "outliers": outside}),
            );
        }
    }
    measured.detail("outlier_histograms", histograms);
    Ok(())
}

/// Why there are no test images of a data set, in words that fit where nothing is downloaded.
fn missing(why: DataError) -> String {
    match why {
        DataError::Missing {
            file, looked_in, ..
        } => {
            let folders = looked_in.iter().map(|folder| folder.display().to_string());
            format!(
                "no {file} in {}; outliers are not downloaded: put the official file there",
                folders.collect::<Vec<_>>().join(", ")
            )
        }
        other => other.to_string(),
    }
}

/// Images that nobody took: halfway between two test images (the second the one after the first; JEM adds noise to
/// both, here there is none), uniform noise, and images of one colour.
fn made_up(test: &Images, count: usize, key: Key) -> [(String, Vec<f32>); 3] {
    let [uniform_key, constant_key] = key.split();
    let [channels, height, width] = test.shape();
    let after = test.values((0..count).map(|i| (i + 1) % test.len()));
    let between = test.values(0..count).into_iter().zip(after);
    let colours = constant_key.uniforms(count * channels).into_iter();
    [
        (
            "interpolations".into(),
            between.map(|(a, b)| (a + b) / 2.0).collect(),
        ),
        (
            "uniform_noise".into(),
            uniform_key.uniforms(count * channels * height * width),
        ),
        (
            "constant_images".into(),
            colours
                .flat_map(|value| std::iter::repeat_n(value, height * width))
                .collect(),
        ),
    ]
}

/// The name of a folder, and its first pictures in the order of their names, fitted to the model.
fn folder_of_pictures(
    folder: &Path,
    shape: [usize; 3],
    count: usize,
) -> Result<(String, Vec<f32>)> {
    let shown = || folder.display().to_string();
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        if EXTENSIONS.contains(&extension.as_str()) {
            paths.push(path);
        }
    }
    ensure!(
        !paths.is_empty(),
        "{}: no picture there, expected files that end in {}",
        folder.display(),
        EXTENSIONS.join(", ")
    );
    paths.sort();
    paths.truncate(count);
    let name = folder
        .file_name()
        .map_or_else(shown, |name| name.to_string_lossy().into_owned());
    Ok((name, picture::read_all(&paths, shape)?))
}

/// The scores of images of so many numbers each.
fn scores(network: &impl Classifier, x: &[f32], size: usize, countdown: &mut Countdown) -> Scores {
    let mut scores = Scores::default();
    for x in x.chunks(BATCH * size) {
        let batch = x.len() / size;
        let objective = Marginal {
            classes: vec![0; batch],
        };
        let found = network.evaluate(x, batch, &objective);
        let rows = found.logits.chunks_exact(found.logits.len() / batch);
        for (f, gradient) in rows.zip(found.gradient.chunks_exact(size)) {
            let mut p = vec![0.0; f.len()];
            softmax(f, &mut p);
            scores.density.push(-EnergyKind::Marginal.of_logits(f, 0));
            scores
                .confidence
                .push(p.iter().copied().fold(0.0, f32::max));
            scores.gradient.push(-Norm::L2.of(gradient));
        }
        countdown.advance(batch);
    }
    scores
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    #[test]
    fn scores_are_the_energys_and_the_gradients() {
        let network = fixture::network(&Device::flex()).frozen();
        let images = fixture::images();
        let x = images.values(0..3);
        let found = scores(&network, &x, 64, &mut Countdown::of("", 3));
        let logits = network.logits(&x, 3);
        let step = 1e-2;
        for (image, f) in logits.chunks_exact(3).enumerate() {
            let sum: f32 = f.iter().map(|f| f.exp()).sum();
            assert!((found.density[image] - sum.ln()).abs() < 1e-5);
            let most = f.iter().copied().fold(f32::MIN, f32::max);
            assert!((found.confidence[image] - most.exp() / sum).abs() < 1e-5);
            // A step along the gradient changes the energy by its length.
            let x = &x[image * 64..][..64];
            let objective = Marginal { classes: vec![0] };
            let gradient = network.evaluate(x, 1, &objective).gradient;
            let length = -found.gradient[image];
            let at = |by: f32| {
                let moved = x.iter().zip(&gradient).map(|(x, g)| x + by * g / length);
                let moved: Vec<f32> = moved.collect();
                EnergyKind::Marginal.of_logits(&network.logits(&moved, 1), 0)
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((slope - length).abs() < 0.05 * length, "{slope}, {length}");
        }
    }

    #[test]
    fn made_up_images_are_what_they_are_called() {
        let test = fixture::images();
        let [between, noise, constant] = made_up(&test, 8, Key::new(1)).map(|(_, x)| x);
        let (first, last) = (test.values([0]), test.values([7]));
        assert_eq!(between[7 * 64], (last[0] + first[0]) / 2.0);
        assert_eq!([noise.len(), constant.len()], [8 * 64; 2]);
        assert!(
            constant
                .chunks_exact(64)
                .all(|x| x.iter().all(|v| *v == x[0]))
        );
        assert_ne!(constant[0], constant[64]);
    }

    #[test]
    fn a_data_set_that_is_not_there_says_where_it_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let error = data::test_images_at_hand(&DataSet::Svhn, Some(folder.path())).unwrap_err();
        let why = missing(error);
        assert!(
            why.starts_with("no test_32x32.mat in ") && why.contains("not downloaded"),
            "{why}"
        );
    }

    #[test]
    fn an_empty_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let error = folder_of_pictures(folder.path(), [1, 8, 8], 5).unwrap_err();
        assert!(error.to_string().contains("no picture there"), "{error}");
    }
}
