//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their official binary files, unpacked or in the
//! official archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use basin_shared::class_names;

use crate::data::{DataError, Images, Official, Splits, download::Archive, find, missing};

const SHAPE: [usize; 3] = [3, 32, 32];

/// The red, the green and the blue plane.
const PIXELS: usize = 3 * 32 * 32;

/// What sets the two data sets apart.
struct Format<'a> {
    set: &'a Official,
    class_names: &'static [&'static str],
    /// The files of the archive: those to train on, and last the one to measure on; with the records
    /// of each.
    files: &'static [(&'static str, usize)],
    /// How many classes each label byte before the pixels tells apart; the last is the one that
    /// counts.
    labels: &'static [usize],
}

pub(in crate::data) static CIFAR_10: Official = Official {
    name: "cifar-10",
    folder: "cifar-10",
    unpacked: Some("cifar-10-batches-bin"),
    shape: SHAPE,
    classes: class_names::CIFAR_10.len(),
    archives: &[Archive {
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        name: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    }],
    load: |set, folders| load(&cifar_10(set), folders),
    load_test: |set, folders| load_test(&cifar_10(set), folders),
};

fn cifar_10(set: &Official) -> Format<'_> {
    Format {
        set,
        class_names: &class_names::CIFAR_10,
        files: &[
            ("data_batch_1.bin", 10_000),
            ("data_batch_2.bin", 10_000),
            ("data_batch_3.bin", 10_000),
            ("data_batch_4.bin", 10_000),
            ("data_batch_5.bin", 10_000),
            ("test_batch.bin", 10_000),
        ],
        labels: &[10],
    }
}

pub(in crate::data) static CIFAR_100: Official = Official {
    name: "cifar-100",
    folder: "cifar-100",
    unpacked: Some("cifar-100-binary"),
    shape: SHAPE,
    classes: CIFAR_100_CLASSES.len(),
    archives: &[Archive {
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        name: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    }],
    load: |set, folders| load(&cifar_100(set), folders),
    load_test: |set, folders| load_test(&cifar_100(set), folders),
};

fn cifar_100(set: &Official) -> Format<'_> {
    Format {
        set,
        class_names: &CIFAR_100_CLASSES,
        files: &[("train.bin", 50_000), ("test.bin", 10_000)],
        // The coarse label, of 20 superclasses, then the fine one.
        labels: &[20, 100],
    }
}

fn load(format: &Format, folders: &[PathBuf]) -> Result<Splits, DataError> {
    let (first, _) = format.files[0];
    let files = if let Some(path) = find(folders, &[first]) {
        read_folder(format, path.parent().expect("a file lies in a folder"))?
    } else if let Some(archive) = find(folders, &[format.set.archives[0].name]) {
        read_archive(format, &archive)?
    } else {
        return Err(missing(format.set, first, folders));
    };

    let mut sets = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    let test = files.len() - 1;
    for (at, ((path, bytes), &(_, most))) in files.iter().zip(format.files).enumerate() {
        let (pixels, labels) = &mut sets[usize::from(at == test)];
        split_records(format, path, bytes, most, pixels, labels)?;
    }
    let [train, test] = sets.map(|(pixels, labels)| Images::new(pixels, labels, SHAPE));
    Ok(Splits {
        train,
        test,
        class_names: format.class_names.iter().map(|&name| name.into()).collect(),
    })
}

/// The test images alone.
fn load_test(format: &Format, folders: &[PathBuf]) -> Result<Images, DataError> {
    let &(name, most) = format.files.last().expect("a file to measure on");
    let (path, bytes) = if let Some(path) = find(folders, &[name]) {
        read_file(format, path, most)?
    } else if let Some(archive) = find(folders, &[format.set.archives[0].name]) {
        let mut files = read_archive(format, &archive)?;
        files.pop().expect("as many files as the format has")
    } else {
        return Err(missing(format.set, name, folders));
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    split_records(format, &path, &bytes, most, &mut pixels, &mut labels)?;
    Ok(Images::new(pixels, labels, SHAPE))
}

/// The files of a folder, each with its path.
fn read_folder(format: &Format, folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
    let read = |&(name, most): &(&str, usize)| {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(missing(format.set, name, &[folder.into()]));
        }
        read_file(format, path, most)
    };
    format.files.iter().map(read).collect()
}

/// A file with its path.
fn read_file(format: &Format, path: PathBuf, most: usize) -> Result<(PathBuf, Vec<u8>), DataError> {
    let io = |source| DataError::Io {
        path: path.clone(),
        action: "read",
        source,
    };
    let file = File::open(&path).map_err(io)?;
    let bytes = read_bounded(format, file, most).map_err(io)?;
    Ok((path, bytes))
}

/// The files of the official archive, in the order of `format.files`.
fn read_archive(format: &Format, archive: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
    let io = |source| DataError::Io {
        path: archive.into(),
        action: "unpack",
        source,
    };
    let file = BufReader::new(File::open(archive).map_err(io)?);
    let mut found = vec![None; format.files.len()];
    for entry in tar::Archive::new(GzDecoder::new(file))
        .entries()
        .map_err(io)?
    {
        let entry = entry.map_err(io)?;
        let name = entry
            .path()
            .map_err(io)?
            .file_name()
            .map(|name| name.to_os_string());
        let Some(at) = format
            .files
            .iter()
            .position(|(file, _)| name.as_deref() == Some(file.as_ref()))
        else {
            continue;
        };
        let (file, most) = format.files[at];
        let bytes = read_bounded(format, entry, most).map_err(io)?;
        found[at] = Some((archive.join(file), bytes));
    }
    let files = found
        .into_iter()
        .zip(format.files)
        .map(|(file, (name, _))| file.ok_or_else(|| missing(format.set, name, &[archive.into()])));
    files.collect()
}

/// All bytes up to one more than the longest file that could be right.
fn read_bounded(format: &Format, reader: impl Read, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = (most * format.record()) as u64;
    reader.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Format<'_> {
    /// Bytes of a label or two and an image.
    fn record(&self) -> usize {
        self.labels.len() + PIXELS
    }
}

fn split_records(
    format: &Format,
    path: &Path,
    bytes: &[u8],
    most: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let length = format.record();
    let count = bytes.len() / length;
    if !bytes.len().is_multiple_of(length) || count == 0 || count > most {
        return Err(DataError::Records {
            path: path.into(),
            found: bytes.len() as u64,
            record: length as u64,
            most: most as u64,
        });
    }
    for (at, record) in bytes.chunks_exact(length).enumerate() {
        let (kinds, image) = record.split_at(format.labels.len());
        for (place, (&label, &classes)) in kinds.iter().zip(format.labels).enumerate() {
            if usize::from(label) >= classes {
                return Err(DataError::Label {
                    path: path.into(),
                    offset: (at * length + place) as u64,
                    found: label,
                    classes,
                });
            }
        }
        labels.extend(kinds.last());
        pixels.extend_from_slice(image);
    }
    Ok(())
}

/// The fine labels.
#[rustfmt::skip]
const CIFAR_100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman",
    "worm",
];
