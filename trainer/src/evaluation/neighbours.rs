//! Whether a model draws what it was trained on: the nearest training images of what it draws, by structural similarity
//! and by a judge's features (JEAT Fig. 7, WEAT Fig. J), beside those of test images, which nobody has trained on.

use std::path::Path;

use anyhow::Result;
use basin_shared::{
    metrics::{nearest, ssim},
    tensors::to_host,
};
use serde_json::json;

use super::{candidate::Candidate, measured::Measured};
use crate::{chains, figures::picture::Grid, tell::Countdown};

/// Images drawn of each class.
const OF_CLASS: usize = 2;
/// Neighbours on the sheet.
const SHOWN: usize = 5;
/// The training images nearest in L2, among which the most similar ones are looked for: similarity takes a thousand
/// times as long.
const CANDIDATES: usize = 200;

/// The nearest training images of one image: places and figures, the nearest first.
struct Neighbours {
    by_similarity: Vec<(usize, f32)>,
    by_features: Vec<(usize, f32)>,
}

/// Draws images of each class by the card's settings, and writes a sheet where one is asked for: in each row a drawn
/// image, its most similar training images, and with a judge those of the nearest features.
pub(crate) fn neighbours(
    candidate: &Candidate,
    sheet: Option<&Path>,
    measured: &mut Measured,
) -> Result<()> {
    let (train, test) = (&candidate.data.train, &candidate.data.test);
    let drawn = draw(candidate);
    let size: usize = train.shape().iter().product();
    let images = drawn.len() / size;
    let real = test.values(0..images.min(test.len()));
    let pixels = train.values(0..train.len());
    let features = candidate.judge.as_ref().map(|judge| {
        let mut countdown = Countdown::of("training images, by the judge", train.len());
        let mut features = Vec::new();
        for x in pixels.chunks(1_000 * size) {
            features.extend(judge.look(x).features);
            countdown.advance(x.len() / size);
        }
        (judge, features)
    });
    if features.is_none() {
        measured.leave_out("nearest training images by features", "there is no --judge");
    }
    let mut countdown = Countdown::of("nearest training images", 2 * images);
    let mut of = |x: &[f32]| -> Vec<Neighbours> {
        let rows = x.chunks_exact(size).map(|x| {
            countdown.advance(1);
            Neighbours {
                by_similarity: similar(x, &pixels, train.shape()),
                by_features: features
                    .as_ref()
                    .map_or_else(Vec::new, |(judge, features)| {
                        nearest(&judge.look(x).features, features, SHOWN)
                    }),
            }
        });
        rows.collect()
    };
    let [of_drawn, of_real] = [of(&drawn), of(&real)];
    measured.add("neighbours_images", images as f64);
    for (name, found) in [("generated", &of_drawn), ("test", &of_real)] {
        let mean = |of: fn(&Neighbours) -> &[(usize, f32)]| {
            let first = found.iter().filter_map(|found| of(found).first());
            let values: Vec<f64> = first.map(|(_, value)| f64::from(*value)).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        measured.add(
            &format!("nearest_ssim_{name}"),
            mean(|of| &of.by_similarity),
        );
        if features.is_some() {
            let distance = mean(|of| &of.by_features);
            measured.add(&format!("nearest_feature_distance_{name}"), distance);
        }
    }
    let places = |found: &[(usize, f32)]| -> Vec<usize> { found.iter().map(|(i, _)| *i).collect() };
    let rows = of_drawn.iter().map(|row| {
        json!({"by_ssim": places(&row.by_similarity), "by_features": places(&row.by_features)})
    });
    measured.detail("nearest_training_images", rows.collect::<Vec<_>>());
    let Some(path) = sheet else {
        return Ok(());
    };
    let mut values = Vec::new();
    for (row, x) in of_drawn.iter().zip(drawn.chunks_exact(size)) {
        values.extend_from_slice(x);
        let shown = row.by_similarity.iter().chain(&row.by_features);
        values.extend(train.values(shown.map(|(i, _)| *i)));
    }
    let grid = Grid {
        columns: values.len() / size / images,
        scale: 3,
        gap: 2,
    };
    grid.write(path, &values, train.shape())?;
    Ok(())
}

/// Images of each class by the card's settings, `[images, channels, height, width]`.
fn draw(candidate: &Candidate) -> Vec<f32> {
    let settings = &candidate.file.card.generation;
    let classes = 0..candidate.classes();
    let y: Vec<u8> = classes.flat_map(|class| [class as u8; OF_CLASS]).collect();
    let mut countdown = Countdown::of("drawing, steps", settings.steps);
    let drawn = chains::draw(
        candidate.file,
        &candidate.network,
        settings,
        &y,
        candidate.key("neighbours"),
        candidate.device,
        |_| countdown.advance(1),
    );
    to_host(drawn)
}

/// The most similar training images, of those nearest in L2.
fn similar(x: &[f32], train: &[f32], shape: [usize; 3]) -> Vec<(usize, f32)> {
    let near = nearest(x, train, CANDIDATES).into_iter();
    let similarity = |i: usize| ssim(x, &train[i * x.len()..][..x.len()], shape) as f32;
    let mut found: Vec<(usize, f32)> = near.map(|(i, _)| (i, similarity(i))).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(SHOWN);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::fixture;

    #[test]
    fn an_image_of_the_training_set_is_its_own_neighbour() {
        let train = fixture::images();
        let pixels = train.values(0..train.len());
        for i in 0..train.len() {
            let found = similar(&train.values([i]), &pixels, train.shape());
            assert_eq!(found.len(), SHOWN);
            assert_eq!(found[0].0, i);
            assert!((found[0].1 - 1.0).abs() < 1e-6 && found[1].1 < 0.9);
        }
    }
}
