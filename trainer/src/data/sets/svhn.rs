//! The cropped digits of SVHN (Netzer et al. 2011), in the official MATLAB files.

use std::path::{Path, PathBuf};

use crate::data::{
    DataError, Images, Official, Splits, download::Archive, find, formats::mat, missing,
};

const SHAPE: [usize; 3] = [3, 32, 32];
const CLASS_NAMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// A file and how many digits it has.
struct Part {
    archive: Archive<'static>,
    count: usize,
}

// The host speaks plain HTTP, so the checksums, which TensorFlow Datasets and others publish, are
// what vouches for the bytes.
const TRAIN: Part = Part {
    archive: Archive {
        url: "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        name: "train_32x32.mat",
        bytes: 182_040_794,
        sha256: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    },
    count: 73_257,
};
const TEST: Part = Part {
    archive: Archive {
        url: "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        name: "test_32x32.mat",
        bytes: 64_275_384,
        sha256: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
    count: 26_032,
};
const EXTRA: Part = Part {
    archive: Archive {
        url: "http://ufldl.stanford.edu/housenumbers/extra_32x32.mat",
        name: "extra_32x32.mat",
        bytes: 1_329_278_602,
        sha256: "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
    },
    count: 531_131,
};

pub(in crate::data) static SVHN: Official = Official {
    name: "svhn",
    folder: "svhn",
    unpacked: None,
    shape: SHAPE,
    classes: CLASS_NAMES.len(),
    archives: &[TRAIN.archive, TEST.archive],
    load: |set, folders| load(set, &[TRAIN], folders),
    load_test: |set, folders| read(set, &[TEST], folders),
};

/// With the somewhat easier digits of `extra`. They come first: validation images are taken from the
/// end of the training set, which is that of SVHN.
pub(in crate::data) static SVHN_EXTRA: Official = Official {
    name: "svhn-extra",
    folder: "svhn",
    unpacked: None,
    shape: SHAPE,
    classes: CLASS_NAMES.len(),
    archives: &[EXTRA.archive, TRAIN.archive, TEST.archive],
    load: |set, folders| load(set, &[EXTRA, TRAIN], folders),
    load_test: |set, folders| read(set, &[TEST], folders),
};

fn load(set: &Official, train: &[Part], folders: &[PathBuf]) -> Result<Splits, DataError> {
    Ok(Splits {
        train: read(set, train, folders)?,
        test: read(set, &[TEST], folders)?,
        class_names: CLASS_NAMES.map(String::from).into(),
    })
}

fn read(set: &Official, parts: &[Part], folders: &[PathBuf]) -> Result<Images, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for part in parts {
        let name = part.archive.name;
        let path = find(folders, &[name]).ok_or_else(|| missing(set, name, folders))?;
        read_part(&path, part.count, &mut pixels, &mut labels)?;
    }
    Ok(Images::new(pixels, labels, SHAPE))
}

/// Appends the digits of a file: `X`, `[32, 32, 3, count]`, and `y`, `[count, 1]`, of which 10 is
/// the digit 0.
fn read_part(
    path: &Path,
    most: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let check = |array: &mat::Array| {
        let good = match (array.name.as_str(), &array.shape[..]) {
            ("X", [32, 32, 3, count]) | ("y", [count, 1]) => (1..=most).contains(count),
            _ => false,
        };
        if good {
            return Ok(());
        }
        Err(DataError::Unexpected {
            path: path.into(),
            offset: array.offset,
            found: format!("an array {} of {:?}", array.name, array.shape),
            expected: format!("X of [32, 32, 3, n] or y of [n, 1], n from 1 to {most}"),
        })
    };
    let mut arrays = mat::read(path, check)?;
    let mut take = |name: &'static str| {
        let at = arrays.iter().position(|array| array.name == name);
        at.map(|at| arrays.swap_remove(at))
            .ok_or_else(|| DataError::NoArray {
                path: path.into(),
                name,
            })
    };
    let (x, y) = (take("X")?, take("y")?);
    if x.shape[3] != y.shape[0] {
        return Err(DataError::Pairing {
            images: path.into(),
            image_count: x.shape[3],
            labels: path.into(),
            label_count: y.shape[0],
        });
    }
    if let Some(at) = y.values.iter().position(|label| !(1..=10).contains(label)) {
        return Err(DataError::Unexpected {
            path: path.into(),
            offset: y.offset + at as u64,
            found: format!("label {}", y.values[at]),
            expected: "1 to 10, where 10 is the digit 0".into(),
        });
    }
    labels.extend(y.values.iter().map(|label| label % 10));
    // MATLAB's first index, the row, is the one that runs fastest.
    pixels.reserve(x.values.len());
    for plane in x.values.chunks_exact(32 * 32) {
        for row in 0..32 {
            pixels.extend(plane.iter().skip(row).step_by(32));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};

    use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

    /// Made-up files, which SciPy wrote; `make_svhn.py` beside them says what they show.
    fn made_up() -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        root.join("tests/data/made-up/svhn")
    }

    fn load_from(set: &Official, folder: &Path) -> Result<Splits, DataError> {
        (set.load)(set, &[folder.into()])
    }

    fn assert_made_up(images: &Images, labels: &[u8], from: usize) {
        assert_eq!(images.labels()[from..from + labels.len()], *labels);
        for n in 0..labels.len() {
            let expected: Vec<u8> = (0..3 * 32 * 32)
                .map(|at| (2 * (at / 32 % 32) + at % 32 + 40 * (at / 1024) + 10 * n) as u8)
                .collect();
            assert_eq!(images.pixels(from + n), expected, "digit {n}");
        }
    }

    const TRAIN_LABELS: [u8; 12] = [1, 9, 2, 3, 0, 5, 6, 7, 8, 4, 0, 1];

    #[test]
    fn digits_are_read_upright_and_ten_is_zero() {
        let splits = load_from(&SVHN, &made_up()).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (12, 3));
        assert_made_up(&splits.train, &TRAIN_LABELS, 0);
        assert_made_up(&splits.test, &[0, 4, 1], 0);
        assert_eq!(splits.class_names[0], "0");
    }

    #[test]
    fn extra_digits_come_before_those_that_validate() {
        let splits = load_from(&SVHN_EXTRA, &made_up()).unwrap();
        assert_eq!(splits.train.len(), 14);
        assert_made_up(&splits.train, &[3, 0], 0);
        assert_made_up(&splits.train, &TRAIN_LABELS, 2);
        assert_eq!(splits.test, load_from(&SVHN, &made_up()).unwrap().test);
    }

    /// The elements of a file, unpacked.
    fn elements(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut elements, mut rest) = (vec![bytes[..128].to_vec()], &bytes[128..]);
        while !rest.is_empty() {
            assert_eq!(rest[0], 15, "SciPy compressed the arrays");
            let end = 8 + u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let mut element = Vec::new();
            let mut decoder = ZlibDecoder::new(&rest[8..end]);
            decoder.read_to_end(&mut element).unwrap();
            elements.push(element);
            rest = &rest[end..];
        }
        elements
    }

    fn compressed(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = elements[0].clone();
        for element in &elements[1..] {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(element).unwrap();
            let packed = encoder.finish().unwrap();
            bytes.extend(15_u32.to_le_bytes());
            bytes.extend((packed.len() as u32).to_le_bytes());
            bytes.extend(packed);
        }
        bytes
    }

    /// The made-up files with a training file of these bytes.
    fn load_with(bytes: &[u8]) -> Result<Splits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(
            made_up().join("test_32x32.mat"),
            folder.path().join("test_32x32.mat"),
        )
        .unwrap();
        fs::write(folder.path().join("train_32x32.mat"), bytes).unwrap();
        load_from(&SVHN, folder.path())
    }

    #[test]
    fn arrays_may_be_compressed_or_not_and_in_any_order() {
        let mut elements = elements(&fs::read(made_up().join("train_32x32.mat")).unwrap());
        let expected = load_from(&SVHN, &made_up()).unwrap();
        assert_eq!(load_with(&elements.concat()).unwrap(), expected);
        assert_eq!(load_with(&compressed(&elements)).unwrap(), expected);
        elements.swap(1, 2);
        assert_eq!(load_with(&elements.concat()).unwrap(), expected);
    }

    #[test]
    fn damage_is_reported_with_place_and_expectation() {
        // X, of 12 digits: flags at 144, shape at 160, name at 180, values at 192 to 37056. Then y:
        // flags at 37072, shape at 37088, name at 37100, type of the values at 37104, values at
        // 37112 to 37124, padding to 37128.
        struct Case {
            name: &'static str,
            damage: fn(&mut Vec<Vec<u8>>),
            message: &'static [&'static str],
        }
        let cases = [
            Case {
                name: "a file of another kind",
                damage: |elements| elements[0][124..].copy_from_slice(b"HDF5"),
                message: &["offset 124", "version", "MATLAB 5.0"],
            },
            Case {
                name: "big-endian",
                damage: |elements| elements[0][126..].copy_from_slice(b"MI"),
                message: &["offset 124", "little-endian"],
            },
            Case {
                name: "a structure",
                damage: |elements| elements[1][16] = 2,
                message: &["offset 144", "class 2", "6 to 15"],
            },
            Case {
                name: "shape and name exchanged",
                damage: |elements| elements[1][24] = 1,
                message: &["offset 152", "part of type 1", "expected 5"],
            },
            Case {
                name: "images of another size",
                damage: |elements| elements[1][32] = 28,
                message: &["offset 192", "[28, 32, 3, 12]", "[32, 32, 3, n]"],
            },
            Case {
                name: "more digits than the data set has",
                damage: |elements| elements[1][46] = 2,
                message: &["offset 192", "[32, 32, 3, 131084]", "n from 1 to 73257"],
            },
            Case {
                name: "a shape of more values than there are",
                damage: |elements| elements[1][44] = 13,
                message: &["offset 192", "36864 values", "[32, 32, 3, 13]"],
            },
            Case {
                name: "no digit",
                damage: |elements| elements[1][44] = 0,
                message: &["offset 192", "[32, 32, 3, 0]", "n from 1"],
            },
            Case {
                name: "another variable",
                damage: |elements| elements[1][52] = b'Z',
                message: &["offset 192", "an array Z", "X of [32, 32, 3, n]"],
            },
            Case {
                name: "values as fractions",
                damage: |elements| elements[1][56] = 9,
                message: &["offset 184", "part of type 9", "expected 2"],
            },
            Case {
                name: "values that go beyond their array",
                damage: |elements| elements[1][62] = 1,
                message: &["offset 184", "part of 102400 bytes", "at most 36864"],
            },
            Case {
                name: "fewer labels than images",
                damage: |elements| {
                    elements[2][32] = 11;
                    elements[2][52] = 11;
                },
                message: &["12 images", "11 labels"],
            },
            Case {
                name: "label 0",
                damage: |elements| elements[2][56 + 3] = 0,
                message: &["offset 37115", "label 0", "1 to 10"],
            },
            Case {
                name: "label 11",
                damage: |elements| elements[2][56 + 11] = 11,
                message: &["offset 37123", "label 11", "10 is the digit 0"],
            },
            Case {
                name: "no labels",
                damage: |elements| {
                    elements.pop();
                },
                message: &["no array y"],
            },
            Case {
                name: "no array at all",
                damage: |elements| elements.truncate(1),
                message: &["no array X"],
            },
            Case {
                name: "an element that is no array",
                damage: |elements| elements[2][0] = 9,
                message: &["offset 37056", "element of type 9", "14"],
            },
        ];
        let good = elements(&fs::read(made_up().join("train_32x32.mat")).unwrap());
        for case in cases {
            let mut damaged = good.clone();
            (case.damage)(&mut damaged);
            for bytes in [damaged.concat(), compressed(&damaged)] {
                let error = load_with(&bytes).expect_err(case.name).to_string();
                for part in case.message.iter().chain(&["train_32x32.mat"]) {
                    assert!(
                        error.contains(part),
                        "{}: {error:?} lacks {part:?}",
                        case.name
                    );
                }
            }
        }
    }

    #[test]
    fn a_file_cut_short_is_reported_wherever_it_ends() {
        let packed = fs::read(made_up().join("train_32x32.mat")).unwrap();
        let unpacked = elements(&packed).concat();
        for bytes in [packed, unpacked] {
            // Not where an element ends: there an array is missing, which is another error.
            let first = 136 + u32::from_le_bytes(bytes[132..136].try_into().unwrap()) as usize;
            let ends = [0, 1, 127, 130, 140, first - 1, first + 3, bytes.len() - 1];
            for end in ends {
                let error = load_with(&bytes[..end]).unwrap_err().to_string();
                let place = format!("ends at offset {end}, expected ");
                assert!(
                    error.contains(&place) && error.contains("train_32x32.mat"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_damaged_stream_is_reported() {
        let good = fs::read(made_up().join("train_32x32.mat")).unwrap();
        let elements = elements(&good);
        let first = 136 + u32::from_le_bytes(good[132..136].try_into().unwrap()) as usize;
        let mut wrong_sum = good.clone();
        wrong_sum[first - 1] ^= 1;
        let mut wrong_head = good.clone();
        wrong_head[136] = 0;
        let mut longer = elements.clone();
        longer[1].push(7);
        // The array says that it is longer than its stream.
        let mut shorter = elements.clone();
        shorter[1].truncate(20_000);
        for (bytes, expected) in [
            (wrong_sum, "cannot unpack"),
            (wrong_head, "cannot unpack"),
            (compressed(&longer), "goes on after offset 37056"),
            (compressed(&shorter), "ends at offset 20128, expected 37056"),
        ] {
            let error = load_with(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
