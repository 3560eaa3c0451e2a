//! One's own pictures: a folder for each class.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::{
    data::{
        DataError, Images, Splits,
        formats::pictures::{Picture, decode_all, listed, mix},
    },
    figures::picture::{self, EXTENSIONS},
};

/// PNG, JPEG, WebP and GIF pictures in one folder a class, named as the class: `path/CLASS/PICTURE`, or
/// `path/train/CLASS/PICTURE`. Labels follow the names of the classes in ascending order.
///
/// Where there is a `path/test/CLASS/PICTURE` too, that is the test set; `val` stands in for `test`, and other words
/// for both. Otherwise a fifth of each
/// class, rounded up, is held out: the pictures whose `CLASS/PICTURE` have the smallest SHA-256. So
/// it is the same fifth on every machine, and hardly another when pictures are added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    /// Where it is, seen from `--data-dir` or else from the working directory.
    pub path: PathBuf,
    /// How many classes there are.
    pub classes: usize,
    /// Height and width that the central square of each picture is scaled to.
    pub size: usize,
    /// 3, or 1 for grey.
    pub channels: usize,
}

/// One picture in so many is held out.
const HELD_OUT: usize = 5;

impl Folder {
    /// The name of the data set, for the model card: that of the folder.
    pub(in crate::data) fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or("folder")
    }

    pub(in crate::data) fn shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    pub(in crate::data) fn check(&self) -> Result<(), DataError> {
        let Self {
            classes,
            size,
            channels,
            ..
        } = *self;
        for (name, found, expected, good) in [
            ("classes", classes, "2 to 256", (2..=256).contains(&classes)),
            ("size", size, "1 to 1024", (1..=1024).contains(&size)),
            ("channels", channels, "1 or 3", [1, 3].contains(&channels)),
        ] {
            if !good {
                return Err(DataError::Setting {
                    name,
                    found: found.to_string(),
                    expected: expected.into(),
                });
            }
        }
        Ok(())
    }

    pub(in crate::data) fn load(&self, data_dir: Option<&Path>) -> Result<Splits, DataError> {
        let path = data_dir.map_or(self.path.clone(), |data_dir| data_dir.join(&self.path));
        let [train, test] = parts(&path)?;
        if let (Some(test), Some(unused)) = (&test, unused(&path, test.as_deref())) {
            tell!(
                "{} is not used: what is measured is measured on {}, and validation images are held out of the training \
                 images",
                unused.display(),
                test.display()
            );
        }
        let (train, test) = match (train, test) {
            (Some(train), test) => (train, test),
            (None, None) => (path, None),
            (None, Some(test)) => return Err(DataError::NoTrain { test }),
        };
        let folders = class_folders(&train)?;
        let class_names: Vec<String> = folders.keys().cloned().collect();
        if class_names.len() != self.classes {
            return Err(DataError::FolderClasses {
                path: train,
                found: shortened(&class_names),
                count: class_names.len(),
                expected: self.classes,
            });
        }
        let (train, test) = if let Some(test) = test {
            let tested = class_folders(&test)?;
            let mut names = folders.keys().chain(tested.keys());
            let in_both = |name: &String| folders.contains_key(name) && tested.contains_key(name);
            if let Some(class) = names.find(|name| !in_both(name)) {
                let class = class.clone();
                return Err(DataError::ClassFolder { train, test, class });
            }
            (
                self.decode(&train, pictures(&train, &folders, 1)?.concat())?,
                self.decode(&test, pictures(&test, &tested, 1)?.concat())?,
            )
        } else {
            let (mut kept, mut held_out) = (Vec::new(), Vec::new());
            for mut of_class in pictures(&train, &folders, 2)? {
                mix(&mut of_class);
                kept.extend(of_class.split_off(of_class.len().div_ceil(HELD_OUT)));
                held_out.append(&mut of_class);
            }
            (self.decode(&train, kept)?, self.decode(&train, held_out)?)
        };
        Ok(Splits {
            train,
            test,
            class_names,
        })
    }

    fn decode(&self, root: &Path, pictures: Vec<Picture>) -> Result<Images, DataError> {
        decode_all(pictures, self.shape(), |picture| {
            Ok(picture::read_fitted(
                &root.join(&picture.name),
                self.shape(),
            )?)
        })
    }
}

/// What the folder of the training set is called, and that of the test set: Keras's, PyTorch's, everybody's names.
const PARTS: [&[&str]; 2] = [
    &["train", "training"],
    &["test", "testing", "val", "valid", "validation"],
];

/// The folders of the training set and of the test set, where `path` has them.
fn parts(path: &Path) -> Result<[Option<PathBuf>; 2], DataError> {
    let found = PARTS.map(|names| {
        let folders = names.iter().map(|name| path.join(name));
        folders.filter(|folder| folder.is_dir()).collect::<Vec<_>>()
    });
    for folders in &found {
        // Held out for what, if both are there? Whoever keeps both knows; `test` is named so by all.
        if let [first, second, ..] = &folders[..]
            && !first.ends_with("test")
        {
            let [first, second] = [first, second].map(Clone::clone);
            return Err(DataError::TwoParts { first, second });
        }
    }
    Ok(found.map(|folders| folders.into_iter().next()))
}

/// A folder that could be the test set beside the one that is.
fn unused(path: &Path, test: Option<&Path>) -> Option<PathBuf> {
    let [_, names] = PARTS;
    let mut folders = names.iter().map(|name| path.join(name));
    folders.find(|folder| folder.is_dir() && Some(folder.as_path()) != test)
}

/// The first of some names, as a sentence has room for.
fn shortened(names: &[String]) -> String {
    const MOST: usize = 12;
    match names.len() {
        0 => "no folder".into(),
        count if count > MOST => format!("{}, …", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}

/// The folders in `root` by the names of their classes, ascending. A name is composed Unicode, however the file
/// system keeps it: é is one class, and so that of a disk of another system.
fn class_folders(root: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let mut folders = BTreeMap::new();
    for name in listed(root)? {
        if !root.join(&name).is_dir() || is_litter(&name) {
            continue;
        }
        let class: String = name.nfc().collect();
        if let Some(other) = folders.insert(class, name.clone()) {
            return Err(DataError::SameName {
                first: root.join(other),
                second: root.join(name),
            });
        }
    }
    Ok(folders)
}

/// What systems leave in folders, and is no data.
fn is_litter(name: &str) -> bool {
    let litter = [
        "thumbs.db",
        "desktop.ini",
        "__macosx",
        "icon\r",
        "ehthumbs.db",
    ];
    litter.contains(&name.to_lowercase().as_str())
}

/// The pictures of each class, `least` at least.
fn pictures(
    root: &Path,
    folders: &BTreeMap<String, String>,
    least: usize,
) -> Result<Vec<Vec<Picture>>, DataError> {
    let of_class = |(label, folder): (usize, &String)| {
        let mut pictures = Vec::new();
        for file in listed(&root.join(folder))? {
            if is_litter(&file) {
                continue;
            }
            let path = root.join(folder).join(&file);
            let extension = path.extension().and_then(|extension| extension.to_str());
            let extension = extension.unwrap_or_default().to_ascii_lowercase();
            if !EXTENSIONS.contains(&extension.as_str()) || path.is_dir() {
                return Err(DataError::NoPicture { path });
            }
            pictures.push(Picture {
                name: format!("{folder}/{file}"),
                label: label as u8,
            });
        }
        if pictures.len() < least {
            return Err(DataError::FewPictures {
                path: root.join(folder),
                found: pictures.len(),
                least,
            });
        }
        Ok(pictures)
    };
    folders.values().enumerate().map(of_class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use image::{Rgb, RgbImage};

    /// Pictures `0.png`, … of a class, each of one colour: the class's red, the number's green.
    fn write_class(folder: &Path, red: u8, count: u8) {
        fs::create_dir_all(folder).unwrap();
        for n in 0..count {
            let path = folder.join(format!("{n}.png"));
            RgbImage::from_pixel(20, 10, Rgb([red, n, 7]))
                .save(path)
                .unwrap();
        }
    }

    fn set(classes: usize) -> Folder {
        Folder {
            path: "insects".into(),
            classes,
            size: 4,
            channels: 3,
        }
    }

    /// Label, red and green of each image.
    fn seen(images: &Images) -> Vec<[u8; 3]> {
        let of = |at| {
            let pixels = images.pixels(at);
            assert_eq!(pixels.len(), 3 * 4 * 4);
            assert!(pixels[..16].iter().all(|&red| red == pixels[0]));
            assert!(pixels[32..].iter().all(|&blue| blue == 7));
            [images.labels()[at], pixels[0], pixels[16]]
        };
        (0..images.len()).map(of).collect()
    }

    fn sorted(mut images: Vec<[u8; 3]>) -> Vec<[u8; 3]> {
        images.sort();
        images
    }

    fn all(counts: &[(u8, u8, u8)]) -> Vec<[u8; 3]> {
        let of_class = |&(label, red, count)| (0..count).map(move |n| [label, red, n]);
        counts.iter().flat_map(of_class).collect()
    }

    #[test]
    fn a_fifth_of_each_class_is_held_out_and_always_the_same() {
        let data_dir = tempfile::tempdir().unwrap();
        for inner in ["insects", "insects/train"] {
            let root = data_dir.path().join(inner);
            write_class(&root.join("bee"), 200, 12);
            write_class(&root.join("ant"), 100, 10);
            // Neither is data.
            fs::write(root.join("README.txt"), "").unwrap();
            fs::write(root.join("ant/.DS_Store"), "").unwrap();
            let load = || set(2).load(Some(data_dir.path())).unwrap();
            let splits = load();
            assert_eq!(splits.class_names, ["ant", "bee"]);
            assert_eq!(load(), splits);

            let [train, test] = [seen(&splits.train), seen(&splits.test)];
            let of = |label| test.iter().filter(|image| image[0] == label).count();
            assert_eq!([of(0), of(1)], [2, 3]);
            let everything = sorted([train.clone(), test.clone()].concat());
            assert_eq!(everything, all(&[(0, 100, 10), (1, 200, 12)]));
            assert_ne!(train, sorted(train.clone()), "classes are not mixed");

            // Two more pictures take the place of one each at most, and leave the others in order.
            write_class(&root.join("bee"), 200, 14);
            let more = load();
            let kept = seen(&more.test)
                .iter()
                .filter(|image| test.contains(image))
                .count();
            assert!(kept >= test.len() - 2, "{kept} of {}", test.len());
            let order: Vec<_> = seen(&more.train)
                .into_iter()
                .filter(|image| train.contains(image))
                .collect();
            let before: Vec<_> = train
                .iter()
                .filter(|image| order.contains(image))
                .copied()
                .collect();
            assert_eq!(order, before);
            fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn a_test_folder_is_the_test_set() {
        let data_dir = tempfile::tempdir().unwrap();
        let root = data_dir.path().join("insects");
        write_class(&root.join("train/ant"), 100, 5);
        write_class(&root.join("train/bee"), 200, 1);
        write_class(&root.join("test/ant"), 101, 2);
        write_class(&root.join("test/bee"), 201, 3);
        let splits = set(2).load(Some(data_dir.path())).unwrap();
        assert_eq!(
            sorted(seen(&splits.train)),
            all(&[(0, 100, 5), (1, 200, 1)])
        );
        assert_eq!(sorted(seen(&splits.test)), all(&[(0, 101, 2), (1, 201, 3)]));
        // An absolute path needs no data directory.
        let absolute = Folder {
            path: root,
            ..set(2)
        };
        assert_eq!(absolute.load(None).unwrap(), splits);
    }

    #[test]
    fn other_words_for_the_parts_and_what_systems_leave_are_understood() {
        let data_dir = tempfile::tempdir().unwrap();
        let root = data_dir.path().join("insects");
        for [train, test] in [
            ["training", "testing"],
            ["train", "val"],
            ["train", "validation"],
        ] {
            for (part, count) in [(train, 4), (test, 2)] {
                write_class(&root.join(part).join("ant"), 0, count);
                write_class(&root.join(part).join("bee"), 1, count);
            }
            fs::create_dir(root.join(train).join("__MACOSX")).unwrap();
            fs::write(root.join(train).join("desktop.ini"), "").unwrap();
            fs::write(root.join(train).join("ant/Thumbs.db"), "").unwrap();
            let splits = set(2).load(Some(data_dir.path())).unwrap();
            assert_eq!(
                (splits.train.len(), splits.test.len()),
                (8, 4),
                "{train}, {test}"
            );
            fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn a_name_is_one_class_in_composed_and_decomposed_unicode() {
        let data_dir = tempfile::tempdir().unwrap();
        let root = data_dir.path().join("insects");
        let [composed, decomposed] = ["gu\u{ea}pe", "gue\u{302}pe"];
        write_class(&root.join("train/ant"), 0, 3);
        write_class(&root.join("train").join(decomposed), 1, 3);
        write_class(&root.join("test/ant"), 0, 1);
        write_class(&root.join("test").join(composed), 1, 1);
        let splits = set(2).load(Some(data_dir.path())).unwrap();
        assert_eq!(splits.class_names, ["ant", composed]);
        assert_eq!((splits.train.len(), splits.test.len()), (6, 2));
        write_class(&root.join("train").join(composed), 1, 3);
        let error = set(2).load(Some(data_dir.path())).unwrap_err().to_string();
        assert!(
            error.contains("the same name, in composed and decomposed Unicode"),
            "{error}"
        );
    }

    #[test]
    fn pictures_are_scaled_and_made_grey_as_the_recipe_says() {
        let data_dir = tempfile::tempdir().unwrap();
        let root = data_dir.path().join("insects");
        write_class(&root.join("ant"), 255, 2);
        write_class(&root.join("bee"), 0, 2);
        let grey = Folder {
            channels: 1,
            size: 6,
            ..set(2)
        };
        let splits = grey.load(Some(data_dir.path())).unwrap();
        assert_eq!(splits.train.shape(), [1, 6, 6]);
        for at in 0..2 {
            // BT.601: red is 0.299 of the luma.
            let expected = [76, 0][splits.train.labels()[at] as usize];
            let pixels = splits.train.pixels(at);
            assert!(
                pixels
                    .iter()
                    .all(|value: &u8| value.abs_diff(expected) <= 2),
                "{pixels:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        struct Case {
            name: &'static str,
            change: fn(&Path),
            message: &'static [&'static str],
        }
        let cases = [
            Case {
                name: "a class more than the recipe says",
                change: |root| write_class(&root.join("fly"), 0, 3),
                message: &["insects", "has 3 class folders (ant, bee, fly), expected 2"],
            },
            Case {
                name: "one picture, and it is held out",
                change: |root| write_class_again(root, 1),
                message: &["bee", "found 1 pictures, expected at least 2"],
            },
            Case {
                name: "an empty class",
                change: |root| write_class_again(root, 0),
                message: &["bee", "found 0 pictures"],
            },
            Case {
                name: "something else",
                change: |root| fs::write(root.join("bee/notes.txt"), "").unwrap(),
                message: &["bee/notes.txt", "other than a picture", "take it out"],
            },
            Case {
                name: "a folder in a class",
                change: |root| fs::create_dir(root.join("bee/more.png")).unwrap(),
                message: &["bee/more.png", "other than a picture"],
            },
            Case {
                name: "a name only",
                change: |root| fs::write(root.join("bee/x.jpg"), "").unwrap(),
                message: &["bee/x.jpg", "expected a PNG, JPEG, WebP or GIF picture"],
            },
            Case {
                name: "a picture cut short",
                change: |root| {
                    let path = root.join("bee/1.png");
                    let bytes = fs::read(&path).unwrap();
                    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
                },
                message: &["bee/1.png", "expected a PNG, JPEG, WebP or GIF picture"],
            },
            Case {
                name: "a test set alone",
                change: |root| write_class(&root.join("test/ant"), 0, 1),
                message: &["insects/test", "no folder `train` beside it"],
            },
            Case {
                name: "a class that is only tested",
                change: |root| {
                    for class in ["train/ant", "train/bee", "test/ant", "test/cow"] {
                        write_class(&root.join(class), 0, 1);
                    }
                },
                message: &[
                    "class bee",
                    "insects/train",
                    "insects/test",
                    "the same classes",
                ],
            },
            Case {
                name: "no folder",
                change: |root| fs::remove_dir_all(root).unwrap(),
                message: &["insects", "cannot list"],
            },
        ];
        fn write_class_again(root: &Path, count: u8) {
            fs::remove_dir_all(root.join("bee")).unwrap();
            write_class(&root.join("bee"), 0, count);
        }
        for case in cases {
            let data_dir = tempfile::tempdir().unwrap();
            let root = data_dir.path().join("insects");
            write_class(&root.join("ant"), 100, 3);
            write_class(&root.join("bee"), 200, 3);
            (case.change)(&root);
            let error = set(2).load(Some(data_dir.path())).expect_err(case.name);
            for part in case.message {
                assert!(
                    error.to_string().contains(part),
                    "{}: {error} lacks {part:?}",
                    case.name
                );
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_reported() {
        use std::os::unix::ffi::OsStrExt;
        let data_dir = tempfile::tempdir().unwrap();
        let root = data_dir.path().join("insects");
        write_class(&root.join("ant"), 100, 3);
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"b\xffe")), "").unwrap();
        let error = set(1).load(Some(data_dir.path())).unwrap_err().to_string();
        assert!(error.contains("not valid Unicode"), "{error}");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (folder, expected) in [
            (set(1), "classes is 1, expected 2 to 256"),
            (set(257), "classes is 257"),
            (Folder { size: 0, ..set(2) }, "size is 0"),
            (
                Folder {
                    channels: 2,
                    ..set(2)
                },
                "channels is 2, expected 1 or 3",
            ),
        ] {
            let error = folder.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(set(256).check().is_ok());
    }
}
