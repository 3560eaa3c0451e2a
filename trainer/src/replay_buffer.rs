//! Persistent chains: draw, reinitialise, put back (Du & Mordatch 2019; JEAT Algorithm 1).

use basin_shared::{Key, weights::Array};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The ends of earlier chains, on the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplayBuffer {
    /// Pixels of each chain, `[capacity, channels, height, width]`.
    pixels: Vec<f32>,
    /// The class that each chain descends towards.
    labels: Vec<u8>,
    shape: [usize; 3],
}

impl ReplayBuffer {
    /// A buffer of the given chains.
    ///
    /// # Panics
    /// If there is not one label for each image.
    pub(crate) fn new(pixels: Vec<f32>, labels: Vec<u8>, shape: [usize; 3]) -> Self {
        assert_eq!(pixels.len(), labels.len() * shape.iter().product::<usize>());
        Self {
            pixels,
            labels,
            shape,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.labels.len()
    }

    /// Which `count` different chains go on.
    pub(crate) fn draw(&self, key: Key, count: usize) -> Vec<usize> {
        let mut drawn = key.permutation(self.capacity());
        drawn.truncate(count);
        drawn
    }

    /// The chains of the given places: images and classes.
    pub(crate) fn get(&self, places: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let size: usize = self.shape.iter().product();
        let mut pixels = Vec::with_capacity(places.len() * size);
        for &place in places {
            pixels.extend_from_slice(&self.pixels[place * size..(place + 1) * size]);
        }
        let [channels, height, width] = self.shape;
        let x = TensorData::new(pixels, [places.len(), channels, height, width]);
        let y: Vec<i64> = places
            .iter()
            .map(|&place| self.labels[place].into())
            .collect();
        (
            Tensor::from_data(x, device),
            Tensor::from_data(y.as_slice(), device),
        )
    }

    /// Puts the ends of the chains back, read back to the host.
    pub(crate) fn put(&mut self, places: &[usize], pixels: &[f32], labels: &[u8]) {
        let size: usize = self.shape.iter().product();
        for (i, &place) in places.iter().enumerate() {
            self.pixels[place * size..(place + 1) * size]
                .copy_from_slice(&pixels[i * size..(i + 1) * size]);
            self.labels[place] = labels[i];
        }
    }

    /// The classes of the given places.
    pub(crate) fn labels(&self, places: &[usize]) -> Vec<u8> {
        places.iter().map(|&place| self.labels[place]).collect()
    }

    /// The chains of some buffers, dealt out to so many others.
    ///
    /// # Panics
    /// If there is no buffer, or one of images of another shape.
    pub(crate) fn deal(buffers: &[Self], count: usize) -> Vec<Self> {
        let shape = buffers[0].shape;
        let mut dealt = vec![Self::new(Vec::new(), Vec::new(), shape); count];
        let chains = buffers.iter().flat_map(|buffer| {
            assert_eq!(buffer.shape, shape);
            let images = buffer.pixels.chunks(shape.iter().product());
            images.zip(&buffer.labels)
        });
        for (chain, (image, &label)) in chains.enumerate() {
            let to = &mut dealt[chain % count];
            to.pixels.extend_from_slice(image);
            to.labels.push(label);
        }
        dealt
    }

    /// Images and classes, for a checkpoint.
    pub(crate) fn to_arrays(&self) -> [Array; 2] {
        let [channels, height, width] = self.shape;
        let labels = self.labels.iter().map(|&label| label.into()).collect();
        [
            Array {
                shape: vec![self.capacity(), channels, height, width],
                values: self.pixels.clone(),
            },
            Array {
                shape: vec![self.capacity()],
                values: labels,
            },
        ]
    }

    /// The inverse of [`ReplayBuffer::to_arrays`]; none where the shapes do not fit.
    pub(crate) fn from_arrays([images, labels]: [Array; 2]) -> Option<Self> {
        let &[count, channels, height, width] = images.shape.as_slice() else {
            return None;
        };
        let labels: Vec<u8> = labels.values.iter().map(|&label| label as u8).collect();
        let shape = [channels, height, width];
        (labels.len() == count).then(|| Self::new(images.values, labels, shape))
    }
}
