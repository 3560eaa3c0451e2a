//! Pictures: grids of images written as PNG, and a picture file read and fitted to a model.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use basin_shared::pictures::fit;
use burn::tensor::Tensor;
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageReader, Limits};

use super::jpeg;
use crate::atomic_file::{self, WriteError, write_atomically};

/// Why a picture could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PictureError {
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The picture has no such file.
    #[error("{path}: cannot be written so: {source}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: image::ImageError,
    },
    /// The file could not be opened.
    #[error("{path}: cannot read: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is no picture that is understood.
    #[error(
        "{path}: expected a PNG, JPEG, WebP or GIF picture of at most {LARGEST} x {LARGEST}: {source}"
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: image::ImageError,
    },
    /// What phones keep pictures in, which nothing reads without a licence.
    #[error("{path}: a HEIC picture; save it as JPEG or PNG")]
    Heic {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before its picture does.
    #[error(
        "{path}: ends at offset {offset}, before its JPEG picture does; the file is cut short, get it again"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its length.
        offset: usize,
    },
}

/// What the names of pictures end in.
pub(crate) const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "gif"];

/// The widest and highest picture that is read.
const LARGEST: u32 = 16_384;

/// Grey between the images of a grid, apart from both black and white.
const GAP_VALUE: u8 = 128;

/// How images are laid out in one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Images side by side; the last row may be shorter.
    pub columns: usize,
    /// Each value of an image becomes this many pixels, both ways.
    pub scale: usize,
    /// Pixels between images.
    pub gap: usize,
}

impl Grid {
    /// Writes images of `shape` (channels, height, width; one channel or three), row by row, each
    /// channel after the other, with values in [0, 1], as one picture, of the kind that its name says.
    pub(crate) fn write(
        &self,
        path: &Path,
        values: &[f32],
        shape: [usize; 3],
    ) -> Result<(), PictureError> {
        let bytes: Vec<u8> = values.iter().map(|&value| to_byte(value)).collect();
        let (pixels, [width, height]) = self.arrange(&bytes, shape);
        let colour = match shape[0] {
            1 => ExtendedColorType::L8,
            _ => ExtendedColorType::Rgb8,
        };
        let (width, height) = (width as u32, height as u32);
        let mut file = Vec::new();
        let encoded = match written_as(path) {
            Some(Written::Jpeg) => JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
                .write_image(&pixels, width, height, colour),
            _ => PngEncoder::new(&mut file).write_image(&pixels, width, height, colour),
        };
        encoded.map_err(|source| PictureError::Encode {
            path: path.into(),
            source,
        })?;
        Ok(write_atomically(path, &file)?)
    }

    /// The pixels of the grid with their channels side by side, and its width and height.
    fn arrange(&self, images: &[u8], shape: [usize; 3]) -> (Vec<u8>, [usize; 2]) {
        let [channels, height, width] = shape;
        let values = channels * height * width;
        assert!(
            channels == 1 || channels == 3,
            "cannot draw {channels} channels"
        );
        assert!(self.columns > 0 && self.scale > 0, "{self:?} shows nothing");
        assert!(
            !images.is_empty() && images.len().is_multiple_of(values),
            "{} values of {shape:?}",
            images.len()
        );
        let count = images.len() / values;
        let (columns, rows) = (self.columns.min(count), count.div_ceil(self.columns));
        let step = [
            width * self.scale + self.gap,
            height * self.scale + self.gap,
        ];
        let size = [columns * step[0] - self.gap, rows * step[1] - self.gap];

        let mut pixels = vec![GAP_VALUE; size[0] * size[1] * channels];
        for (at, image) in images.chunks_exact(values).enumerate() {
            let (left, top) = (at % columns * step[0], at / columns * step[1]);
            for y in 0..height * self.scale {
                for x in 0..width * self.scale {
                    let source = y / self.scale * width + x / self.scale;
                    let target = ((top + y) * size[0] + left + x) * channels;
                    for channel in 0..channels {
                        pixels[target + channel] = image[channel * height * width + source];
                    }
                }
            }
        }
        (pixels, size)
    }
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Png,
    Jpeg,
}

const JPEG_QUALITY: u8 = 95;

/// What a file of this name is written as; none if nothing here writes it.
fn written_as(path: &Path) -> Option<Written> {
    let extension = path.extension().and_then(|extension| extension.to_str())?;
    match extension.to_ascii_lowercase().as_str() {
        "png" => Some(Written::Png),
        "jpg" | "jpeg" => Some(Written::Jpeg),
        _ => None,
    }
}

/// Whether a picture could be written there, before it is computed.
pub(crate) fn try_out(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        written_as(path).is_some(),
        "{}: pictures are written as PNG or JPEG; expected a name that ends in .png or .jpg",
        path.display()
    );
    Ok(atomic_file::try_out(path)?)
}

/// Pictures as [`read_fitted`] fits them, one after the other, with values in [0, 1].
pub(crate) fn read_all(paths: &[PathBuf], shape: [usize; 3]) -> Result<Vec<f32>, PictureError> {
    let mut values = Vec::new();
    for path in paths {
        let bytes = read_fitted(path, shape)?;
        values.extend(bytes.into_iter().map(|byte| f32::from(byte) / 255.0));
    }
    Ok(values)
}

/// A value in [0, 1] as the nearest of 256 steps.
fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// A PNG, JPEG, WebP or GIF picture as a model's input: its first frame, turned upright, and [`fit`] to `shape`
/// (channels, height, width).
///
/// # Shapes
/// - returns `[channels, height, width]` flattened
pub(crate) fn read_fitted(path: &Path, shape: [usize; 3]) -> Result<Vec<u8>, PictureError> {
    Ok(fit(&read(path)?, shape))
}

/// A PNG, JPEG, WebP or GIF picture as it is.
pub(crate) fn read(path: &Path) -> Result<DynamicImage, PictureError> {
    let bytes = std::fs::read(path).map_err(|source| PictureError::Open {
        path: path.into(),
        source,
    })?;
    decode(path, &bytes)
}

/// The picture in the bytes of a file, turned upright.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<DynamicImage, PictureError> {
    let heic = |brand: &[u8]| {
        [b"heic", b"heix", b"mif1", b"hevc"].contains(&brand.first_chunk().unwrap_or(b"    "))
    };
    if bytes.get(4..8) == Some(b"ftyp") && heic(&bytes[8..]) {
        return Err(PictureError::Heic { path: path.into() });
    }
    let decode = || -> image::ImageResult<DynamicImage> {
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(LARGEST);
        limits.max_image_height = Some(LARGEST);
        reader.limits(limits);
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    let picture = decode().map_err(|source| PictureError::Decode {
        path: path.into(),
        source,
    })?;
    if jpeg::is_jpeg(bytes) && !jpeg::is_whole(bytes) {
        return Err(PictureError::Cut {
            path: path.into(),
            offset: bytes.len(),
        });
    }
    Ok(picture)
}

/// Writes images as a PNG, `columns` in a row, each pixel shown as a square.
pub(crate) fn write_grid(path: &Path, x: Tensor<4>, columns: usize) -> Result<(), PictureError> {
    let [_, channels, height, width] = x.dims();
    let values: Vec<f32> = x.into_data().iter().collect();
    let grid = Grid {
        columns,
        scale: 3,
        gap: 2,
    };
    grid.write(path, &values, [channels, height, width])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use image::GenericImageView;

    use super::*;

    /// Width, height, channels and bytes of a PNG.
    fn read_png(path: &Path) -> (u32, u32, usize, Vec<u8>) {
        let picture = image::open(path).unwrap();
        let channels = usize::from(picture.color().channel_count());
        let (width, height) = picture.dimensions();
        (width, height, channels, picture.into_bytes())
    }

    #[test]
    fn grids_are_read_back_as_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        struct Case {
            name: &'static str,
            grid: Grid,
            values: Vec<f32>,
            shape: [usize; 3],
            expected: (u32, u32, usize, Vec<u8>),
        }
        let unit = |bytes: &[u8]| bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let cases = [
            Case {
                name: "one grey image, doubled",
                grid: Grid {
                    columns: 4,
                    scale: 2,
                    gap: 3,
                },
                values: unit(&[10, 20]),
                shape: [1, 1, 2],
                expected: (4, 2, 1, vec![10, 10, 20, 20, 10, 10, 20, 20]),
            },
            Case {
                name: "a short last row",
                grid: Grid {
                    columns: 2,
                    scale: 1,
                    gap: 1,
                },
                values: unit(&[1, 2, 3]),
                shape: [1, 1, 1],
                expected: (3, 3, 1, vec![1, 128, 2, 128, 128, 128, 3, 128, 128]),
            },
            Case {
                name: "colours side by side",
                grid: Grid {
                    columns: 1,
                    scale: 1,
                    gap: 0,
                },
                values: unit(&[1, 2, 3, 4, 5, 6]),
                shape: [3, 1, 2],
                expected: (2, 1, 3, vec![1, 3, 5, 2, 4, 6]),
            },
            Case {
                name: "values beyond the range",
                grid: Grid {
                    columns: 4,
                    scale: 1,
                    gap: 0,
                },
                values: vec![-0.5, 0.499 / 255.0, 0.501 / 255.0, 1.5],
                shape: [1, 1, 1],
                expected: (4, 1, 1, vec![0, 0, 1, 255]),
            },
        ];
        for case in cases {
            case.grid.write(&path, &case.values, case.shape).unwrap();
            assert_eq!(read_png(&path), case.expected, "{}", case.name);
        }
    }

    #[test]
    fn a_picture_of_the_models_size_keeps_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        let values: Vec<f32> = (0..3 * 8 * 8).map(|i| (i % 256) as f32 / 255.0).collect();
        Grid {
            columns: 1,
            scale: 1,
            gap: 0,
        }
        .write(&path, &values, [3, 8, 8])
        .unwrap();
        let bytes: Vec<u8> = values.iter().map(|&value| to_byte(value)).collect();
        assert_eq!(read_fitted(&path, [3, 8, 8]).unwrap(), bytes);
        let grey = &values[..64];
        Grid {
            columns: 1,
            scale: 1,
            gap: 0,
        }
        .write(&path, grey, [1, 8, 8])
        .unwrap();
        assert_eq!(read_fitted(&path, [1, 8, 8]).unwrap(), bytes[..64]);
    }

    #[test]
    fn the_centre_of_a_picture_is_kept_in_every_format() {
        // Red, then a green square, then blue: the crop is all green.
        let wide = image::RgbImage::from_fn(120, 40, |x, _| match x {
            0..40 => image::Rgb([255, 0, 0]),
            40..80 => image::Rgb([0, 255, 0]),
            _ => image::Rgb([0, 0, 255]),
        });
        let folder = tempfile::tempdir().unwrap();
        for extension in ["png", "jpg", "webp", "gif"] {
            let path = folder.path().join(format!("wide.{extension}"));
            wide.save(&path).unwrap();
            let values = read_fitted(&path, [3, 10, 10]).unwrap();
            // The inner 8 x 8, out of reach of the neighbours that JPEG mixes in.
            for y in 1..9 {
                for x in 1..9 {
                    let at = |channel: usize| values[channel * 100 + y * 10 + x];
                    let [red, green, blue] = [at(0), at(1), at(2)];
                    assert!(red < 8 && green > 247 && blue < 8, "{extension}: {x}, {y}");
                }
            }
        }
    }

    /// Pictures of kinds that people have, as Pillow reads them (`tests/data/pictures/make_pictures.py`); the page
    /// is held against the same numbers.
    #[test]
    fn pictures_of_every_kind_are_read_as_pillow_reads_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pictures");
        let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: BTreeMap<String, BTreeMap<usize, Vec<u8>>> =
            serde_json::from_str(&expected).unwrap();
        assert!(expected.len() > 10);
        for (name, of_channels) in expected {
            for (channels, expected) in of_channels {
                let found = read_fitted(&folder.join(&name), [channels, 8, 8]).unwrap();
                let off = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
                let off = off.max().unwrap();
                assert!(off <= 2, "{name}, {channels} channels: {off} off");
            }
        }
        let error = read_fitted(&folder.join("photo.heic"), [3, 8, 8]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("photo.heic: a HEIC picture; save it as JPEG or PNG")
        );
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.png");
        std::fs::write(&text, "not a picture").unwrap();
        let cut = folder.path().join("cut.png");
        Grid {
            columns: 1,
            scale: 1,
            gap: 0,
        }
        .write(&cut, &[0.5; 4096], [1, 64, 64])
        .unwrap();
        let bytes = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let cut_jpeg = folder.path().join("cut.jpg");
        let noise = |x: u32, y: u32| image::Luma([(x * y * 37 % 256) as u8]);
        image::GrayImage::from_fn(64, 64, noise)
            .save(&cut_jpeg)
            .unwrap();
        let jpeg = std::fs::read(&cut_jpeg).unwrap();
        std::fs::write(&cut_jpeg, &jpeg[..jpeg.len() - 40]).unwrap();
        // A valid header that promises 2 thousand million pixels a side.
        let huge = folder.path().join("huge.png");
        let mut bytes = bytes;
        bytes[16..24].fill(0x7f);
        let sum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        std::fs::write(&huge, bytes).unwrap();
        for (path, expected) in [
            (text, "expected a PNG, JPEG, WebP or GIF"),
            (cut, "expected a PNG, JPEG, WebP or GIF"),
            (cut_jpeg, "cut short"),
            (huge, "at most 16384 x 16384"),
            (folder.path().join("absent.png"), "cannot read"),
        ] {
            let message = read_fitted(&path, [1, 28, 28]).unwrap_err().to_string();
            assert!(message.starts_with(path.to_str().unwrap()), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        let nowhere = folder.path().join("no/such/folder.png");
        let grid = Grid {
            columns: 1,
            scale: 1,
            gap: 0,
        };
        let message = grid
            .write(&nowhere, &[0.0], [1, 1, 1])
            .unwrap_err()
            .to_string();
        assert!(message.contains("cannot be written"), "{message}");
    }

    /// The sum that PNG puts after each chunk (ISO 3309), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |sum: u32| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0xedb8_8320
            } else {
                sum >> 1
            }
        };
        !bytes.iter().fold(!0, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| step(sum))
        })
    }
}
