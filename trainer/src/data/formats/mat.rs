//! Arrays of bytes in MATLAB 5.0 files, as far as SVHN needs them: real, little-endian, compressed
//! or not.
//!
//! The format is "MAT-File Format", The MathWorks, chapter 1. The crate `matfile` reads it too, but
//! holds file and arrays in memory several times over (1.6 GB of pixels in SVHN's largest file) and
//! does not say where a file is wrong.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;

use crate::data::DataError;

/// Bytes of text, version and byte order before the first element.
const HEADER: u64 = 128;
/// A type and a length before the data of each element.
const TAG: u64 = 8;

const VERSION: [u8; 4] = [0x00, 0x01, b'I', b'M'];

// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The classes of numeric arrays, from double to uint64; whole numbers up to 255 are stored as bytes
/// whatever the class.
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;

/// A variable of a file, its first index the fastest.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::data) struct Array {
    pub(in crate::data) name: String,
    pub(in crate::data) shape: Vec<usize>,
    pub(in crate::data) values: Vec<u8>,
    /// Where the values are: an offset of the unpacked data, in which the tags of compressed
    /// elements do not count.
    pub(in crate::data) offset: u64,
}

/// The arrays of a file; `check` sees each one before its values are read.
pub(in crate::data) fn read(
    path: &Path,
    check: impl Fn(&Array) -> Result<(), DataError>,
) -> Result<Vec<Array>, DataError> {
    let io = |action| {
        move |source| DataError::Io {
            path: path.to_path_buf(),
            action,
            source,
        }
    };
    let file = File::open(path).map_err(io("open"))?;
    let length = file.metadata().map_err(io("read"))?.len();
    // An element that ends after the file is found before it is unpacked.
    let within = |end: u64| match end <= length {
        true => Ok(()),
        false => Err(DataError::Truncated {
            path: path.into(),
            offset: length,
            expected: end,
        }),
    };
    within(HEADER)?;
    let mut file = Bytes {
        path,
        reader: BufReader::new(file),
        offset: 0,
    };
    file.skip(HEADER - VERSION.len() as u64)?;
    let version = file.read(VERSION.len() as u64)?;
    if version != VERSION {
        let found = format!("version and byte order {version:02x?}");
        let expected = format!("{VERSION:02x?}, a little-endian MATLAB 5.0 file");
        return Err(file.unexpected(HEADER - VERSION.len() as u64, found, expected));
    }

    let (mut arrays, mut at, mut unpacked) = (Vec::new(), HEADER, HEADER);
    while at < length {
        within(at + TAG)?;
        let [kind, bytes] = file.tag()?;
        let end = at + TAG + u64::from(bytes);
        within(end)?;
        let element = file.reader.by_ref().take(bytes.into());
        let (array, read) = match kind {
            COMPRESSED => {
                let mut element = Bytes {
                    path,
                    reader: ZlibDecoder::new(element),
                    offset: unpacked,
                };
                let [kind, bytes] = element.tag()?;
                if kind != MATRIX {
                    let found = format!("an element of type {kind}");
                    return Err(element.unexpected(unpacked, found, format!("{MATRIX}, an array")));
                }
                let array = element.array(bytes.into(), &check)?;
                let read = element.end()?;
                // What the stream may leave of its element.
                let mut rest = element.reader.into_inner();
                io::copy(&mut rest, &mut io::sink()).map_err(io("read"))?;
                (array, read)
            }
            MATRIX => {
                let mut element = Bytes {
                    path,
                    reader: element,
                    offset: unpacked + TAG,
                };
                (element.array(bytes.into(), &check)?, element.end()?)
            }
            kind => {
                let found = format!("an element of type {kind}");
                let expected = format!("{MATRIX}, an array, or {COMPRESSED}, a compressed one");
                return Err(file.unexpected(unpacked, found, expected));
            }
        };
        arrays.push(array);
        (at, unpacked) = (end, read);
    }
    Ok(arrays)
}

/// Bytes being read, and the offset of the next.
struct Bytes<'a, R> {
    path: &'a Path,
    reader: R,
    offset: u64,
}

impl<R: Read> Bytes<'_, R> {
    /// An array of `length` bytes: flags, shape, name, values.
    fn array(
        &mut self,
        length: u64,
        check: impl Fn(&Array) -> Result<(), DataError>,
    ) -> Result<Array, DataError> {
        let end = self.offset + length;
        let at = self.offset;
        let flags = self.part(UINT32, end)?;
        let class = flags.first().copied().unwrap_or_default();
        if !NUMERIC.contains(&class) {
            let found = format!("an array of class {class}");
            return Err(self.unexpected(at + TAG, found, "6 to 15, numbers".into()));
        }
        let shape = self.part(INT32, end)?;
        let shape = shape.as_chunks().0.iter();
        let shape: Vec<usize> = shape
            .map(|&size| u32::from_le_bytes(size) as usize)
            .collect();
        let name = self.part(INT8, end)?;
        let part = self.part_tag(UINT8, end)?;
        let mut array = Array {
            name: String::from_utf8_lossy(&name).into_owned(),
            shape,
            values: Vec::new(),
            offset: self.offset,
        };
        check(&array)?;
        let count = array
            .shape
            .iter()
            .try_fold(1, |n: usize, &size| n.checked_mul(size));
        if count.map(|count| count as u64) != Some(part.length) {
            let found = format!("{} values of {}", part.length, array.name);
            let expected = format!("as many as {:?} has", array.shape);
            return Err(self.unexpected(array.offset, found, expected));
        }
        array.values = self.read(part.length)?;
        self.skip(part.padding)?;
        Ok(array)
    }

    /// The bytes of a part of an array that ends at `end`.
    fn part(&mut self, kind: u32, end: u64) -> Result<Vec<u8>, DataError> {
        let part = self.part_tag(kind, end)?;
        let bytes = self.read(part.length)?;
        self.skip(part.padding)?;
        Ok(bytes)
    }

    fn part_tag(&mut self, kind: u32, end: u64) -> Result<Part, DataError> {
        let at = self.offset;
        let first = self.number()?;
        // Up to four bytes lie in the tag itself, their count in the upper half of the type.
        let (found, part) = match (first & 0xffff, first >> 16) {
            (found, 0) => {
                let length = u64::from(self.number()?);
                let padding = length.next_multiple_of(8) - length;
                (found, Part { length, padding })
            }
            (found, length @ 1..=4) => {
                let [length, padding] = [length, 4 - length].map(u64::from);
                (found, Part { length, padding })
            }
            _ => (
                first,
                Part {
                    length: 0,
                    padding: 0,
                },
            ),
        };
        if found != kind {
            return Err(self.unexpected(at, format!("a part of type {found}"), kind.to_string()));
        }
        let room = end.saturating_sub(self.offset);
        if part.length + part.padding > room {
            let found = format!("a part of {} bytes", part.length);
            return Err(self.unexpected(at, found, format!("at most {room}, padded to 8")));
        }
        Ok(part)
    }

    /// Type and length of an element.
    fn tag(&mut self) -> Result<[u32; 2], DataError> {
        Ok([self.number()?, self.number()?])
    }

    fn number(&mut self) -> Result<u32, DataError> {
        let bytes = self.read(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// Memory grows with what is there, not with what is asked for.
    fn read(&mut self, count: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let result = self.reader.by_ref().take(count).read_to_end(&mut bytes);
        self.advance(count, result.map(|read| read as u64))?;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), DataError> {
        let result = io::copy(&mut self.reader.by_ref().take(count), &mut io::sink());
        self.advance(count, result)
    }

    fn advance(&mut self, expected: u64, read: io::Result<u64>) -> Result<(), DataError> {
        let expected = self.offset + expected;
        self.offset += read.map_err(|source| self.unpacking(source))?;
        if self.offset < expected {
            return Err(DataError::Truncated {
                path: self.path.into(),
                offset: self.offset,
                expected,
            });
        }
        Ok(())
    }

    /// The offset reached, beyond which there must be nothing; of a compressed element the checksum
    /// is compared too.
    fn end(&mut self) -> Result<u64, DataError> {
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(self.offset),
            Ok(_) => Err(DataError::Trailing {
                path: self.path.into(),
                expected: self.offset,
            }),
            Err(source) => Err(self.unpacking(source)),
        }
    }

    fn unpacking(&self, source: io::Error) -> DataError {
        DataError::Io {
            path: self.path.into(),
            action: "unpack",
            source,
        }
    }

    fn unexpected(&self, offset: u64, found: String, expected: String) -> DataError {
        DataError::Unexpected {
            path: self.path.into(),
            offset,
            found,
            expected,
        }
    }
}

/// Bytes of a part of an array.
struct Part {
    length: u64,
    padding: u64,
}
