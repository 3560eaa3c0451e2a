//! Data sets: official files on disk, or downloaded, to images and labels in memory, to batches.

mod augment;
mod batch;
mod download;
mod error;
mod formats;
mod sets;

use std::path::{Path, PathBuf};

use basin_shared::{Key, tensors::from_host};
use burn::tensor::{Device, Int, Tensor};
use indicatif::MultiProgress;
use serde::{Deserialize, Serialize};

pub(crate) use augment::Augmentation;
pub(crate) use batch::{add_noise, head, labels};
pub(crate) use error::DataError;
pub(crate) use sets::folder::Folder;

use download::Archive;

/// A data set that can be trained on, as recipes write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DataSet {
    /// MNIST (LeCun et al. 1998): 60,000 + 10,000 grey digits of 28 x 28.
    #[serde(rename = "mnist")]
    Mnist,
    /// Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28 x 28.
    #[serde(rename = "fashion-mnist")]
    FashionMnist,
    /// CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32, the fine labels.
    #[serde(rename = "cifar-100")]
    Cifar100,
    /// SVHN (Netzer et al. 2011): 73,257 + 26,032 cropped colour digits of 32 x 32.
    #[serde(rename = "svhn")]
    Svhn,
    /// SVHN with its 531,131 additional training digits.
    #[serde(rename = "svhn-extra")]
    SvhnExtra,
    /// Tiny-ImageNet (Le and Yang 2015): 100,000 + 10,000 colour images of 64 x 64.
    #[serde(rename = "tiny-imagenet")]
    TinyImagenet,
    /// One's own pictures.
    #[serde(rename = "folder")]
    Folder(Folder),
}

/// A data set that its authors offer.
struct Official {
    /// The name as recipes write it.
    name: &'static str,
    /// The folder in `--data-dir` that may hold the files.
    folder: &'static str,
    /// The folder that the archive unpacks to.
    unpacked: Option<&'static str>,
    /// Channels, height and width of an image.
    shape: [usize; 3],
    classes: usize,
    archives: &'static [Archive<'static>],
    /// Reads the files, which lie in one of the folders.
    load: fn(&Self, &[PathBuf]) -> Result<Splits, DataError>,
    /// Reads the files of the test images alone.
    load_test: fn(&Self, &[PathBuf]) -> Result<Images, DataError>,
}

enum Source<'a> {
    Official(&'static Official),
    Folder(&'a Folder),
}

impl DataSet {
    /// Those that their authors offer, each once.
    pub(crate) const OFFICIAL: [Self; 6] = [
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::Svhn,
        Self::TinyImagenet,
    ];

    fn source(&self) -> Source<'_> {
        Source::Official(match self {
            Self::Mnist => &sets::mnist::SET,
            Self::FashionMnist => &sets::fashion_mnist::SET,
            Self::Cifar10 => &sets::cifar::CIFAR_10,
            Self::Cifar100 => &sets::cifar::CIFAR_100,
            Self::Svhn => &sets::svhn::SVHN,
            Self::SvhnExtra => &sets::svhn::SVHN_EXTRA,
            Self::TinyImagenet => &sets::tiny_imagenet::SET,
            Self::Folder(folder) => return Source::Folder(folder),
        })
    }

    /// The name, for the model card.
    pub(crate) fn name(&self) -> &str {
        match self.source() {
            Source::Official(set) => set.name,
            Source::Folder(folder) => folder.name(),
        }
    }

    /// How many classes there are.
    pub(crate) fn classes(&self) -> usize {
        match self.source() {
            Source::Official(set) => set.classes,
            Source::Folder(folder) => folder.classes,
        }
    }

    /// Channels, height and width of an image.
    pub(crate) fn shape(&self) -> [usize; 3] {
        match self.source() {
            Source::Official(set) => set.shape,
            Source::Folder(folder) => folder.shape(),
        }
    }

    /// Whether its numbers are in range.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        match self.source() {
            Source::Official(_) => Ok(()),
            Source::Folder(folder) => folder.check(),
        }
    }
}

/// Images with their labels, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    shape: [usize; 3],
}

impl Images {
    /// Images of `shape` (channels, height, width), each channel row by row, with one label each.
    pub(crate) fn new(pixels: Vec<u8>, labels: Vec<u8>, shape: [usize; 3]) -> Self {
        let values: usize = shape.iter().product();
        assert_eq!(
            pixels.len(),
            labels.len() * values,
            "{} labels of {shape:?}",
            labels.len()
        );
        Self {
            pixels,
            labels,
            shape,
        }
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Channels, height and width of an image.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The labels in the order of the images.
    pub(crate) fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The images at `indices` as a model takes them, with values in [0, 1].
    ///
    /// # Shapes
    /// - returns `[indices, channels, height, width]`
    pub(crate) fn values(&self, indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let pixels = indices.into_iter().flat_map(|index| self.pixels(index));
        pixels.map(|&value| f32::from(value) / 255.0).collect()
    }

    /// The labels of the images at `indices`, as energies and attacks take them.
    pub(crate) fn classes(&self, indices: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let labels = indices.into_iter().map(|index| self.labels[index].into());
        labels.collect()
    }

    /// The values of one image, channel by channel.
    pub(crate) fn pixels(&self, index: usize) -> &[u8] {
        let values: usize = self.shape.iter().product();
        &self.pixels[index * values..(index + 1) * values]
    }

    /// The images at `indices` in [0, 1], and their labels.
    ///
    /// # Shapes
    /// - returns `[indices, channels, height, width]` and `[indices]`
    pub(crate) fn batch(&self, indices: &[usize], device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        self.to_tensors(&self.gather(indices), indices, device)
    }

    /// As [`Images::batch`], with each image changed as `augmentation` and `key` say; first the pixels
    /// on the host.
    pub(crate) fn augmented_batch(
        &self,
        indices: &[usize],
        augmentation: &Augmentation,
        key: Key,
        device: &Device,
    ) -> (Vec<u8>, Tensor<4>, Tensor<1, Int>) {
        let pixels = augmentation.apply(key, &self.gather(indices), self.shape);
        let (x, y) = self.to_tensors(&pixels, indices, device);
        (pixels, x, y)
    }

    /// Without the last `count` images, and these: a validation set no training step has seen.
    pub(crate) fn hold_out(mut self, count: usize) -> (Self, Self) {
        assert!(
            count <= self.len(),
            "cannot hold out {count} of {} images",
            self.len()
        );
        let kept = self.len() - count;
        let values: usize = self.shape.iter().product();
        let pixels = self.pixels.split_off(kept * values);
        let labels = self.labels.split_off(kept);
        let shape = self.shape;
        (
            self,
            Self {
                pixels,
                labels,
                shape,
            },
        )
    }

    fn gather(&self, indices: &[usize]) -> Vec<u8> {
        indices
            .iter()
            .flat_map(|&index| self.pixels(index))
            .copied()
            .collect()
    }

    fn to_tensors(
        &self,
        pixels: &[u8],
        indices: &[usize],
        device: &Device,
    ) -> (Tensor<4>, Tensor<1, Int>) {
        let [channels, height, width] = self.shape;
        let values: Vec<f32> = pixels
            .iter()
            .map(|&value| f32::from(value) / 255.0)
            .collect();
        let labels: Vec<u8> = indices.iter().map(|&index| self.labels[index]).collect();
        let shape = [indices.len(), channels, height, width];
        (
            from_host(values, shape, device),
            batch::labels(&labels, device),
        )
    }
}

/// A data set as its authors divide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Splits {
    /// Images to train on.
    pub train: Images,
    /// Images to measure on.
    pub test: Images,
    /// The classes in the order of their labels.
    pub class_names: Vec<String>,
}

/// Loads a data set from `data_dir`, or else from the platform's cache folder, where the official
/// files are downloaded if they are not there already.
///
/// In `data_dir` the official files lie in a folder named as the data set, or directly, there or in
/// the folder that the official archive unpacks to; they may be packed or not. They may hold fewer
/// images than the complete set.
pub(crate) fn load(
    data_set: &DataSet,
    data_dir: Option<&Path>,
    progress: &MultiProgress,
) -> Result<Splits, DataError> {
    let set = match data_set.source() {
        Source::Official(set) => set,
        Source::Folder(folder) => return folder.load(data_dir),
    };
    let data_dir = match data_dir {
        Some(data_dir) => data_dir.to_path_buf(),
        None => {
            let cache = dirs::cache_dir().ok_or(DataError::NoCacheDir)?;
            let cache = cache.join("basin").join(set.folder);
            for archive in set.archives {
                download::fetch(archive, &cache, progress)?;
            }
            cache
        }
    };
    let mut folders = Vec::new();
    for folder in [data_dir.join(set.folder), data_dir] {
        folders.extend(set.unpacked.map(|unpacked| folder.join(unpacked)));
        folders.push(folder);
    }
    (set.load)(set, &folders)
}

/// The test images of a data set whose official files are at hand: in a folder named as the data set, in `data_dir` or
/// beside it, or else among those that were downloaded once. Nothing is downloaded, and training images need not be
/// there.
pub(crate) fn test_images_at_hand(
    data_set: &DataSet,
    data_dir: Option<&Path>,
) -> Result<Images, DataError> {
    let set = match data_set.source() {
        Source::Official(set) => set,
        Source::Folder(folder) => return Ok(folder.load(data_dir)?.test),
    };
    let roots = match data_dir {
        Some(data_dir) => vec![data_dir.to_path_buf(), data_dir.join("..")],
        None => vec![
            dirs::cache_dir()
                .ok_or(DataError::NoCacheDir)?
                .join("basin"),
        ],
    };
    let mut folders = Vec::new();
    for folder in roots.into_iter().map(|root| root.join(set.folder)) {
        folders.extend(set.unpacked.map(|unpacked| folder.join(unpacked)));
        folders.push(folder);
    }
    (set.load_test)(set, &folders)
}

fn missing(set: &Official, file: &str, looked_in: &[PathBuf]) -> DataError {
    DataError::Missing {
        data_set: set.name.into(),
        file: file.into(),
        looked_in: looked_in.into(),
    }
}

/// The first of `names` that lies in one of the folders, searched folder by folder.
fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn data_dir() -> PathBuf {
        // Found from the workspace's root, wherever the crate that holds this module lies.
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors()
            .map(|folder| folder.join("tests/data"))
            .find(|path| path.is_dir())
            .unwrap()
    }

    const OFFICIAL: [DataSet; 7] = [
        DataSet::Mnist,
        DataSet::FashionMnist,
        DataSet::Cifar10,
        DataSet::Cifar100,
        DataSet::Svhn,
        DataSet::SvhnExtra,
        DataSet::TinyImagenet,
    ];

    fn load_from(data_set: DataSet, data_dir: &Path) -> Result<Splits, DataError> {
        load(&data_set, Some(data_dir), &MultiProgress::new())
    }

    #[test]
    fn test_images_are_found_without_the_others_and_beside_other_sets() {
        let folder = tempfile::tempdir().unwrap();
        for (data_set, file) in [
            (DataSet::Cifar100, "cifar-100/cifar-100-binary/test.bin"),
            (
                DataSet::Cifar10,
                "cifar-10/cifar-10-batches-bin/test_batch.bin",
            ),
        ] {
            let whole = load_from(data_set.clone(), &data_dir()).unwrap().test;
            let there = folder.path().join(file);
            fs::create_dir_all(there.parent().unwrap()).unwrap();
            fs::copy(data_dir().join(file), there).unwrap();
            for data_dir in [folder.path().to_path_buf(), folder.path().join("cifar-10")] {
                // A folder that is not there has nothing beside it.
                if !data_dir.is_dir() {
                    continue;
                }
                let found = test_images_at_hand(&data_set, Some(&data_dir)).unwrap();
                assert_eq!(found, whole, "{data_set:?}");
            }
        }
        for data_set in [DataSet::Mnist, DataSet::FashionMnist] {
            let whole = load_from(data_set.clone(), &data_dir()).unwrap().test;
            let found = test_images_at_hand(&data_set, Some(&data_dir())).unwrap();
            assert_eq!(found, whole, "{data_set:?}");
        }
        let error = test_images_at_hand(&DataSet::Svhn, Some(folder.path())).unwrap_err();
        assert!(
            error.to_string().starts_with("svhn: no test_32x32.mat in"),
            "{error}"
        );
    }

    #[test]
    fn real_files_load_class_balanced() {
        for (data_set, train, test) in [
            (DataSet::Mnist, 100, 50),
            (DataSet::FashionMnist, 500, 200),
            (DataSet::Cifar10, 100, 50),
            (DataSet::Cifar100, 100, 100),
        ] {
            let splits = load_from(data_set.clone(), &data_dir()).unwrap();
            let classes = data_set.classes();
            assert_eq!(splits.class_names.len(), classes);
            for (images, count) in [(&splits.train, train), (&splits.test, test)] {
                assert_eq!(images.len(), count, "{data_set:?}");
                assert_eq!(images.shape(), data_set.shape());
                for class in 0..classes {
                    let of_class = images
                        .labels()
                        .iter()
                        .filter(|&&label| usize::from(label) == class)
                        .count();
                    assert_eq!(of_class, count / classes, "{data_set:?}, class {class}");
                }
            }
        }
    }

    /// Sums over the raw files, taken with Python's standard library.
    #[test]
    fn pixels_are_those_of_the_files() {
        let sum = |pixels: &[u8]| pixels.iter().map(|&value| u32::from(value)).sum::<u32>();
        let mnist = load_from(DataSet::Mnist, &data_dir()).unwrap();
        assert_eq!(
            (mnist.train.labels()[0], sum(mnist.train.pixels(0))),
            (5, 27_525)
        );
        let fashion = load_from(DataSet::FashionMnist, &data_dir()).unwrap();
        assert_eq!(
            (fashion.train.labels()[0], sum(fashion.train.pixels(0))),
            (9, 76_247)
        );
        let cifar = load_from(DataSet::Cifar10, &data_dir()).unwrap();
        let plane =
            |image: &[u8], channel: usize| sum(&image[channel * 1024..(channel + 1) * 1024]);
        let first = cifar.train.pixels(0);
        assert_eq!(cifar.train.labels()[0], 6);
        assert_eq!(
            [0, 1, 2].map(|channel| plane(first, channel)),
            [144_594, 107_622, 65_574]
        );
        let cifar = load_from(DataSet::Cifar100, &data_dir()).unwrap();
        for (images, label, planes) in [
            (&cifar.train, 49, [180_271, 179_923, 199_011]),
            (&cifar.test, 71, [62_764, 76_010, 85_738]),
        ] {
            let first = images.pixels(0);
            assert_eq!(images.labels()[0], label);
            assert_eq!([0, 1, 2].map(|channel| plane(first, channel)), planes);
        }
        assert_eq!(cifar.class_names[49], "mountain");
    }

    #[test]
    fn folders_are_found_at_any_level() {
        for (data_set, inner) in [
            (DataSet::Mnist, "mnist"),
            (DataSet::FashionMnist, "fashion-mnist"),
            (DataSet::Cifar10, "cifar-10"),
            (DataSet::Cifar100, "cifar-100"),
        ] {
            let outer = load_from(data_set.clone(), &data_dir()).unwrap();
            assert_eq!(load_from(data_set, &data_dir().join(inner)).unwrap(), outer);
        }
        let cifar = data_dir().join("cifar-10/cifar-10-batches-bin");
        assert_eq!(
            load_from(DataSet::Cifar10, &cifar).unwrap().train.len(),
            100
        );
    }

    #[test]
    fn a_folder_without_the_files_is_named_with_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let files = [
            "train-images-idx3-ubyte.gz",
            "train-images-idx3-ubyte.gz",
            "data_batch_1.bin",
            "train.bin",
            "train_32x32.mat",
            "extra_32x32.mat",
            "tiny-imagenet-200.zip",
        ];
        for (data_set, file) in OFFICIAL.into_iter().zip(files) {
            let message = load_from(data_set.clone(), empty.path())
                .unwrap_err()
                .to_string();
            for part in [
                data_set.name(),
                file,
                &empty.path().display().to_string(),
                "--data-dir",
            ] {
                assert!(message.contains(part), "{message:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn recipes_name_official_sets_and_describe_folders() {
        for data_set in OFFICIAL {
            let written = serde_json::to_string(&data_set).unwrap();
            assert_eq!(written, format!("{:?}", data_set.name()));
            assert_eq!(serde_json::from_str::<DataSet>(&written).unwrap(), data_set);
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Recipe {
            data_set: DataSet,
        }
        let text = "[data_set.folder]\npath = \"a/birds\"\nclasses = 3\nsize = 48\nchannels = 3\n";
        let recipe: Recipe = toml::from_str(text).unwrap();
        assert_eq!(recipe.data_set.name(), "birds");
        assert_eq!(recipe.data_set.classes(), 3);
        assert_eq!(recipe.data_set.shape(), [3, 48, 48]);
        assert_eq!(toml::to_string(&recipe).unwrap(), text);
        for bad in ["data_set = \"imagenet\"", &text.replace("size = 48\n", "")] {
            assert!(toml::from_str::<Recipe>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_official_file_has_a_checksum_of_the_right_form() {
        for data_set in OFFICIAL {
            let Source::Official(set) = data_set.source() else {
                unreachable!("{data_set:?}")
            };
            for archive in set.archives {
                assert!(archive.url.ends_with(archive.name), "{}", archive.url);
                let digits = |c: char| matches!(c, '0'..='9' | 'a'..='f');
                assert!(
                    archive.sha256.len() == 64 && archive.sha256.chars().all(digits),
                    "{}",
                    archive.name
                );
            }
        }
    }

    #[test]
    fn a_batch_is_the_images_asked_for_in_unit_range() {
        let pixels = (0..3 * 4).map(|i| i * 20).collect();
        let images = Images::new(pixels, vec![7, 8, 9], [1, 2, 2]);
        let (x, y) = images.batch(&[2, 0], &Device::flex());
        assert_eq!(x.dims(), [2, 1, 2, 2]);
        let values: Vec<f32> = x.into_data().iter::<f32>().collect();
        let expected = [160, 180, 200, 220, 0, 20, 40, 60].map(|v| v as f32 / 255.0);
        assert_eq!(values, expected);
        assert_eq!(y.into_data().iter::<i64>().collect::<Vec<_>>(), [9, 7]);
    }

    #[test]
    fn a_batch_without_augmentation_is_the_batch() {
        let images = load_from(DataSet::FashionMnist, &data_dir()).unwrap().test;
        let augmentation = Augmentation {
            crop_padding: 0,
            padding: augment::Padding::Zero,
            flip: false,
            cutout: augment::Cutout {
                size: 0,
                fill: vec![0.0],
            },
        };
        let (plain, _) = images.batch(&[3, 5, 8], &Device::flex());
        let (pixels, x, y) =
            images.augmented_batch(&[3, 5, 8], &augmentation, Key::new(1), &Device::flex());
        x.into_data().assert_eq(&plain.into_data(), true);
        let originals = [3, 5, 8].map(|index| images.pixels(index));
        assert_eq!(pixels, originals.concat());
        let labels = [3, 5, 8].map(|index| i64::from(images.labels()[index]));
        assert_eq!(y.into_data().iter::<i64>().collect::<Vec<_>>(), labels);
    }

    #[test]
    fn the_tail_is_held_out() {
        let images = Images::new((0..10).collect(), (0..10).collect(), [1, 1, 1]);
        let (train, validation) = images.hold_out(3);
        assert_eq!(
            (train.labels(), train.pixels(6)),
            (&[0, 1, 2, 3, 4, 5, 6][..], &[6][..])
        );
        assert_eq!(
            (validation.labels(), validation.pixels(0)),
            (&[7, 8, 9][..], &[7][..])
        );
    }

    #[test]
    fn damage_is_reported_with_place_and_expectation() {
        struct Case {
            name: &'static str,
            data_set: DataSet,
            file: &'static str,
            damage: fn(&mut Vec<u8>),
            message: &'static [&'static str],
        }
        const IMAGES: &str = "train-images-idx3-ubyte";
        const LABELS: &str = "t10k-labels-idx1-ubyte";
        const BATCH: &str = "cifar-10-batches-bin/data_batch_3.bin";
        const FINE: &str = "cifar-100-binary/train.bin";
        let fashion = || DataSet::FashionMnist;
        let cifar = || DataSet::Cifar10;
        let cases = [
            Case {
                name: "magic of labels in a file of images",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes[3] = 1,
                message: &["offset 0", "0x00000801", "0x00000803", "images"],
            },
            Case {
                name: "magic of images in a file of labels",
                data_set: fashion(),
                file: LABELS,
                damage: |bytes| bytes[3] = 3,
                message: &["offset 0", "0x00000803", "0x00000801", "labels"],
            },
            Case {
                name: "another image size",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes[11] = 32,
                message: &["offset 8", "32 x 28", "28 x 28"],
            },
            Case {
                name: "a count of four thousand million",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes[4..8].fill(0xff),
                message: &["offset 4", "4294967295", "1 to 60000"],
            },
            Case {
                name: "no image",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes[4..8].fill(0),
                message: &["offset 4", "count of 0", "1 to 60000"],
            },
            Case {
                name: "header cut short",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes.truncate(10),
                message: &["offset 10", "expected 16 bytes"],
            },
            Case {
                name: "images cut short",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes.truncate(5_000),
                message: &["offset 5000", "expected 392016 bytes"],
            },
            Case {
                name: "labels cut short",
                data_set: fashion(),
                file: LABELS,
                damage: |bytes| bytes.truncate(100),
                message: &["offset 100", "expected 208 bytes"],
            },
            Case {
                name: "a byte too many",
                data_set: fashion(),
                file: IMAGES,
                damage: |bytes| bytes.push(0),
                message: &["after offset 392016"],
            },
            Case {
                name: "a label out of range",
                data_set: fashion(),
                file: LABELS,
                damage: |bytes| bytes[8 + 17] = 10,
                message: &["offset 25", "label 10", "0 to 9"],
            },
            Case {
                name: "more labels than images",
                data_set: fashion(),
                file: LABELS,
                damage: |bytes| {
                    bytes[7] += 1;
                    bytes.push(0);
                },
                message: &["200 images", "201 labels"],
            },
            Case {
                name: "a record cut short",
                data_set: cifar(),
                file: BATCH,
                damage: |bytes| bytes.truncate(2 * 3073 + 5),
                message: &["6151 bytes", "3073 bytes", "last 5 bytes from offset 6146"],
            },
            Case {
                name: "no record",
                data_set: cifar(),
                file: BATCH,
                damage: |bytes| bytes.clear(),
                message: &["found 0 bytes", "1 to 10000 whole records"],
            },
            Case {
                name: "more records than a file has",
                data_set: cifar(),
                file: BATCH,
                damage: |bytes| bytes.resize(10_001 * 3073, 0),
                message: &["found 30730001 bytes", "1 to 10000 whole records"],
            },
            Case {
                name: "a label out of range in a record",
                data_set: cifar(),
                file: BATCH,
                damage: |bytes| bytes[3 * 3073] = 255,
                message: &["offset 9219", "label 255", "0 to 9"],
            },
            Case {
                name: "labels of another data set",
                data_set: DataSet::Mnist,
                file: LABELS,
                damage: |bytes| bytes[8] = 26,
                message: &["offset 8", "label 26", "0 to 9"],
            },
            Case {
                name: "images of another data set",
                data_set: DataSet::Mnist,
                file: IMAGES,
                damage: |bytes| bytes[15] = 14,
                message: &["offset 8", "28 x 14", "28 x 28"],
            },
            Case {
                name: "a superclass out of range",
                data_set: DataSet::Cifar100,
                file: FINE,
                damage: |bytes| bytes[2 * 3074] = 20,
                message: &["offset 6148", "label 20", "0 to 19"],
            },
            Case {
                name: "a fine label out of range",
                data_set: DataSet::Cifar100,
                file: FINE,
                damage: |bytes| bytes[2 * 3074 + 1] = 100,
                message: &["offset 6149", "label 100", "0 to 99"],
            },
            Case {
                name: "records of CIFAR-10",
                data_set: DataSet::Cifar100,
                file: FINE,
                damage: |bytes| bytes.truncate(100 * 3073),
                message: &[
                    "307300 bytes",
                    "3074 bytes",
                    "last 2974 bytes from offset 304326",
                ],
            },
            Case {
                name: "more test images than there are",
                data_set: DataSet::Cifar100,
                file: "cifar-100-binary/test.bin",
                damage: |bytes| bytes.resize(10_001 * 3074, 0),
                message: &["1 to 10000 whole records"],
            },
        ];
        for case in cases {
            let folder = tempfile::tempdir().unwrap();
            unpack(&case.data_set, folder.path());
            let path = folder.path().join(case.file);
            let mut bytes = fs::read(&path).unwrap();
            (case.damage)(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let error = load_from(case.data_set, folder.path())
                .expect_err(case.name)
                .to_string();
            let file_name = path.file_name().unwrap().to_str().unwrap();
            for part in case.message.iter().chain([&file_name]) {
                assert!(
                    error.contains(part),
                    "{}: {error:?} lacks {part:?}",
                    case.name
                );
            }
        }
    }

    /// The unpacked files of the small subset, directly in `folder`.
    fn unpack(data_set: &DataSet, folder: &Path) {
        let Source::Official(set) = data_set.source() else {
            unreachable!("{data_set:?}")
        };
        let source = data_dir().join(set.folder);
        match set.unpacked {
            None => {
                for file in fs::read_dir(source).unwrap() {
                    let path = file.unwrap().path();
                    let mut unpacked = Vec::new();
                    let mut decoder = flate2::read::GzDecoder::new(fs::File::open(&path).unwrap());
                    std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
                    fs::write(folder.join(path.file_stem().unwrap()), unpacked).unwrap();
                }
            }
            Some(unpacked) => {
                fs::create_dir(folder.join(unpacked)).unwrap();
                for file in fs::read_dir(source.join(unpacked)).unwrap() {
                    let file = file.unwrap();
                    fs::copy(file.path(), folder.join(unpacked).join(file.file_name())).unwrap();
                }
            }
        }
    }

    #[test]
    fn packed_and_unpacked_files_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        unpack(&DataSet::FashionMnist, folder.path());
        let unpacked = load_from(DataSet::FashionMnist, folder.path()).unwrap();
        assert_eq!(
            unpacked,
            load_from(DataSet::FashionMnist, &data_dir()).unwrap()
        );
    }

    #[test]
    fn a_damaged_gzip_is_reported() {
        const NAME: &str = "train-images-idx3-ubyte.gz";
        let source = fs::read(data_dir().join("fashion-mnist").join(NAME)).unwrap();
        let cut = source[..source.len() / 2].to_vec();
        let mut wrong_sum = source.clone();
        let crc = wrong_sum.len() - 8;
        wrong_sum[crc] ^= 1;
        for (bytes, expected) in [(cut, "expected 392016 bytes"), (wrong_sum, "cannot unpack")] {
            let folder = tempfile::tempdir().unwrap();
            unpack(&DataSet::FashionMnist, folder.path());
            fs::remove_file(folder.path().join(NAME.trim_end_matches(".gz"))).unwrap();
            fs::write(folder.path().join(NAME), bytes).unwrap();
            let error = load_from(DataSet::FashionMnist, folder.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(NAME) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_official_archive_is_read_without_unpacking() {
        for (data_set, last) in [
            (DataSet::Cifar10, "test_batch.bin"),
            (DataSet::Cifar100, "test.bin"),
        ] {
            let Source::Official(set) = data_set.source() else {
                unreachable!("{data_set:?}")
            };
            let (unpacked, name) = (set.unpacked.unwrap(), set.archives[0].name);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            let pack = |omit: &str| {
                let file = fs::File::create(&path).unwrap();
                let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                let mut archive = tar::Builder::new(gzip);
                for entry in fs::read_dir(data_dir().join(set.folder).join(unpacked)).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_name() != omit {
                        let name = Path::new(unpacked).join(entry.file_name());
                        archive.append_path_with_name(entry.path(), name).unwrap();
                    }
                }
                archive.into_inner().unwrap().finish().unwrap();
            };
            let load = || load_from(data_set.clone(), folder.path());
            pack("");
            assert_eq!(
                load().unwrap(),
                load_from(data_set.clone(), &data_dir()).unwrap()
            );

            pack(last);
            let error = load().unwrap_err().to_string();
            assert!(error.contains(last) && error.contains(name), "{error}");

            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            let error = load().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
