//! The Inception network of TensorFlow's FID (Szegedy et al. 2016, "Rethinking the Inception architecture for computer
//! vision"; its weights of 2015 by Heusel et al. 2017), by whose features FID and KID are defined, and by whose
//! probabilities the Inception score is.
//!
//! It differs from the network that people know by that name: zeros around an image do not count in averages, the last
//! block has a maximum in the place of an average, and images are enlarged as TensorFlow 1 did. Tensors have the names
//! that torch-fidelity gives them.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use basin_shared::{
    arrays::{Array, Weights},
    file::container::{OtherFile, decode},
    tensors::{from_host, to_host},
};
use burn::tensor::{
    Device, Tensor,
    module::{avg_pool2d, conv2d, max_pool2d},
    ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions},
};
use safetensors::SafeTensors;

use crate::tell::Countdown;

/// What to do where there are no weights.
pub(crate) const HOW_TO_GET: &str = "they are of the Inception network of TensorFlow's FID, whose weights are not here; \
     torch-fidelity has them as weights-inception-2015-12-05-6726825d.pth: make a safetensors file of it in Python by \
     safetensors.torch.save_file(torch.load(path), output), and give it as --inception. What a judge's features say bears \
     other names";

/// Height and width of an image that the network sees.
const SIZE: usize = 299;
/// Images in one pass.
const BATCH: usize = 8;
/// Numbers of an image's features, those of its logits, and what keeps BatchNorm from dividing by zero.
pub(crate) const FEATURES: usize = 2048;
pub(crate) const CLASSES: usize = 1008;
const BATCH_NORM_EPSILON: f64 = 1e-3;

/// The network, in evaluation mode, with BatchNorm folded into the convolutions before it.
pub(crate) struct Inception {
    /// Weight, `[outputs, inputs, height, width]`, and bias, by name.
    convolutions: BTreeMap<String, (Tensor<4>, Tensor<1>)>,
    /// `[features, classes]`
    head: Tensor<2>,
    device: Device,
}

/// What the network sees in images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InceptionSeen {
    /// `[images, FEATURES]`
    pub features: Vec<f32>,
    /// Logits without the head's bias, as the Inception score takes them, `[images, CLASSES]`.
    pub logits: Vec<f32>,
}

impl Inception {
    /// Reads the weights.
    ///
    /// # Errors
    /// If the file is none of safetensors, or lacks a tensor or has one of another shape.
    pub(crate) fn read(path: &Path, device: &Device) -> Result<Self> {
        let shown = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(shown)?;
        if let Some(other) = OtherFile::of(&bytes) {
            anyhow::bail!("{}: this is {other}", path.display());
        }
        let read = || -> Result<Self> {
            let file = SafeTensors::deserialize(&bytes).context("expected a safetensors file")?;
            let mut weights = Weights::new();
            for (name, view) in file.tensors() {
                if !name.ends_with(".num_batches_tracked") {
                    let (shape, values) = (view.shape().to_vec(), decode(&name, &view)?);
                    weights.insert(name, Array { shape, values });
                }
            }
            Self::new(&weights, device)
        };
        read().with_context(shown)
    }

    /// Of weights by name.
    fn new(weights: &Weights, device: &Device) -> Result<Self> {
        let take = |name: String, expected: &[usize]| -> Result<&Vec<f32>> {
            let array = weights.get(&name);
            let array = array.with_context(|| {
                format!("tensor `{name}` is missing, expected Inception's of shape {expected:?}")
            })?;
            ensure!(
                array.shape == expected,
                "tensor `{name}` has shape {:?}, Inception's has {expected:?}",
                array.shape
            );
            Ok(&array.values)
        };
        let mut convolutions = BTreeMap::new();
        for (name, shape) in shapes() {
            let mut weight = take(format!("{name}.conv.weight"), &shape)?.clone();
            let part = |part: &str| take(format!("{name}.bn.{part}"), &shape[..1]);
            let (scale, shift) = (part("weight")?, part("bias")?);
            let (mean, variance) = (part("running_mean")?, part("running_var")?);
            let mut bias = Vec::new();
            let inputs: usize = shape[1..].iter().product();
            for (channel, weight) in weight.chunks_exact_mut(inputs).enumerate() {
                let of = |values: &[f32]| f64::from(values[channel]);
                let factor = of(scale) / (of(variance) + BATCH_NORM_EPSILON).sqrt();
                for weight in weight.iter_mut() {
                    *weight = (f64::from(*weight) * factor) as f32;
                }
                bias.push((of(shift) - of(mean) * factor) as f32);
            }
            let bias = from_host(bias, [shape[0]], device);
            convolutions.insert(name, (from_host(weight, shape, device), bias));
        }
        let head = take("fc.weight".into(), &[CLASSES, FEATURES])?.clone();
        Ok(Self {
            convolutions,
            head: from_host::<2>(head, [CLASSES, FEATURES], device).transpose(),
            device: device.clone(),
        })
    }

    /// Looks at images with values in [0, 1], which are rounded to bytes as files of pictures hold them; grey ones are
    /// shown three times.
    ///
    /// # Shapes
    /// - `x`: `[images, channels, height, width]`, of `shape`
    pub(crate) fn look(&self, x: &[f32], shape: [usize; 3]) -> InceptionSeen {
        let size: usize = shape.iter().product();
        let mut seen = InceptionSeen::default();
        let mut countdown = Countdown::of("images, by Inception", x.len() / size);
        for x in x.chunks(BATCH * size) {
            let images = x.len() / size;
            let enlarged: Vec<f32> = x
                .chunks_exact(size)
                .flat_map(|x| enlarged(x, shape))
                .collect();
            let x = from_host(enlarged, [images, 3, SIZE, SIZE], &self.device);
            let [_, _, _, features, logits] = self.layers(x);
            seen.features.extend(to_host(features));
            seen.logits.extend(to_host(logits));
            countdown.advance(images);
        }
        seen
    }

    /// The mean of each channel after the first, the second, and the longest group of blocks, and after the last one:
    /// the features; and the logits without bias.
    fn layers(&self, x: Tensor<4>) -> [Tensor<2>; 5] {
        let x = self.halved("Conv2d_1a_3x3", x); // [images, 32, 149, 149]
        let x = self.convolved("Conv2d_2a_3x3", x, 1, [0, 0]); // [images, 32, 147, 147]
        let x = self.same("Conv2d_2b_3x3", x);
        let x = largest_of_each(x); // [images, 64, 73, 73]
        let first = means(x.clone());
        let x = self.same("Conv2d_3b_1x1", x);
        let x = self.convolved("Conv2d_4a_3x3", x, 1, [0, 0]);
        let mut x = largest_of_each(x); // [images, 192, 35, 35]
        let second = means(x.clone());
        for block in ["Mixed_5b", "Mixed_5c", "Mixed_5d"] {
            x = self.block_of_35(block, x);
        }
        x = self.to_17("Mixed_6a", x); // [images, 768, 17, 17]
        for block in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"] {
            x = self.block_of_17(block, x);
        }
        let third = means(x.clone());
        x = self.to_8("Mixed_7a", x); // [images, 1280, 8, 8]
        x = self.block_of_8("Mixed_7b", x, average_around);
        x = self.block_of_8("Mixed_7c", x, largest_around); // [images, 2048, 8, 8]
        let features = means(x);
        let logits = features.clone().matmul(self.head.clone());
        [first, second, third, features, logits]
    }

    fn block_of_35(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let pooled = average_around(x.clone());
        Tensor::cat(
            vec![
                self.chain(block, &["branch1x1"], x.clone()),
                self.chain(block, &["branch5x5_1", "branch5x5_2"], x.clone()),
                self.chain(
                    block,
                    &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
                    x,
                ),
                self.chain(block, &["branch_pool"], pooled),
            ],
            1,
        )
    }

    fn to_17(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let twice = self.chain(block, &["branch3x3dbl_1", "branch3x3dbl_2"], x.clone());
        Tensor::cat(
            vec![
                self.halved(&format!("{block}.branch3x3"), x.clone()),
                self.halved(&format!("{block}.branch3x3dbl_3"), twice),
                largest_of_each(x),
            ],
            1,
        )
    }

    fn block_of_17(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let pooled = average_around(x.clone());
        let twice = [
            "branch7x7dbl_1",
            "branch7x7dbl_2",
            "branch7x7dbl_3",
            "branch7x7dbl_4",
            "branch7x7dbl_5",
        ];
        Tensor::cat(
            vec![
                self.chain(block, &["branch1x1"], x.clone()),
                self.chain(
                    block,
                    &["branch7x7_1", "branch7x7_2", "branch7x7_3"],
                    x.clone(),
                ),
                self.chain(block, &twice, x),
                self.chain(block, &["branch_pool"], pooled),
            ],
            1,
        )
    }

    fn to_8(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let once = self.chain(block, &["branch3x3_1"], x.clone());
        let long = ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3"];
        let long = self.chain(block, &long, x.clone());
        Tensor::cat(
            vec![
                self.halved(&format!("{block}.branch3x3_2"), once),
                self.halved(&format!("{block}.branch7x7x3_4"), long),
                largest_of_each(x),
            ],
            1,
        )
    }

    fn block_of_8(&self, block: &str, x: Tensor<4>, pool: fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let pooled = pool(x.clone());
        let once = self.chain(block, &["branch3x3_1"], x.clone());
        let twice = self.chain(block, &["branch3x3dbl_1", "branch3x3dbl_2"], x.clone());
        Tensor::cat(
            vec![
                self.chain(block, &["branch1x1"], x),
                self.chain(block, &["branch3x3_2a"], once.clone()),
                self.chain(block, &["branch3x3_2b"], once),
                self.chain(block, &["branch3x3dbl_3a"], twice.clone()),
                self.chain(block, &["branch3x3dbl_3b"], twice),
                self.chain(block, &["branch_pool"], pooled),
            ],
            1,
        )
    }

    /// Convolutions of a block, one after the other, that keep the size.
    fn chain(&self, block: &str, names: &[&str], x: Tensor<4>) -> Tensor<4> {
        names
            .iter()
            .fold(x, |x, name| self.same(&format!("{block}.{name}"), x))
    }

    /// A convolution that keeps the size.
    fn same(&self, name: &str, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = self.convolutions[name].0.dims();
        self.convolved(name, x, 1, [height / 2, width / 2])
    }

    /// One at every second place, without zeros around.
    fn halved(&self, name: &str, x: Tensor<4>) -> Tensor<4> {
        self.convolved(name, x, 2, [0, 0])
    }

    fn convolved(&self, name: &str, x: Tensor<4>, stride: usize, zeros: [usize; 2]) -> Tensor<4> {
        let (weight, bias) = self.convolutions[name].clone();
        let options = ConvOptions::new([stride; 2], zeros, [1, 1], 1);
        burn::tensor::activation::relu(conv2d(x, weight, Some(bias), options))
    }
}

/// The mean of each channel.
fn means(x: Tensor<4>) -> Tensor<2> {
    let [images, channels, height, width] = x.dims();
    x.reshape([images, channels, height * width])
        .mean_dim(2)
        .squeeze_dim(2)
}

/// The largest of 3 × 3 at every second place.
fn largest_of_each(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// The largest around each place.
fn largest_around(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(
        x,
        MaxPoolOptions::new([3, 3])
            .with_stride([1, 1])
            .with_padding([1, 1]),
    )
}

/// The mean around each place, of what lies within the image.
fn average_around(x: Tensor<4>) -> Tensor<4> {
    let options = AvgPoolOptions::new([3, 3])
        .with_stride([1, 1])
        .with_padding([1, 1]);
    avg_pool2d(x, options.with_count_include_pad(false))
}

/// An image as the network takes it, `[3, SIZE, SIZE]` from −1 to 1: bytes, enlarged as TensorFlow 1 did, where the pixel
/// at i shows what is at i · size / SIZE, between the two pixels there.
fn enlarged(x: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    /// The pixels on both sides, and how far the second is.
    fn places(size: usize) -> Vec<(usize, usize, f32)> {
        let scale = size as f32 / SIZE as f32;
        let place = |i: usize| {
            let at = i as f32 * scale;
            let below = at as usize;
            (below, (below + 1).min(size - 1), at - below as f32)
        };
        (0..SIZE).map(place).collect()
    }
    let (rows, columns) = (places(height), places(width));
    let mut enlarged = Vec::with_capacity(3 * SIZE * SIZE);
    for channel in 0..3 {
        let plane = &x[channel.min(channels - 1) * height * width..][..height * width];
        let byte = |row: usize, column: usize| {
            (plane[row * width + column].clamp(0.0, 1.0) * 255.0).round()
        };
        for &(above, below, down) in &rows {
            for &(left, right, along) in &columns {
                let across = |row: usize| {
                    let (a, b) = (byte(row, left), byte(row, right));
                    a + (b - a) * along
                };
                let (a, b) = (across(above), across(below));
                enlarged.push((a + (b - a) * down - 128.0) / 128.0);
            }
        }
    }
    enlarged
}

/// Name and shape of every convolution.
fn shapes() -> Vec<(String, [usize; 4])> {
    let mut shapes = vec![
        ("Conv2d_1a_3x3".to_owned(), [32, 3, 3, 3]),
        ("Conv2d_2a_3x3".into(), [32, 32, 3, 3]),
        ("Conv2d_2b_3x3".into(), [64, 32, 3, 3]),
        ("Conv2d_3b_1x1".into(), [80, 64, 1, 1]),
        ("Conv2d_4a_3x3".into(), [192, 80, 3, 3]),
    ];
    let mut block = |block: &str, convolutions: &[(&str, [usize; 4])]| {
        let named = convolutions.iter();
        shapes.extend(named.map(|(name, shape)| (format!("{block}.{name}"), *shape)));
    };
    for (name, inputs, pooled) in [
        ("Mixed_5b", 192, 32),
        ("Mixed_5c", 256, 64),
        ("Mixed_5d", 288, 64),
    ] {
        block(
            name,
            &[
                ("branch1x1", [64, inputs, 1, 1]),
                ("branch5x5_1", [48, inputs, 1, 1]),
                ("branch5x5_2", [64, 48, 5, 5]),
                ("branch3x3dbl_1", [64, inputs, 1, 1]),
                ("branch3x3dbl_2", [96, 64, 3, 3]),
                ("branch3x3dbl_3", [96, 96, 3, 3]),
                ("branch_pool", [pooled, inputs, 1, 1]),
            ],
        );
    }
    block(
        "Mixed_6a",
        &[
            ("branch3x3", [384, 288, 3, 3]),
            ("branch3x3dbl_1", [64, 288, 1, 1]),
            ("branch3x3dbl_2", [96, 64, 3, 3]),
            ("branch3x3dbl_3", [96, 96, 3, 3]),
        ],
    );
    for (name, c) in [
        ("Mixed_6b", 128),
        ("Mixed_6c", 160),
        ("Mixed_6d", 160),
        ("Mixed_6e", 192),
    ] {
        block(
            name,
            &[
                ("branch1x1", [192, 768, 1, 1]),
                ("branch7x7_1", [c, 768, 1, 1]),
                ("branch7x7_2", [c, c, 1, 7]),
                ("branch7x7_3", [192, c, 7, 1]),
                ("branch7x7dbl_1", [c, 768, 1, 1]),
                ("branch7x7dbl_2", [c, c, 7, 1]),
                ("branch7x7dbl_3", [c, c, 1, 7]),
                ("branch7x7dbl_4", [c, c, 7, 1]),
                ("branch7x7dbl_5", [192, c, 1, 7]),
                ("branch_pool", [192, 768, 1, 1]),
            ],
        );
    }
    block(
        "Mixed_7a",
        &[
            ("branch3x3_1", [192, 768, 1, 1]),
            ("branch3x3_2", [320, 192, 3, 3]),
            ("branch7x7x3_1", [192, 768, 1, 1]),
            ("branch7x7x3_2", [192, 192, 1, 7]),
            ("branch7x7x3_3", [192, 192, 7, 1]),
            ("branch7x7x3_4", [192, 192, 3, 3]),
        ],
    );
    for (name, inputs) in [("Mixed_7b", 1280), ("Mixed_7c", 2048)] {
        block(
            name,
            &[
                ("branch1x1", [320, inputs, 1, 1]),
                ("branch3x3_1", [384, inputs, 1, 1]),
                ("branch3x3_2a", [384, 384, 1, 3]),
                ("branch3x3_2b", [384, 384, 3, 1]),
                ("branch3x3dbl_1", [448, inputs, 1, 1]),
                ("branch3x3dbl_2", [384, 448, 3, 3]),
                ("branch3x3dbl_3a", [384, 384, 1, 3]),
                ("branch3x3dbl_3b", [384, 384, 3, 1]),
                ("branch_pool", [192, inputs, 1, 1]),
            ],
        );
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::chirp::chirp;

    /// Weights that tests/reference/inception.py makes as well.
    fn weights() -> Weights {
        let mut shapes = shapes();
        shapes.sort();
        let mut weights = Weights::new();
        let mut insert = |name: String, shape: &[usize], phase: f64, centre: f32, scale: f32| {
            let values = chirp(shape.iter().product(), phase).into_iter();
            let array = Array {
                shape: shape.to_vec(),
                values: values.map(|v| centre + scale * v).collect(),
            };
            weights.insert(name, array);
        };
        for (n, (name, shape)) in shapes.iter().enumerate() {
            let (n, inputs) = (n as f64, shape[1..].iter().product::<usize>() as f32);
            insert(
                format!("{name}.conv.weight"),
                shape,
                n,
                0.0,
                2.0 / inputs.sqrt(),
            );
            for (part, phase, centre, scale) in [
                ("weight", 0.2, 1.0, 0.1),
                ("bias", 0.4, 0.0, 0.1),
                ("running_mean", 0.6, 0.0, 0.1),
                ("running_var", 0.8, 1.0, 0.5),
            ] {
                insert(
                    format!("{name}.bn.{part}"),
                    &shape[..1],
                    n + phase,
                    centre,
                    scale,
                );
            }
        }
        insert("fc.weight".into(), &[CLASSES, FEATURES], 0.1, 0.0, 0.05);
        weights
    }

    /// Layer by layer, as torch-fidelity's network with the same weights.
    #[test]
    fn every_layer_is_that_of_torch_fidelity() {
        let device = Device::flex();
        let network = Inception::new(&weights(), &device).unwrap();
        let shape = [3, 32, 32];
        let bytes = (0..2 * 3 * 32 * 32).map(|i: u64| (i * i * 31 + 7 * i) % 251);
        let x: Vec<f32> = bytes.map(|byte| byte as f32 / 255.0).collect();
        let seen = network.look(&x, shape);
        let images: Vec<f32> = x
            .chunks_exact(3 * 32 * 32)
            .flat_map(|x| enlarged(x, shape))
            .collect();
        let [first, second, third, features, logits] =
            network.layers(from_host(images, [2, 3, SIZE, SIZE], &device));
        let (features, logits) = (to_host(features), to_host(logits));
        assert_eq!((&seen.features, &seen.logits), (&features, &logits));
        let reference = include_str!("../../../tests/reference/inception.json");
        let reference: BTreeMap<String, Vec<f64>> = serde_json::from_str(reference).unwrap();
        for (name, found) in [
            ("64", to_host(first)),
            ("192", to_host(second)),
            ("768", to_host(third)),
            ("2048", features),
            ("logits_unbiased", logits),
        ] {
            let expected = &reference[name];
            let found: Vec<f64> = found.into_iter().step_by(16).map(f64::from).collect();
            assert_eq!(found.len(), expected.len(), "{name}");
            let scale = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-4 * scale,
                    "layer {name}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn a_file_of_other_weights_is_refused_by_name() {
        let mut weights = weights();
        weights.remove("Mixed_5b.branch1x1.bn.bias");
        let error = Inception::new(&weights, &Device::flex())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("`Mixed_5b.branch1x1.bn.bias` is missing"),
            "{error}"
        );
    }
}
