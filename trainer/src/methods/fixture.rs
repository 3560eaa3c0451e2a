//! A small network, a few made-up images and a batch of them, for tests.

use basin_shared::{
    Key,
    models::{Architecture, Initialization, WideResNetConfig},
    tensors::Network,
};
use burn::tensor::Device;

use super::{Batch, Inner};
use crate::data::Images;

/// Wide-ResNet 10-1 of three classes, for images of so many rows and columns.
fn config(size: usize) -> WideResNetConfig {
    WideResNetConfig::new([10, 1], [1, size], 3)
}

fn init(architecture: &Architecture, device: &Device) -> Network {
    let initialization = Initialization {
        gain: 1.4,
        residual_scale: 0.5,
    };
    architecture.init(initialization, Key::new(1), device)
}

/// JEM's, which has no BatchNorm.
pub(crate) fn network(device: &Device) -> Network {
    init(&Architecture::WideResnet(config(8)), device)
}

/// The same for images of so many rows and columns.
pub(crate) fn network_of_size(size: usize, device: &Device) -> Network {
    init(&Architecture::WideResnet(config(size)), device)
}

/// TRADES's.
pub(crate) fn network_with_batch_norm(device: &Device) -> Network {
    init(&Architecture::StandardWideResnet(config(8)), device)
}

pub(crate) fn images() -> Images {
    let bytes = Key::new(4).integers(8 * 64, 256);
    let labels = vec![0, 1, 2, 0, 1, 2, 0, 1];
    Images::new(
        bytes.into_iter().map(|byte| byte as u8).collect(),
        labels,
        [1, 8, 8],
    )
}

/// The first four images.
pub(crate) fn batch() -> Batch {
    let images = images();
    let (x, y) = images.batch(&[0, 1, 2, 3], &Device::flex());
    Batch {
        x,
        y,
        pixels: (0..4).flat_map(|i| images.pixels(i)).copied().collect(),
        labels: images.labels()[..4].to_vec(),
    }
}

/// An iteration on the batch, under key 3.
pub(crate) fn inner<'a>(model: &'a Network, train: &'a Images, batch: &'a Batch) -> Inner<'a> {
    Inner {
        model,
        train,
        gaussian: None,
        batch,
        label_smoothing: 0.0,
        progress: 0.0,
        before_checkpoint: false,
        key: Key::new(3),
    }
}
