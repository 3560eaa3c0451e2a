//! Idx files, in which MNIST and Fashion-MNIST come, packed with gzip or not.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::data::{DataError, Images, Official, Splits, find, missing};

pub(in crate::data) const SHAPE: [usize; 3] = [1, 28, 28];

pub(in crate::data) const TRAIN_IMAGES: &str = "train-images-idx3-ubyte.gz";
pub(in crate::data) const TRAIN_LABELS: &str = "train-labels-idx1-ubyte.gz";
pub(in crate::data) const TEST_IMAGES: &str = "t10k-images-idx3-ubyte.gz";
pub(in crate::data) const TEST_LABELS: &str = "t10k-labels-idx1-ubyte.gz";

const TRAIN_COUNT: u32 = 60_000;
const TEST_COUNT: u32 = 10_000;

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// Loads a data set of images of [`SHAPE`] in the four files that MNIST introduced.
pub(in crate::data) fn load(
    set: &Official,
    class_names: &[&str],
    folders: &[PathBuf],
) -> Result<Splits, DataError> {
    let classes = class_names.len();
    let train = [
        locate(set, folders, TRAIN_IMAGES)?,
        locate(set, folders, TRAIN_LABELS)?,
    ];
    Ok(Splits {
        train: read_split(&train[0], &train[1], TRAIN_COUNT, classes)?,
        test: load_test(set, classes, folders)?,
        class_names: class_names.iter().map(|&name| name.into()).collect(),
    })
}

/// The same, the test images alone.
pub(in crate::data) fn load_test(
    set: &Official,
    classes: usize,
    folders: &[PathBuf],
) -> Result<Images, DataError> {
    let images = locate(set, folders, TEST_IMAGES)?;
    read_split(
        &images,
        &locate(set, folders, TEST_LABELS)?,
        TEST_COUNT,
        classes,
    )
}

/// Where a file of this name is, packed or not.
fn locate(set: &Official, folders: &[PathBuf], file: &str) -> Result<PathBuf, DataError> {
    let unpacked = file.trim_end_matches(".gz");
    // As some unpack them: train-images.idx3-ubyte.
    let dotted = unpacked.replace("-idx", ".idx");
    let dotted_packed = format!("{dotted}.gz");
    find(folders, &[file, unpacked, &dotted_packed, &dotted])
        .ok_or_else(|| missing(set, file, folders))
}

fn read_split(
    images: &Path,
    labels: &Path,
    most: u32,
    classes: usize,
) -> Result<Images, DataError> {
    let mut image_file = Idx::open(images)?;
    let mut label_file = Idx::open(labels)?;

    image_file.magic("images", IMAGES_MAGIC)?;
    let image_count = image_file.count(most)?;
    let found = [image_file.number()?, image_file.number()?];
    let expected = [SHAPE[1] as u32, SHAPE[2] as u32];
    if found != expected {
        return Err(DataError::ImageSize {
            path: images.into(),
            found,
            expected,
        });
    }
    let pixels = image_file.rest(image_count * SHAPE.iter().product::<usize>())?;

    label_file.magic("labels", LABELS_MAGIC)?;
    let label_count = label_file.count(most)?;
    let header = label_file.offset;
    let values = label_file.rest(label_count)?;
    if let Some(at) = values
        .iter()
        .position(|&label| usize::from(label) >= classes)
    {
        let offset = header + at as u64;
        return Err(DataError::Label {
            path: labels.into(),
            offset,
            found: values[at],
            classes,
        });
    }
    if image_count != label_count {
        return Err(DataError::Pairing {
            images: images.into(),
            image_count,
            labels: labels.into(),
            label_count,
        });
    }
    Ok(Images::new(pixels, values, SHAPE))
}

/// An idx file being read: big-endian numbers, then bytes.
struct Idx<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    offset: u64,
    /// What the header read so far calls for, at least.
    expected: u64,
}

impl<'a> Idx<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let io = |action| {
            move |source| DataError::Io {
                path: path.to_path_buf(),
                action,
                source,
            }
        };
        let mut file = File::open(path).map_err(io("open"))?;
        // A browser may unpack a download and keep its name, so the bytes say what it is.
        let mut start = [0; 2];
        let packed = match file.read_exact(&mut start) {
            Ok(()) => start == [0x1f, 0x8b],
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(io("read")(error)),
        };
        file.rewind().map_err(io("read"))?;
        let file = BufReader::new(file);
        let reader: Box<dyn Read> = if packed {
            Box::new(GzDecoder::new(file))
        } else {
            Box::new(file)
        };
        Ok(Self {
            path,
            reader,
            offset: 0,
            expected: 0,
        })
    }

    fn magic(&mut self, kind: &'static str, expected: u32) -> Result<(), DataError> {
        self.expected = if expected == IMAGES_MAGIC { 16 } else { 8 };
        let found = self.number()?;
        if found != expected {
            return Err(DataError::Magic {
                path: self.path.into(),
                kind,
                found,
                expected,
            });
        }
        Ok(())
    }

    fn count(&mut self, most: u32) -> Result<usize, DataError> {
        let found = self.number()?;
        if found == 0 || found > most {
            return Err(DataError::Count {
                path: self.path.into(),
                found,
                most,
            });
        }
        Ok(found as usize)
    }

    fn number(&mut self) -> Result<u32, DataError> {
        let bytes = self.read(4)?;
        Ok(u32::from_be_bytes(
            bytes.try_into().expect("four bytes were read"),
        ))
    }

    /// The last `count` bytes; the file must end with them.
    fn rest(mut self, count: usize) -> Result<Vec<u8>, DataError> {
        self.expected = self.offset + count as u64;
        let bytes = self.read(count)?;
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(bytes),
            Ok(_) => Err(DataError::Trailing {
                path: self.path.into(),
                expected: self.expected,
            }),
            Err(source) => Err(self.unpacking(source)),
        }
    }

    /// Memory grows with what is there, not with what is asked for.
    fn read(&mut self, count: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let result = self
            .reader
            .by_ref()
            .take(count as u64)
            .read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        match result {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(self.unpacking(error)),
            _ if bytes.len() == count => Ok(bytes),
            _ => Err(DataError::Truncated {
                path: self.path.into(),
                offset: self.offset,
                expected: self.expected,
            }),
        }
    }

    fn unpacking(&self, source: std::io::Error) -> DataError {
        DataError::Io {
            path: self.path.into(),
            action: "unpack",
            source,
        }
    }
}
