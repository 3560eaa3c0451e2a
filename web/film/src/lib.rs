//! An animated GIF of a chain's frames.
//!
//! Colours are chosen and counted at the images' own size; only then is each pixel made a square, so that a film costs as
//! little as the images are small.

use gif::{Encoder, Frame, Repeat};
use serde::{Deserialize, Serialize};

/// What a film is made of, beside the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Film {
    /// Height and width of an image.
    pub size: usize,
    /// Images of a frame.
    pub images: usize,
    /// Images in a row.
    pub columns: usize,
    /// Edge of the square that a pixel becomes.
    pub scale: usize,
    /// How long each frame is seen, in hundredths of a second.
    pub delays: Vec<u16>,
}

/// The GIF, which begins again at its end.
///
/// # Shapes
/// - `pixels`: red, green, blue and opacity, `[frames, images, size, size, 4]`
///
/// # Errors
/// If the sizes do not agree, or are too large for the format.
pub fn encode(film: &Film, pixels: &[u8]) -> Result<Vec<u8>, String> {
    let Film {
        size,
        images,
        columns,
        scale,
        ref delays,
    } = *film;
    let image = size * size * 4;
    let expected = delays.len() * images * image;
    if pixels.len() != expected || expected == 0 || columns == 0 || scale == 0 {
        let found = pixels.len();
        return Err(format!(
            "{found} bytes of pixels, expected {expected}, more than none"
        ));
    }
    let [width, height] = [columns.min(images), images.div_ceil(columns)].map(|n| n * size);
    let side = |length: usize| {
        let too_large = |_| format!("{length} pixels in a row, expected 65535 at most");
        u16::try_from(length * scale).map_err(too_large)
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, side(width)?, side(height)?, &[])
        .map_err(|error| error.to_string())?;
    encoder
        .set_repeat(Repeat::Infinite)
        .map_err(|error| error.to_string())?;
    for (frame, &delay) in pixels.chunks_exact(images * image).zip(delays) {
        // Between the last image and the edge it stays black.
        let mut sheet = [0, 0, 0, 255].repeat(width * height);
        for (i, image) in frame.chunks_exact(image).enumerate() {
            let corner = i / columns * size * width + i % columns * size;
            for (row, line) in image.chunks_exact(size * 4).enumerate() {
                sheet[(corner + row * width) * 4..][..line.len()].copy_from_slice(line);
            }
        }
        let small = Frame::from_rgba_speed(width as u16, height as u16, &mut sheet, 10);
        let rows = small.buffer.chunks_exact(width);
        let squares = rows.flat_map(|row| {
            let wide: Vec<u8> = row
                .iter()
                .flat_map(|&pixel| std::iter::repeat_n(pixel, scale))
                .collect();
            wide.repeat(scale)
        });
        let frame = Frame {
            width: side(width)?,
            height: side(height)?,
            buffer: squares.collect::<Vec<u8>>().into(),
            palette: small.palette.clone(),
            transparent: small.transparent,
            delay,
            ..Frame::default()
        };
        encoder
            .write_frame(&frame)
            .map_err(|error| error.to_string())?;
    }
    drop(encoder);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_shows_each_image_in_its_place() {
        let film = Film {
            size: 2,
            images: 3,
            columns: 2,
            scale: 3,
            delays: vec![5, 80],
        };
        // One colour an image, another in each frame.
        let colours: Vec<[u8; 4]> = (0..6).map(|i| [40 * i, 255 - 40 * i, 128, 255]).collect();
        let pixels: Vec<u8> = colours.iter().flat_map(|colour| colour.repeat(4)).collect();
        let bytes = encode(&film, &pixels).unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(&*bytes).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (12, 12));
        for number in 0..2 {
            let frame = decoder.read_next_frame().unwrap().unwrap();
            assert_eq!(frame.delay, film.delays[number]);
            let at = |x: usize, y: usize| &frame.buffer[(y * 12 + x) * 4..][..4];
            for (image, [x, y]) in [[0, 0], [6, 0], [0, 6]].into_iter().enumerate() {
                for (x, y) in [(x, y), (x + 5, y + 5)] {
                    let expected = colours[3 * number + image];
                    let off = at(x, y)
                        .iter()
                        .zip(expected)
                        .map(|(a, b)| a.abs_diff(b))
                        .max();
                    assert!(off.unwrap() <= 2, "{:?} {expected:?}", at(x, y));
                }
            }
            assert_eq!(at(11, 11), [0, 0, 0, 255]);
        }
        assert!(decoder.read_next_frame().unwrap().is_none());
        let error = encode(&film, &pixels[4..]).unwrap_err();
        assert!(
            error.starts_with("92 bytes of pixels, expected 96"),
            "{error}"
        );
    }
}
