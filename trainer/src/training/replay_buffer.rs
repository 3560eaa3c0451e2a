//! Persistent chains: draw, reinitialise, put back (Du & Mordatch 2019; JEAT Algorithm 1).

use basin_shared::{
    Key,
    arrays::Array,
    tensors::{from_host, whole_from_host},
};
use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::{data, device::host};

/// The ends of earlier chains, on the device that last asked for some: an iteration reads none back.
#[derive(Clone, Debug)]
pub(crate) struct ReplayBuffer {
    /// `[capacity, channels, height, width]`.
    chains: Tensor<4>,
    /// The class that each chain descends towards.
    labels: Vec<u8>,
}

/// Where chains might begin, and of which classes.
pub(crate) struct Beginnings {
    /// `[count, channels, height, width]`
    pub pixels: Vec<f32>,
    pub labels: Vec<u8>,
}

/// Chains that have taken steps.
pub(crate) struct Advanced {
    pub start: Tensor<4>,
    pub end: Tensor<4>,
    pub labels: Vec<u8>,
    /// Those of them that began anew.
    pub begun: Vec<usize>,
    /// Where they would have begun, all of them.
    pub fresh: Vec<f32>,
}

/// Equal chains, wherever they are.
impl PartialEq for ReplayBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.to_arrays() == other.to_arrays()
    }
}

impl ReplayBuffer {
    /// A buffer of the given chains.
    ///
    /// # Panics
    /// If there is not one label for each image.
    pub(crate) fn new(pixels: Vec<f32>, labels: Vec<u8>, shape: [usize; 3]) -> Self {
        assert_eq!(pixels.len(), labels.len() * shape.iter().product::<usize>());
        let [channels, height, width] = shape;
        let chains = TensorData::new(pixels, [labels.len(), channels, height, width]);
        Self {
            chains: Tensor::from_data(chains, &host()),
            labels,
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
    pub(crate) fn get(&mut self, places: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        if self.chains.device() != *device {
            self.chains = self.chains.clone().to_device(device);
        }
        let x = self
            .chains
            .clone()
            .select(0, whole_from_host(places, device));
        (x, data::labels(&self.labels(places), device))
    }

    /// Puts the ends of the chains back.
    pub(crate) fn put(&mut self, places: &[usize], ends: Tensor<4>, labels: &[u8]) {
        let device = ends.device();
        // Taken out, so that there is no other user and it is changed in its place.
        let chains = std::mem::replace(&mut self.chains, Tensor::empty([1; 4], &device));
        let places_there = whole_from_host(places, &device);
        self.chains = chains.to_device(&device).select_assign(
            0,
            places_there,
            ends,
            IndexingUpdateOp::Assign,
        );
        for (&place, &label) in places.iter().zip(labels) {
            self.labels[place] = label;
        }
    }

    /// Some chains take their next steps: they go on from where they ended, or with a `chance` begin anew, as
    /// `anew` says of a key and the classes that they had; `walk` takes starts, classes and a key. Their ends go
    /// back.
    pub(crate) fn advance(
        &mut self,
        key: Key,
        count: usize,
        chance: f32,
        device: &Device,
        anew: impl FnOnce(Key, &[u8]) -> Beginnings,
        walk: impl FnOnce(Tensor<4>, &[u8], Key) -> Tensor<4>,
    ) -> Advanced {
        let places = self.draw(key.stream("draw"), count);
        let mut labels = self.labels(&places);
        let (mut start, _) = self.get(&places, device);
        let fresh = anew(key.stream("start"), &labels);
        let chances = key.stream("chance").uniforms(places.len());
        let begins: Vec<bool> = chances.iter().map(|&u| u < chance).collect();
        let begun: Vec<usize> = (0..places.len()).filter(|&i| begins[i]).collect();
        for &i in &begun {
            labels[i] = fresh.labels[i];
        }
        let images = from_host(fresh.pixels.clone(), start.dims(), device);
        let begins: Vec<usize> = begins.iter().map(|&begins| begins.into()).collect();
        let mask: Tensor<1, Bool> = whole_from_host(&begins, device).equal_elem(1);
        let mask = mask.reshape([places.len(), 1, 1, 1]).expand(start.dims());
        start = start.mask_where(mask, images);
        let end = walk(start.clone(), &labels, key.stream("walk")).inner();
        self.put(&places, end.clone(), &labels);
        Advanced {
            start,
            end,
            labels,
            begun,
            fresh: fresh.pixels,
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
        let [_, channels, height, width] = buffers[0].chains.dims();
        let mut dealt = vec![(Vec::new(), Vec::new()); count];
        let mut turns = (0..count).cycle();
        for buffer in buffers {
            let [images, _] = buffer.to_arrays();
            assert_eq!(images.shape[1..], [channels, height, width]);
            let images = images.values.chunks(channels * height * width);
            for ((image, &label), turn) in images.zip(&buffer.labels).zip(&mut turns) {
                let (pixels, labels) = &mut dealt[turn];
                pixels.extend_from_slice(image);
                labels.push(label);
            }
        }
        let buffer = |(pixels, labels)| Self::new(pixels, labels, [channels, height, width]);
        dealt.into_iter().map(buffer).collect()
    }

    /// Images and classes, for a checkpoint.
    pub(crate) fn to_arrays(&self) -> [Array; 2] {
        let labels = self.labels.iter().map(|&label| label.into()).collect();
        [
            self.chains.to_data().into(),
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
