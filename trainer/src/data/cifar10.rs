//! CIFAR-10 in its official binary files, unpacked or in the official archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::download::Archive;
use super::{DataError, DataSet, Images, Splits, find};

pub(super) const SHAPE: [usize; 3] = [3, 32, 32];

pub(super) const CLASS_NAMES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

const ARCHIVE: &str = "cifar-10-binary.tar.gz";

pub(super) const ARCHIVES: &[Archive<'static>] = &[Archive {
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    name: ARCHIVE,
    bytes: 170_052_171,
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}];

/// The files of the archive: five to train on, the last to measure on.
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// A label, then the red, the green and the blue plane.
const RECORD: usize = 1 + 3 * 32 * 32;
const RECORDS_PER_FILE: usize = 10_000;

pub(super) fn load(data_dir: &Path) -> Result<Splits, DataError> {
    let name = DataSet::Cifar10.name();
    let batches = "cifar-10-batches-bin";
    let folders = [
        data_dir.to_path_buf(),
        data_dir.join(batches),
        data_dir.join(name),
        data_dir.join(name).join(batches),
    ];
    let missing = |file| DataError::Missing {
        data_set: name,
        file,
        looked_in: folders.to_vec(),
    };
    let files = if let Some(first) = find(&folders, &FILES[..1]) {
        read_folder(first.parent().expect("a file lies in a folder"))?
    } else if let Some(archive) = find(&folders, &[ARCHIVE]) {
        read_archive(&archive)?
    } else {
        return Err(missing(FILES[0]));
    };

    let mut sets = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for (path, bytes) in &files {
        let is_test = path.ends_with(FILES[5]);
        let (pixels, labels) = &mut sets[usize::from(is_test)];
        split_records(path, bytes, pixels, labels)?;
    }
    let [train, test] = sets.map(|(pixels, labels)| Images::new(pixels, labels, SHAPE));
    Ok(Splits { train, test })
}

/// The six files of a folder, each with its path.
fn read_folder(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
    let read = |name: &&'static str| {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(DataError::Missing {
                data_set: DataSet::Cifar10.name(),
                file: name,
                looked_in: vec![folder.into()],
            });
        }
        let io = |source| DataError::Io {
            path: path.clone(),
            action: "read",
            source,
        };
        let bytes = read_bounded(File::open(&path).map_err(io)?).map_err(io)?;
        Ok((path, bytes))
    };
    FILES.iter().map(read).collect()
}

/// The six files of the official archive, in the order of [`FILES`].
fn read_archive(archive: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
    let io = |source| DataError::Io {
        path: archive.into(),
        action: "unpack",
        source,
    };
    let file = BufReader::new(File::open(archive).map_err(io)?);
    let mut found: [Option<(PathBuf, Vec<u8>)>; 6] = Default::default();
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
        let Some(at) = FILES
            .iter()
            .position(|file| name.as_deref() == Some(file.as_ref()))
        else {
            continue;
        };
        found[at] = Some((archive.join(FILES[at]), read_bounded(entry).map_err(io)?));
    }
    let files = found.into_iter().zip(FILES).map(|(file, name)| {
        file.ok_or_else(|| DataError::Missing {
            data_set: DataSet::Cifar10.name(),
            file: name,
            looked_in: vec![archive.into()],
        })
    });
    files.collect()
}

/// All bytes up to one more than the longest file that could be right.
fn read_bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = (RECORDS_PER_FILE * RECORD) as u64;
    reader.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn split_records(
    path: &Path,
    bytes: &[u8],
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let count = bytes.len() / RECORD;
    if !bytes.len().is_multiple_of(RECORD) || count == 0 || count > RECORDS_PER_FILE {
        return Err(DataError::Records {
            path: path.into(),
            found: bytes.len() as u64,
            record: RECORD as u64,
            most: RECORDS_PER_FILE as u64,
        });
    }
    for (at, record) in bytes.chunks_exact(RECORD).enumerate() {
        let (label, image) = (record[0], &record[1..]);
        if usize::from(label) >= CLASS_NAMES.len() {
            return Err(DataError::Label {
                path: path.into(),
                offset: (at * RECORD) as u64,
                found: label,
                classes: CLASS_NAMES.len(),
            });
        }
        labels.push(label);
        pixels.extend_from_slice(image);
    }
    Ok(())
}
