//! Data sets of one picture a file: their files listed, decoded, and put in an order.

use std::fs;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::data::{DataError, Images};

/// A picture of a data set.
#[derive(Clone)]
pub(in crate::data) struct Picture {
    /// Its place under the data set's folder, with `/` on every platform.
    pub(in crate::data) name: String,
    pub(in crate::data) label: u8,
}

/// The names of what lies in a folder, ascending; not those that start with a dot, which are no data
/// but what file managers leave.
pub(in crate::data) fn listed(folder: &Path) -> Result<Vec<String>, DataError> {
    let io = |source| DataError::Io {
        path: folder.into(),
        action: "list",
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.into_string().map_err(|name| DataError::FileName {
            path: folder.join(name),
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Sorts by the SHA-256 of the names in composed Unicode. Classes and whatever else the names follow are mixed, the same
/// way on every machine, and two pictures keep their order when others come or go.
pub(in crate::data) fn mix(pictures: &mut [Picture]) {
    pictures.sort_by_cached_key(|picture| Sha256::digest(picture.name.nfc().collect::<String>()));
}

/// The pictures in mixed order; the end of a training set is then fit to be held out.
pub(in crate::data) fn decode_all(
    mut pictures: Vec<Picture>,
    shape: [usize; 3],
    decode: impl Fn(&Picture) -> Result<Vec<u8>, DataError> + Sync,
) -> Result<Images, DataError> {
    mix(&mut pictures);
    let values: usize = shape.iter().product();
    let mut pixels = vec![0; pictures.len() * values];
    pixels
        .par_chunks_exact_mut(values)
        .zip(&pictures)
        .try_for_each(|(target, picture)| -> Result<(), DataError> {
            target.copy_from_slice(&decode(picture)?);
            Ok(())
        })?;
    let labels = pictures.iter().map(|picture| picture.label).collect();
    Ok(Images::new(pixels, labels, shape))
}
