//! Tiny-ImageNet (Le and Yang 2015): 200 classes of ImageNet at 64 x 64, in the official archive or
//! unpacked. The labels of its test set were never published; its validation set stands in.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use basin_shared::pictures::fit;
use zip::ZipArchive;

use crate::{
    data::{
        DataError, Official, Splits,
        download::Archive,
        find,
        formats::pictures::{Picture, decode_all, listed},
        missing,
    },
    figures::picture,
};

const SHAPE: [usize; 3] = [3, 64, 64];
const CLASSES: usize = 200;

/// The list of classes, by which the folder is known.
const CLASS_LIST: &str = "wnids.txt";
/// What the classes are called.
const WORDS: &str = "words.txt";
/// Which class each image of the validation set shows.
const ANNOTATIONS: &str = "val/val_annotations.txt";

pub(in crate::data) static SET: Official = Official {
    name: "tiny-imagenet",
    folder: "tiny-imagenet",
    unpacked: Some("tiny-imagenet-200"),
    shape: SHAPE,
    classes: CLASSES,
    archives: &[Archive {
        // Plain HTTP; the checksum, found in several independent records, vouches for the bytes.
        url: "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        name: "tiny-imagenet-200.zip",
        bytes: 248_100_043,
        sha256: "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    }],
    load,
    load_test: |set, folders| Ok(load(set, folders)?.test),
};

fn load(set: &Official, folders: &[PathBuf]) -> Result<Splits, DataError> {
    let files = if let Some(path) = find(folders, &[CLASS_LIST]) {
        Files::Folder(path.parent().expect("a file lies in a folder").into())
    } else if let Some(path) = find(folders, &[set.archives[0].name]) {
        Files::unpack(path)?
    } else {
        return Err(missing(set, set.archives[0].name, folders));
    };
    let classes = classes(&files)?;
    let class_names = class_names(&files, &classes)?;

    let mut train = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let folder = format!("train/{class}/images");
        let names = files.list(&folder)?;
        if names.is_empty() {
            return Err(DataError::FewPictures {
                path: files.path(&folder),
                found: 0,
                least: 1,
            });
        }
        let label = label as u8;
        train.extend(names.into_iter().map(|name| Picture { name, label }));
    }
    let test = match files.holds("val/images") || !files.holds(&format!("val/{}", classes[0])) {
        true => annotated(set, &files, &classes)?,
        false => in_class_folders(&files, &classes)?,
    };
    let decode = |picture: &Picture| {
        let path = files.path(&picture.name);
        let image = picture::decode(&path, &files.read(&picture.name)?)?;
        let found = [image.height(), image.width()];
        let expected = [SHAPE[1], SHAPE[2]].map(|size| size as u32);
        if found != expected {
            return Err(DataError::PictureSize {
                path,
                found,
                expected,
            });
        }
        Ok(fit(&image, SHAPE))
    };
    Ok(Splits {
        train: decode_all(train, SHAPE, decode)?,
        test: decode_all(test, SHAPE, decode)?,
        class_names,
    })
}

/// The validation set as it comes: one folder, and a file that says which class each image shows.
fn annotated(set: &Official, files: &Files, classes: &[String]) -> Result<Vec<Picture>, DataError> {
    let mut labels = annotations(files, classes)?;
    let mut pictures = Vec::new();
    for name in files.list("val/images")? {
        let Some(label) = labels.remove(&name) else {
            return Err(DataError::Annotation {
                path: files.path(ANNOTATIONS),
                picture: files.path(&name),
            });
        };
        pictures.push(Picture { name, label });
    }
    // In the order of their names, so that of several the same one is reported every time.
    match labels.into_keys().min() {
        Some(name) => Err(missing(set, &name, &[files.path("")])),
        None => Ok(pictures),
    }
}

/// The validation set as many reorganise it: a folder a class, with or without `images` in between. In the order of
/// the images' names, which is that of the set as it comes.
fn in_class_folders(files: &Files, classes: &[String]) -> Result<Vec<Picture>, DataError> {
    let mut pictures = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let folders = [format!("val/{class}/images"), format!("val/{class}")];
        let folder = folders.iter().find(|folder| files.holds(folder));
        let mut names = match folder {
            Some(folder) => files.list(folder)?,
            None => Vec::new(),
        };
        names.retain(|name| name.ends_with(".JPEG"));
        let label = label as u8;
        pictures.extend(names.into_iter().map(|name| Picture { name, label }));
    }
    match pictures.len() {
        0 => Err(DataError::FewPictures {
            path: files.path("val"),
            found: 0,
            least: 1,
        }),
        _ => Ok(pictures),
    }
}

/// The classes, WordNet's numbers for nouns, in ascending order, which is that of their labels.
fn classes(files: &Files) -> Result<Vec<String>, DataError> {
    let mut classes: Vec<String> = files
        .text(CLASS_LIST)?
        .split_whitespace()
        .map(String::from)
        .collect();
    classes.sort();
    classes.dedup();
    if classes.len() != CLASSES {
        return Err(DataError::Classes {
            path: files.path(CLASS_LIST),
            found: classes.len(),
            expected: CLASSES,
        });
    }
    Ok(classes)
}

/// The first of the synonyms of each class, or all of them where two classes share the first.
fn class_names(files: &Files, classes: &[String]) -> Result<Vec<String>, DataError> {
    let text = files.text(WORDS)?;
    let words: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim_end().split_once('\t'))
        .collect();
    let first = |synonyms: &str| synonyms.split(',').next().unwrap_or_default().to_string();
    let mut uses = HashMap::new();
    for class in classes {
        let synonyms = words.get(class.as_str()).ok_or_else(|| DataError::NoName {
            path: files.path(WORDS),
            class: class.clone(),
        })?;
        *uses.entry(first(synonyms)).or_insert(0) += 1;
    }
    let name = |class: &String| {
        let synonyms = words[class.as_str()];
        match uses[&first(synonyms)] {
            1 => first(synonyms),
            _ => synonyms.into(),
        }
    };
    Ok(classes.iter().map(name).collect())
}

/// The label of each image of the validation set, by the image's name.
fn annotations(files: &Files, classes: &[String]) -> Result<HashMap<String, u8>, DataError> {
    let text = files.text(ANNOTATIONS)?;
    let mut labels = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |expected: &'static str| DataError::Line {
            path: files.path(ANNOTATIONS),
            line: at + 1,
            found: line.into(),
            expected,
        };
        // The rest of the line is a box around the object.
        let mut columns = line.split('\t');
        let (Some(name), Some(class)) = (columns.next(), columns.next()) else {
            return Err(wrong("a file and its class, separated by a tab"));
        };
        let label = classes
            .binary_search_by(|known| known.as_str().cmp(class))
            .map_err(|_| wrong("a class of wnids.txt"))?;
        if labels
            .insert(format!("val/images/{name}"), label as u8)
            .is_some()
        {
            return Err(wrong("each file once"));
        }
    }
    Ok(labels)
}

/// The files of the data set, by their names in the folder that the archive unpacks to.
enum Files {
    Folder(PathBuf),
    /// The archive, and the files in it that are used.
    Archive(PathBuf, BTreeMap<String, Vec<u8>>),
}

impl Files {
    fn unpack(path: PathBuf) -> Result<Self, DataError> {
        let io = |path: &Path, source| DataError::Io {
            path: path.into(),
            action: "unpack",
            source,
        };
        let file = File::open(&path).map_err(|source| io(&path, source))?;
        let mut archive =
            ZipArchive::new(BufReader::new(file)).map_err(|error| io(&path, error.into()))?;
        let mut files = BTreeMap::new();
        for at in 0..archive.len() {
            let mut entry = archive
                .by_index(at)
                .map_err(|error| io(&path, error.into()))?;
            let name = entry.name().map_err(|error| io(&path, error.into()))?;
            let Some((_, name)) = name.split_once('/') else {
                continue;
            };
            // The test set is most of the rest.
            let used = [CLASS_LIST, WORDS, ANNOTATIONS].contains(&name)
                || name.ends_with(".JPEG") && !name.starts_with("test/");
            if used {
                let name = String::from(name);
                let mut bytes = Vec::new();
                entry
                    .read_to_end(&mut bytes)
                    .map_err(|source| io(&path.join(&name), source))?;
                files.insert(name, bytes);
            }
        }
        Ok(Self::Archive(path, files))
    }

    /// What errors call a file.
    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(path) | Self::Archive(path, _) => path.join(name),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, DataError> {
        let io = |source| DataError::Io {
            path: self.path(name),
            action: "read",
            source,
        };
        match self {
            Self::Folder(path) => fs::read(path.join(name)).map_err(io),
            Self::Archive(path, files) => files
                .get(name)
                .cloned()
                .ok_or_else(|| missing(&SET, name, std::slice::from_ref(path))),
        }
    }

    fn text(&self, name: &str) -> Result<String, DataError> {
        Ok(String::from_utf8_lossy(&self.read(name)?).into_owned())
    }

    /// Whether there is a folder of this name.
    fn holds(&self, folder: &str) -> bool {
        match self {
            Self::Folder(path) => path.join(folder).is_dir(),
            Self::Archive(..) => self.list(folder).is_ok_and(|names| !names.is_empty()),
        }
    }

    /// The names of the images of a folder, in order.
    fn list(&self, folder: &str) -> Result<Vec<String>, DataError> {
        match self {
            Self::Folder(path) => {
                let files = listed(&path.join(folder))?;
                Ok(files
                    .iter()
                    .map(|name| format!("{folder}/{name}"))
                    .collect())
            }
            Self::Archive(_, files) => {
                let start = format!("{folder}/");
                let names = files.range(start.clone()..).map(|(name, _)| name);
                Ok(names
                    .take_while(|name| name.starts_with(&start))
                    .cloned()
                    .collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use std::io::Write;

    use image::{GrayImage, Luma, Rgb, RgbImage};

    /// One of 200 made-up classes. Labels follow these names, not the order of `wnids.txt`, which
    /// here is descending.
    fn class(label: usize) -> String {
        format!("n{:08}", 1_000 + 7 * label)
    }

    /// A made-up set: an image of each class to train on, 20 to measure on, each of one colour that
    /// tells its class.
    fn write_set(folder: &Path) {
        let labels = || (0..CLASSES).rev();
        let list: String = labels().map(|label| class(label) + "\n").collect();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(CLASS_LIST), list).unwrap();
        let words = |label| match label {
            3 => "crane, a bird".into(),
            4 => "crane, a machine".into(),
            5 => "goldfish, Carassius auratus".into(),
            _ => format!("thing {label}, made-up thing"),
        };
        let mut text = "n00001740\tentity\n".to_string();
        text.extend(labels().map(|label| format!("{}\t{}\n", class(label), words(label))));
        fs::write(folder.join(WORDS), text).unwrap();

        for label in 0..CLASSES {
            let class = class(label);
            let images = folder.join(format!("train/{class}/images"));
            fs::create_dir_all(&images).unwrap();
            let colour = Rgb([label as u8, 100, 200]);
            let path = images.join(format!("{class}_0.JPEG"));
            RgbImage::from_pixel(64, 64, colour).save(path).unwrap();
        }
        let images = folder.join("val/images");
        fs::create_dir_all(&images).unwrap();
        let mut annotations = String::new();
        for n in 0..20 {
            let name = format!("val_{n}.JPEG");
            // Some of the real images are grey.
            let grey = Luma([10 * n as u8]);
            GrayImage::from_pixel(64, 64, grey)
                .save(images.join(&name))
                .unwrap();
            annotations += &format!("{name}\t{}\t0\t32\t44\t62\n", class(10 * n));
        }
        fs::write(folder.join(ANNOTATIONS), annotations).unwrap();
        // Neither is read.
        fs::create_dir_all(folder.join("test/images")).unwrap();
        fs::write(folder.join("test/images/test_0.JPEG"), "no picture").unwrap();
        fs::write(folder.join("train").join(class(0)).join("boxes.txt"), "").unwrap();
    }

    fn load_from(folder: &Path) -> Result<Splits, DataError> {
        load(&SET, &[folder.join("tiny-imagenet-200"), folder.into()])
    }

    /// As the official archive has them.
    fn zip(set: &Path, target: &Path) {
        let mut zip = zip::ZipWriter::new(File::create(target).unwrap());
        let mut folders = vec![set.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(set.parent().unwrap()).unwrap();
                let name = name.to_str().unwrap();
                let options = zip::write::SimpleFileOptions::default();
                if path.is_dir() {
                    zip.add_directory(name, options).unwrap();
                    folders.push(path);
                } else {
                    zip.start_file(name, options).unwrap();
                    zip.write_all(&fs::read(path).unwrap()).unwrap();
                }
            }
        }
        zip.finish().unwrap();
    }

    #[test]
    fn every_image_has_its_class_packed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("tiny-imagenet-200");
        write_set(&set);
        let splits = load_from(folder.path()).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (200, 20));
        let close = |found: u8, expected: u8| found.abs_diff(expected) <= 3;
        for at in 0..200 {
            let label = splits.train.labels()[at];
            let planes = splits.train.pixels(at).chunks(64 * 64);
            for (plane, expected) in planes.zip([label, 100, 200]) {
                assert!(plane.iter().all(|&value| close(value, expected)), "{label}");
            }
        }
        for at in 0..20 {
            let label = splits.test.labels()[at];
            let image = splits.test.pixels(at);
            assert!(image.len() == 3 * 64 * 64 && image.iter().all(|&value| close(value, label)));
        }
        let mut labels = splits.train.labels().to_vec();
        let in_order: Vec<u8> = (0..200).collect();
        assert_ne!(
            labels, in_order,
            "the end of the set would be the last classes"
        );
        labels.sort();
        assert_eq!(labels, in_order);
        assert_eq!(
            splits.class_names[2..6],
            ["thing 2", "crane, a bird", "crane, a machine", "goldfish"]
        );

        let packed = tempfile::tempdir().unwrap();
        zip(&set, &packed.path().join("tiny-imagenet-200.zip"));
        assert_eq!(load_from(packed.path()).unwrap(), splits);
        // As many reorganise the validation set, in two ways.
        let text = fs::read_to_string(set.join(ANNOTATIONS)).unwrap();
        for inner in ["images", ""] {
            for line in text.lines() {
                let mut columns = line.split('\t');
                let [name, class] = [columns.next().unwrap(), columns.next().unwrap()];
                let folder = set.join("val").join(class).join(inner);
                fs::create_dir_all(&folder).unwrap();
                let before = match inner {
                    "images" => set.join("val/images"),
                    _ => set.join("val").join(class).join("images"),
                };
                fs::rename(before.join(name), folder.join(name)).unwrap();
                if inner.is_empty() {
                    fs::remove_dir(before).unwrap();
                }
            }
            if inner == "images" {
                fs::remove_dir(set.join("val/images")).unwrap();
                fs::remove_file(set.join(ANNOTATIONS)).unwrap();
            }
            let reorganised = load_from(folder.path()).unwrap();
            assert_eq!(reorganised.train, splits.train);
            let sorted = |images: &Images| {
                let labelled = (0..images.len()).map(|at| (images.labels()[at], images.pixels(at)));
                let mut labelled: Vec<_> = labelled.collect();
                labelled.sort();
                labelled
                    .into_iter()
                    .map(|(label, pixels)| (label, pixels.to_vec()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(sorted(&reorganised.test), sorted(&splits.test), "{inner}");
        }
    }

    #[test]
    fn damage_is_reported_with_place_and_expectation() {
        struct Case {
            name: &'static str,
            file: &'static str,
            damage: fn(&Path),
            message: &'static [&'static str],
        }
        fn edit(path: &Path, change: impl Fn(&mut Vec<u8>)) {
            let mut bytes = fs::read(path).unwrap();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
        fn replace(path: &Path, from: &str, to: &str) {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(from));
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        }
        const IMAGE: &str = "train/n00001070/images/n00001070_0.JPEG";
        let cases = [
            Case {
                name: "an image cut short",
                file: IMAGE,
                damage: |path| edit(path, |bytes| bytes.truncate(bytes.len() - 20)),
                message: &["n00001070_0.JPEG", "ends at offset", "cut short"],
            },
            Case {
                name: "no image",
                file: IMAGE,
                damage: |path| fs::write(path, "<html>").unwrap(),
                message: &[
                    "n00001070_0.JPEG",
                    "expected a PNG, JPEG, WebP or GIF picture",
                ],
            },
            Case {
                name: "an image of another size",
                file: IMAGE,
                damage: |path| RgbImage::new(32, 64).save(path).unwrap(),
                message: &["n00001070_0.JPEG", "64 x 32", "expected 64 x 64"],
            },
            Case {
                name: "a class without images",
                file: IMAGE,
                damage: |path| fs::remove_file(path).unwrap(),
                message: &["n00001070", "found 0 pictures, expected at least 1"],
            },
            Case {
                name: "a line of one column",
                file: ANNOTATIONS,
                damage: |path| replace(path, "val_2.JPEG\t", "val_2.JPEG "),
                message: &["val_annotations.txt", "line 3", "a class of wnids.txt"],
            },
            Case {
                name: "an empty line",
                file: ANNOTATIONS,
                damage: |path| replace(path, "val_2.JPEG", "\nval_2.JPEG"),
                message: &["val_annotations.txt", "line 3", "separated by a tab"],
            },
            Case {
                name: "a class that is none",
                file: ANNOTATIONS,
                damage: |path| replace(path, "n00001070", "n00001071"),
                message: &["line 2", "n00001071", "a class of wnids.txt"],
            },
            Case {
                name: "an image with two labels",
                file: ANNOTATIONS,
                damage: |path| replace(path, "val_5.JPEG", "val_4.JPEG"),
                message: &["line 6", "each file once"],
            },
            Case {
                name: "an image without a label",
                file: ANNOTATIONS,
                damage: |path| {
                    replace(path, "val_0.JPEG\tn00001000\t0\t32\t44\t62\n", "");
                },
                message: &["val_annotations.txt", "no line for", "val_0.JPEG"],
            },
            Case {
                name: "a label without an image",
                file: "val/images/val_7.JPEG",
                damage: |path| fs::remove_file(path).unwrap(),
                message: &["no val/images/val_7.JPEG in"],
            },
            Case {
                name: "a class too few",
                file: CLASS_LIST,
                damage: |path| replace(path, "n00001070\n", ""),
                message: &["wnids.txt", "found 199 classes, expected 200"],
            },
            Case {
                name: "a class twice",
                file: CLASS_LIST,
                damage: |path| replace(path, "n00001070\n", "n00001077\n"),
                message: &["wnids.txt", "found 199 classes, expected 200"],
            },
            Case {
                name: "a class without a name",
                file: WORDS,
                damage: |path| replace(path, "n00001070\t", "n00001071\t"),
                message: &["words.txt", "no line for class n00001070"],
            },
            Case {
                name: "no names",
                file: WORDS,
                damage: |path| fs::remove_file(path).unwrap(),
                message: &["words.txt"],
            },
        ];
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("tiny-imagenet-200");
        for case in cases {
            write_set(&set);
            (case.damage)(&set.join(case.file));
            let packed = tempfile::tempdir().unwrap();
            zip(&set, &packed.path().join("tiny-imagenet-200.zip"));
            for data_dir in [folder.path(), packed.path()] {
                let error = load_from(data_dir).expect_err(case.name).to_string();
                for part in case.message {
                    assert!(
                        error.contains(part),
                        "{}: {error:?} lacks {part:?}",
                        case.name
                    );
                }
            }
            fs::remove_dir_all(&set).unwrap();
        }
    }

    #[test]
    fn a_damaged_archive_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("tiny-imagenet-200");
        write_set(&set);
        let path = folder.path().join("tiny-imagenet-200.zip");
        zip(&set, &path);
        fs::remove_dir_all(&set).unwrap();
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        // A hundred bytes into the file: its name stands first in its header.
        let name = b"tiny-imagenet-200/words.txt";
        let header = flipped.windows(name.len()).position(|bytes| bytes == name);
        let at = header.unwrap() + name.len() + 100;
        flipped[at] ^= 0x55;
        for (bytes, expected) in [
            (
                &good[..good.len() / 2],
                "tiny-imagenet-200.zip: cannot unpack",
            ),
            (
                &flipped[..],
                "tiny-imagenet-200.zip/words.txt: cannot unpack",
            ),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = load_from(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
