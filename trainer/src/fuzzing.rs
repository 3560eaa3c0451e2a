//! What fuzz targets call.

use std::{collections::BTreeSet, fs};

use indicatif::MultiProgress;

use crate::{
    data::{self, DataSet, Folder},
    figures::jpeg,
    recipe::Recipe,
};

/// Reads a recipe, and behind a zero byte settings that override it, one a line: what is accepted is written as what
/// is read as the same.
///
/// # Panics
/// If it is not.
pub fn recipe(text: &str) {
    let (text, overrides) = text.split_once('\0').unwrap_or((text, ""));
    let overrides: Vec<_> = overrides.lines().map(String::from).collect();
    if let Ok(recipe) = Recipe::parse(text, "recipe.toml", &overrides) {
        let written = recipe.to_toml();
        let read = Recipe::parse(&written, "written.toml", &[]);
        assert_eq!(read.as_ref().ok(), Some(&recipe), "{written}: {read:?}");
    }
}

/// Loads folders of these names, one a line, with two pictures each, as a data set: what is accepted has a class for
/// each, by a name of its own, and labels for these.
///
/// # Panics
/// If it has not, or the temporary folder cannot be written.
pub fn folder_names(names: &str) {
    let root = tempfile::tempdir().expect("a temporary folder");
    let picture = image::GrayImage::new(1, 1);
    let mut visible = 0;
    for name in names.lines().take(32) {
        // What no file system has, and what leads out of the folder.
        if name.contains(['/', '\0']) || ["", ".", ".."].contains(&name) {
            continue;
        }
        let folder = root.path().join(name);
        if fs::create_dir(&folder).is_ok() {
            visible += usize::from(!name.starts_with('.'));
            for file in ["a.png", "b.png"] {
                picture.save(folder.join(file)).expect("room for a pixel");
            }
        }
    }
    for classes in [visible, visible.saturating_sub(1)] {
        let set = DataSet::Folder(Folder {
            path: root.path().into(),
            classes,
            size: 1,
            channels: 1,
        });
        let read = set
            .check()
            .and_then(|()| data::load(&set, None, &MultiProgress::new()));
        let Ok(splits) = read else {
            continue;
        };
        let distinct: BTreeSet<_> = splits.class_names.iter().collect();
        assert_eq!(distinct.len(), classes, "{:?}", splits.class_names);
        for images in [splits.train, splits.test] {
            assert_eq!(images.len(), classes);
            assert!(
                images
                    .labels()
                    .iter()
                    .all(|&label| usize::from(label) < classes)
            );
        }
    }
}

/// Looks for the end of a JPEG picture: bytes behind it, or their lack, make no difference.
///
/// # Panics
/// If they do.
pub fn jpeg(bytes: &[u8]) {
    let whole = jpeg::is_whole(bytes);
    if let Some(end) = jpeg::end(bytes) {
        assert!(whole);
        assert_eq!(jpeg::end(&bytes[..end]), Some(end));
        assert_eq!(jpeg::end(&[bytes, b"and a film"].concat()), Some(end));
    }
}
