//! What can be wrong with the files of a data set, or with their download.

use std::io;
use std::path::PathBuf;

use crate::figures::picture::{EXTENSIONS, PictureError};

/// Why a data set could not be loaded. Offsets are in bytes, of the unpacked data where a file is
/// packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DataError {
    /// The folder given has no such file, packed or not.
    #[error(
        "{data_set}: no {file} in {}; give the folder that holds the official files, or leave out \
         --data-dir to download them",
        listed(looked_in)
    )]
    Missing {
        /// Name of the data set.
        data_set: String,
        /// The file that was looked for.
        file: String,
        /// The folders searched, in this order.
        looked_in: Vec<PathBuf>,
    },
    /// The operating system, or the decompression, refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The first four bytes are not those of the expected kind of idx file.
    #[error(
        "{path}: offset 0: found magic number {found:#010x}, expected {expected:#010x}; this is \
         not an idx file of {kind}"
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        kind: &'static str,
        /// The number read.
        found: u32,
        /// The number of such files.
        expected: u32,
    },
    /// The header names another image size.
    #[error(
        "{path}: offset 8: found images of {} x {}, expected {} x {}",
        found[0], found[1], expected[0], expected[1]
    )]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Rows and columns in the header.
        found: [u32; 2],
        /// Rows and columns of the data set.
        expected: [u32; 2],
    },
    /// The header promises no record, or more than the data set has.
    #[error("{path}: offset 4: found a count of {found}, expected 1 to {most}")]
    Count {
        /// The file.
        path: PathBuf,
        /// The count in the header.
        found: u32,
        /// The count of the complete data set.
        most: u32,
    },
    /// The file ends early.
    #[error(
        "{path}: ends at offset {offset}, expected {expected} bytes; the file is cut short, get it \
         again"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        offset: u64,
        /// The length that its header calls for.
        expected: u64,
    },
    /// The file goes on after its last record.
    #[error("{path}: goes on after offset {expected}, where its last record ends")]
    Trailing {
        /// The file.
        path: PathBuf,
        /// The length that its header calls for.
        expected: u64,
    },
    /// A file without header is empty, too long or not made of whole records.
    #[error(
        "{path}: found {found} bytes, expected 1 to {most} whole records of {record} bytes{}",
        partial_record(*found, *record)
    )]
    Records {
        /// The file.
        path: PathBuf,
        /// Its length; reading stops one byte after the longest that could be right.
        found: u64,
        /// Length of a record.
        record: u64,
        /// The most records that such a file holds.
        most: u64,
    },
    /// A label names no class.
    #[error("{path}: offset {offset}: found label {found}, expected 0 to {}", classes - 1)]
    Label {
        /// The file.
        path: PathBuf,
        /// Where the label is.
        offset: u64,
        /// The label.
        found: u8,
        /// How many classes there are.
        classes: usize,
    },
    /// A file of another format, or with other contents, than expected.
    #[error("{path}: offset {offset}: found {found}, expected {expected}")]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        offset: u64,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A MATLAB file lacks a variable.
    #[error("{path}: found no array {name}; this is not a file of SVHN's cropped digits")]
    NoArray {
        /// The file.
        path: PathBuf,
        /// Name of the array.
        name: &'static str,
    },
    /// A line of text that says something else.
    #[error("{path}: line {line}: found `{found}`, expected {expected}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The line.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A class has no name.
    #[error("{path}: found no line for class {class}")]
    NoName {
        /// The file of names.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A picture has no label.
    #[error("{path}: found no line for {picture}")]
    Annotation {
        /// The file of labels.
        path: PathBuf,
        /// The picture.
        picture: PathBuf,
    },
    /// More or fewer classes than the data set has.
    #[error("{path}: found {found} classes, expected {expected}")]
    Classes {
        /// The file or folder that lists them.
        path: PathBuf,
        /// How many it lists.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A picture has another size.
    #[error(
        "{path}: found a picture of {} x {}, expected {} x {}",
        found[0], found[1], expected[0], expected[1]
    )]
    PictureSize {
        /// The file.
        path: PathBuf,
        /// Its height and width.
        found: [u32; 2],
        /// Height and width of the data set's.
        expected: [u32; 2],
    },
    /// Something else lies among pictures.
    #[error(
        "{path}: found something other than a picture (the name ends in none of {}); take it out \
         of the folder",
        EXTENSIONS.join(", ")
    )]
    NoPicture {
        /// The file or folder.
        path: PathBuf,
    },
    /// A folder of pictures has not as many classes as the recipe says.
    #[error(
        "{path}: has {count} class folders ({found}), expected {expected}, as the recipe's data_set.folder.classes \
         says"
    )]
    FolderClasses {
        /// The folder of the classes' folders.
        path: PathBuf,
        /// Their names.
        found: String,
        /// How many there are.
        count: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Two folders could be the same part of a data set.
    #[error("{first} and {second} are both there; rename or move the one that is not to be used")]
    TwoParts {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Two folders have the same name, differently encoded.
    #[error(
        "{first} and {second} have the same name, in composed and decomposed Unicode; make one folder of them"
    )]
    SameName {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A class has too few pictures.
    #[error("{path}: found {found} pictures, expected at least {least}")]
    FewPictures {
        /// The folder of the class.
        path: PathBuf,
        /// How many are in it.
        found: usize,
        /// How many there must be.
        least: usize,
    },
    /// The classes of training and test set differ.
    #[error("class {class} is in only one of {train} and {test}; they must hold the same classes")]
    ClassFolder {
        /// The folder of the training set.
        train: PathBuf,
        /// The folder of the test set.
        test: PathBuf,
        /// A class that one of them lacks.
        class: String,
    },
    /// There is a test set alone.
    #[error("{test}: found no folder `train` beside it; put the classes to train on there")]
    NoTrain {
        /// The folder of the test set.
        test: PathBuf,
    },
    /// A name that is no text.
    #[error("{path}: the name is not valid Unicode; give the file another")]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// Images and labels are not as many.
    #[error(
        "{images} has {image_count} images, {labels} has {label_count} labels; they are not of the \
         same set"
    )]
    Pairing {
        /// The file of images.
        images: PathBuf,
        /// How many it has.
        image_count: usize,
        /// The file of labels.
        labels: PathBuf,
        /// How many it has.
        label_count: usize,
    },
    /// The platform names no folder for downloads.
    #[error(
        "found no cache folder for downloads (neither XDG_CACHE_HOME nor HOME is set); give --data-dir"
    )]
    NoCacheDir,
    /// The server could not be reached, or the connection broke more than once.
    #[error("{url}: cannot download: {source}; run again to go on from byte {received}")]
    Network {
        /// What was asked for.
        url: String,
        /// How much is kept of it.
        received: u64,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with an error.
    #[error(
        "{url}: the server answered with status {status}; get the file elsewhere and give --data-dir"
    )]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server offers a file of another length.
    #[error(
        "{url}: found {found} bytes, expected {expected}; get the official file elsewhere and give \
         --data-dir"
    )]
    DownloadLength {
        /// What was asked for.
        url: String,
        /// The length that the server states.
        found: u64,
        /// The length of the official file.
        expected: u64,
    },
    /// The file downloaded is not the official one.
    #[error(
        "{url}: found SHA-256 {found}, expected {expected}; the download was thrown away, run again"
    )]
    Checksum {
        /// What was asked for.
        url: String,
        /// The checksum of the bytes received.
        found: String,
        /// The checksum of the official file.
        expected: String,
    },
    /// A number of a recipe is out of range.
    #[error("{name} is {found}, expected {expected}")]
    Setting {
        /// Its name in the recipe.
        name: &'static str,
        /// The number.
        found: String,
        /// The range.
        expected: String,
    },
    /// Reflection needs as many pixels as it pads.
    #[error("crop_padding is {found}, expected at most {most} for images of {size} x {size}")]
    CropPadding {
        /// The padding asked for.
        found: usize,
        /// The largest that works.
        most: usize,
        /// Height and width of the images.
        size: usize,
    },
}

fn listed(folders: &[PathBuf]) -> String {
    folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn partial_record(found: u64, record: u64) -> String {
    match found % record {
        0 => String::new(),
        over => format!(
            "; the last {over} bytes from offset {} are not one",
            found - over
        ),
    }
}
