//! A picture as a model's input, the same on the page and in the command line: its central square, over white
//! where it is transparent, scaled by one filter, grey by one formula.

use image::{
    GenericImageView, Rgb, Rgba,
    imageops::{self, FilterType},
};

/// Catmull-Rom's cubic, widened where it shrinks, so that nothing aliases: what Pillow calls bicubic, by which
/// data sets are commonly scaled. A browser's own scaling differs from one to the next.
const FILTER: FilterType = FilterType::CatmullRom;

/// The central square of a picture, scaled to the height and width of `shape` (channels, height, width), grey if
/// there is one channel. Alpha is straight.
///
/// # Shapes
/// - returns `[channels, height, width]` flattened
///
/// # Panics
/// If the picture is empty.
pub fn fit(picture: &impl GenericImageView<Pixel = Rgba<u8>>, shape: [usize; 3]) -> Vec<u8> {
    let [channels, height, width] = shape;
    let square = OpaqueSquare::of(picture);
    let fitted = imageops::resize(&square, width as u32, height as u32, FILTER);
    match channels {
        1 => fitted.pixels().map(luma).collect(),
        _ => {
            let plane = |channel: usize| fitted.pixels().map(move |pixel| pixel.0[channel]);
            (0..channels).flat_map(plane).collect()
        }
    }
}

/// BT.601's luma, as Pillow and PyTorch have it, rounded; grey stays what it is.
fn luma(&Rgb([red, green, blue]): &Rgb<u8>) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}

/// The central square over white, pixel by pixel: a picture may fill much of the memory by itself.
struct OpaqueSquare<'a, V> {
    picture: &'a V,
    left: u32,
    top: u32,
    side: u32,
}

impl<'a, V: GenericImageView> OpaqueSquare<'a, V> {
    fn of(picture: &'a V) -> Self {
        let (width, height) = picture.dimensions();
        let side = width.min(height);
        assert!(side > 0, "a picture of {width} × {height} pixels");
        Self {
            picture,
            left: (width - side) / 2,
            top: (height - side) / 2,
            side,
        }
    }
}

impl<V: GenericImageView<Pixel = Rgba<u8>>> GenericImageView for OpaqueSquare<'_, V> {
    type Pixel = Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (self.side, self.side)
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let Rgba([red, green, blue, alpha]) = self.picture.get_pixel(self.left + x, self.top + y);
        // Rounded value · alpha / 255 + white · (255 − alpha) / 255.
        let over = |value: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha * 2 + 255) / 510 + 255 - alpha) as u8
        };
        Rgb([red, green, blue].map(over))
    }
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;

    use super::*;

    #[test]
    fn a_picture_of_the_right_size_is_itself() {
        let picture = RgbaImage::from_fn(4, 4, |x, y| Rgba([x as u8 * 60, y as u8 * 70, 9, 255]));
        let fitted = fit(&picture, [3, 4, 4]);
        for (i, pixel) in picture.pixels().enumerate() {
            assert_eq!([fitted[i], fitted[16 + i], fitted[32 + i]], pixel.0[..3]);
        }
    }

    #[test]
    fn transparent_is_white_and_red_is_a_third() {
        let of = |pixel: [u8; 4], channels: usize| {
            fit(&RgbaImage::from_pixel(3, 2, Rgba(pixel)), [channels, 1, 1])
        };
        assert_eq!(of([255, 255, 255, 128], 1), [255]);
        assert_eq!(of([0, 0, 0, 0], 3), [255; 3]);
        assert_eq!(of([0, 100, 255, 51], 3), [204, 224, 255]);
        assert_eq!(of([255, 0, 0, 255], 1), [76]);
        for grey in 0..=255 {
            assert_eq!(of([grey, grey, grey, 255], 1), [grey]);
        }
    }
}
