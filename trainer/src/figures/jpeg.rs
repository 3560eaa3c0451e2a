//! Where a JPEG picture ends. Decoders fill a picture that is cut short with grey and say nothing; and what
//! cameras write often has bytes behind the end marker (a motion photo's film), or no end marker at all.

use image::{DynamicImage, ImageFormat};

const START: u8 = 0xd8;
const END: u8 = 0xd9;

/// Whether the bytes begin as a JPEG picture does.
pub(crate) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, START, 0xff])
}

/// Whether all of the picture is there: up to its end marker, or, without one, so far that what might follow makes
/// no difference to its pixels.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    if end(bytes).is_some() {
        return true;
    }
    // What a picture that is cut short lacks would be decoded from these.
    let made_up: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_mul(37) & 0x7f).collect();
    let followed_by = |more: &[u8]| -> Option<DynamicImage> {
        let ended = [bytes, more, &[0xff, END]].concat();
        image::load_from_memory_with_format(&ended, ImageFormat::Jpeg).ok()
    };
    let picture = followed_by(&[]);
    picture.is_some() && picture == followed_by(&made_up)
}

/// Where the bytes behind the end marker begin. Segments are passed over by their lengths, as a preview inside one
/// has markers of its own.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // A marker is 0xff, perhaps some more of it, and a code.
        let marker = at + bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        let code = marker + bytes[marker..].iter().position(|&byte| byte != 0xff)?;
        at = code + 1;
        match bytes[code] {
            END => return Some(at),
            // A stuffed byte of the scan, a restart, a start: nothing follows that has a length.
            0x00 | 0x01 | 0xd0..=0xd7 | START => {}
            _ => {
                let length = bytes.get(at..at + 2)?;
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, codecs::jpeg::JpegEncoder};

    use super::*;

    fn jpeg() -> Vec<u8> {
        let noise = |x: u32, y: u32| Luma([(x * y * 37 % 256) as u8]);
        let mut bytes = Vec::new();
        let picture = GrayImage::from_fn(64, 64, noise);
        JpegEncoder::new(&mut bytes).encode_image(&picture).unwrap();
        bytes
    }

    #[test]
    fn what_is_cut_is_told_from_what_lacks_its_end_marker() {
        let whole = jpeg();
        assert!(is_jpeg(&whole) && whole.ends_with(&[0xff, END]));
        assert!(is_whole(&whole));
        let without_end = &whole[..whole.len() - 2];
        assert!(is_whole(without_end));
        for cut in (200..whole.len() - 12).step_by(97) {
            assert!(!is_whole(&whole[..cut]), "cut at {cut} of {}", whole.len());
        }
    }

    #[test]
    fn what_follows_the_end_is_no_part_of_the_picture() {
        let mut bytes = jpeg();
        let length = bytes.len();
        // A film behind it, with what looks like a scan of another picture.
        bytes.extend(b"ftypmp42 \xff\xda\x00\x08 and so on");
        assert_eq!(end(&bytes), Some(length));
        // A preview in a segment of its own, before the picture.
        let preview = jpeg();
        let mut nested = vec![0xff, START, 0xff, 0xe1];
        nested.extend((preview.len() as u16 + 2).to_be_bytes());
        nested.extend(&preview);
        let whole = [&nested[..], &jpeg()[2..]].concat();
        assert_eq!(end(&whole), Some(whole.len()));
        assert!(!is_whole(&whole[..whole.len() - 300]));
    }

    #[test]
    fn no_bytes_are_too_odd() {
        for bytes in [
            &[][..],
            &[0xff],
            &[0xff, START],
            &[0xff, START, 0xff],
            &[0xff; 40],
        ] {
            assert_eq!(end(bytes), None);
            assert!(!is_whole(bytes));
        }
    }
}
