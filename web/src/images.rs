//! Pixels: between a model's numbers and the browser's pictures.

use basin_protocol::metrics;
use wasm_bindgen::{Clamped, JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, CanvasRenderingContext2d, HtmlAnchorElement, HtmlCanvasElement, ImageBitmap, ImageData,
};

/// Channels, height and width of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub channels: usize,
    pub size: usize,
}

impl Shape {
    /// Numbers of one image.
    pub fn len(self) -> usize {
        self.channels * self.size * self.size
    }

    /// One image's numbers as red, green, blue and opacity.
    pub fn rgba(self, pixels: &[f32]) -> Vec<u8> {
        let plane = self.size * self.size;
        let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        let mut rgba = Vec::with_capacity(plane * 4);
        for i in 0..plane {
            let channel = |c: usize| byte(pixels[c.min(self.channels - 1) * plane + i]);
            rgba.extend([channel(0), channel(1), channel(2), 255]);
        }
        rgba
    }

    /// The reverse; grey is BT.601 luma.
    pub fn read_rgba(self, rgba: &[u8]) -> Vec<f32> {
        let plane = self.size * self.size;
        let channel = |i: usize, c: usize| rgba[i * 4 + c] as f32 / 255.0;
        match self.channels {
            1 => (0..plane)
                .map(|i| {
                    // Grey stays exactly what it was.
                    let [r, g, b] = [0, 1, 2].map(|c| channel(i, c));
                    if r == g && g == b {
                        r
                    } else {
                        0.299 * r + 0.587 * g + 0.114 * b
                    }
                })
                .collect(),
            n => (0..n * plane)
                .map(|i| channel(i % plane, (i / plane).min(3)))
                .collect(),
        }
    }
}

/// Peak signal-to-noise ratio in decibel of what the screen shows.
pub fn psnr(x: &[f32], clean: &[f32]) -> f32 {
    let shown: Vec<f32> = x.iter().map(|x| x.clamp(0.0, 1.0)).collect();
    metrics::psnr(&shown, clean) as f32
}

/// What a Gaussian blur of the best width makes of a noisy picture, as PSNR against the clean one: whoever
/// cleans by a network ought to do better.
pub fn best_blur(shape: Shape, noisy: &[f32], clean: &[f32]) -> f32 {
    let widths = (4..=30).map(|tenth| tenth as f32 / 10.0);
    let reached = widths.map(|std| psnr(&blur(shape, noisy, std), clean));
    reached.fold(f32::NEG_INFINITY, f32::max)
}

/// A picture blurred by a Gaussian of this standard deviation, along rows and then along columns; what would
/// be outside is left out of each mean.
fn blur(shape: Shape, x: &[f32], std: f32) -> Vec<f32> {
    let size = shape.size as isize;
    let reach = (3.0 * std).ceil() as isize;
    let weights: Vec<f32> = (-reach..=reach)
        .map(|d| (-(d * d) as f32 / (2.0 * std * std)).exp())
        .collect();
    let along = |x: &[f32], apart: isize| -> Vec<f32> {
        (0..x.len() as isize)
            .map(|i| {
                let place = i / apart % size;
                let (mut sum, mut total) = (0.0, 0.0);
                for (d, weight) in (-reach..=reach).zip(&weights) {
                    if (0..size).contains(&(place + d)) {
                        sum += weight * x[(i + d * apart) as usize];
                        total += weight;
                    }
                }
                sum / total
            })
            .collect()
    };
    along(&along(x, 1), size)
}

/// The part of a picture that a square shows: left, top and side.
fn square(width: f64, height: f64) -> (f64, f64, f64) {
    let side = width.min(height);
    ((width - side) / 2.0, (height - side) / 2.0, side)
}

/// Draws one image, a canvas pixel for each of its own.
pub fn draw(canvas: &HtmlCanvasElement, shape: Shape, pixels: &[f32]) {
    let size = shape.size as u32;
    if canvas.width() != size || canvas.height() != size {
        canvas.set_width(size);
        canvas.set_height(size);
    }
    let rgba = shape.rgba(pixels);
    let (Some(context), Ok(data)) = (
        context(canvas),
        ImageData::new_with_u8_clamped_array(Clamped(&rgba), size),
    ) else {
        return;
    };
    let _ = context.put_image_data(&data, 0.0, 0.0);
}

/// Decodes a picture in any format of the browser's and fits it to `shape`: its middle square,
/// scaled.
pub async fn decode(blob: &Blob, shape: Shape) -> Result<Vec<f32>, String> {
    let not_a_picture = |_: JsValue| "this is no picture that the browser can read".to_owned();
    let window = web_sys::window().expect("the page has a window");
    let promise = window
        .create_image_bitmap_with_blob(blob)
        .map_err(not_a_picture)?;
    let bitmap: ImageBitmap = JsFuture::from(promise)
        .await
        .map_err(not_a_picture)?
        .unchecked_into();
    let canvas = new_canvas(shape.size as u32, shape.size as u32);
    let context = context(&canvas).ok_or("the browser gives no canvas")?;
    context.set_image_smoothing_enabled(true);
    let _ = js_sys::Reflect::set(&context, &"imageSmoothingQuality".into(), &"high".into());
    let (left, top, side) = square(bitmap.width().into(), bitmap.height().into());
    let size = shape.size as f64;
    context
        .draw_image_with_image_bitmap_and_sw_and_sh_and_dx_and_dy_and_dw_and_dh(
            &bitmap, left, top, side, side, 0.0, 0.0, size, size,
        )
        .map_err(not_a_picture)?;
    let data = context
        .get_image_data(0.0, 0.0, size, size)
        .map_err(not_a_picture)?;
    Ok(shape.read_rgba(&data.data()))
}

/// Offers images as one PNG, side by side in rows of `columns`, each pixel a square of 8.
pub fn save_png(shape: Shape, pixels: &[f32], columns: usize, name: &str) {
    const SCALE: usize = 8;
    let count = pixels.len() / shape.len();
    let columns = columns.min(count).max(1);
    let rows = count.div_ceil(columns);
    let side = shape.size * SCALE;
    let sheet = new_canvas((columns * side) as u32, (rows * side) as u32);
    let one = new_canvas(shape.size as u32, shape.size as u32);
    let Some(context) = context(&sheet) else {
        return;
    };
    context.set_image_smoothing_enabled(false);
    for (i, image) in pixels.chunks(shape.len()).enumerate() {
        draw(&one, shape, image);
        let [x, y] = [i % columns, i / columns].map(|at| (at * side) as f64);
        let side = side as f64;
        let _ = context.draw_image_with_html_canvas_element_and_dw_and_dh(&one, x, y, side, side);
    }
    let link: HtmlAnchorElement = document()
        .create_element("a")
        .expect("a link")
        .unchecked_into();
    link.set_href(&sheet.to_data_url().unwrap_or_default());
    link.set_download(name);
    link.click();
}

fn new_canvas(width: u32, height: u32) -> HtmlCanvasElement {
    let canvas: HtmlCanvasElement = document()
        .create_element("canvas")
        .expect("a canvas")
        .unchecked_into();
    canvas.set_width(width);
    canvas.set_height(height);
    canvas
}

fn context(canvas: &HtmlCanvasElement) -> Option<CanvasRenderingContext2d> {
    canvas
        .get_context("2d")
        .ok()
        .flatten()
        .map(JsCast::unchecked_into)
}

fn document() -> web_sys::Document {
    web_sys::window()
        .and_then(|window| window.document())
        .expect("the page has a document")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_survive_the_way_to_the_screen_and_back() {
        let steps: Vec<f32> = (0..12).map(|i| i as f32 * 20.0 / 255.0).collect();
        for channels in [1, 3] {
            let shape = Shape { channels, size: 2 };
            let pixels = &steps[..shape.len()];
            assert_eq!(
                shape.read_rgba(&shape.rgba(pixels)),
                pixels,
                "{channels} channels"
            );
        }
    }

    #[test]
    fn a_blur_spreads_a_point_and_keeps_what_is_even() {
        let shape = Shape {
            channels: 2,
            size: 9,
        };
        let mut x = vec![0.0; 162];
        x[40] = 1.0;
        x[81..].fill(0.5);
        let blurred = blur(shape, &x, 1.0);
        assert!((blurred[41] / blurred[40] - (-0.5f32).exp()).abs() < 1e-4);
        assert!((blurred[49] / blurred[40] - (-0.5f32).exp()).abs() < 1e-4);
        assert!(blurred[81..].iter().all(|v| (v - 0.5).abs() < 1e-5));
        // Of noise around grey, hardly anything is left.
        let noisy: Vec<f32> = (0..162)
            .map(|i| if i * 7 % 5 < 2 { 0.3 } else { 0.7 })
            .collect();
        let clean = vec![0.54; 162];
        assert!(best_blur(shape, &noisy, &clean) > psnr(&noisy, &clean) + 10.0);
    }

    #[test]
    fn a_picture_gives_its_middle_square() {
        assert_eq!(square(300.0, 200.0), (50.0, 0.0, 200.0));
    }
}
