//! Pixels: between a model's numbers and the browser's pictures.

use std::sync::Arc;

use basin_protocol::metrics;
use basin_shared::pictures;
use image::{ImageBuffer, Rgba};
use wasm_bindgen::{Clamped, JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, CanvasRenderingContext2d, ColorSpaceConversion, HtmlAnchorElement,
    HtmlCanvasElement, ImageBitmap, ImageBitmapOptions, ImageData, Url,
};

use crate::png_text;

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

/// Numbers around 0 as a picture: 0 is grey, and the largest is as bright or as dark as can be.
pub fn magnified(numbers: &[f32]) -> Arc<[f32]> {
    let most = numbers.iter().fold(1e-9, |most: f32, x| most.max(x.abs()));
    around_grey(numbers, most)
}

/// A gradient as a picture, in the same way; three times its root mean square is as bright or as dark as can be, as
/// a few numbers are far larger than the rest (Tsipras et al. 2019, "Robustness may be at odds with accuracy").
pub fn gradient_map(gradient: &[f32]) -> Arc<[f32]> {
    let most = 3.0 * length(gradient) / (gradient.len() as f32).sqrt();
    around_grey(gradient, most.max(1e-9))
}

/// 0 as grey, `most` as white.
fn around_grey(numbers: &[f32], most: f32) -> Arc<[f32]> {
    numbers.iter().map(|x| 0.5 + 0.5 * x / most).collect()
}

/// The L2 norm.
pub fn length(numbers: &[f32]) -> f32 {
    numbers.iter().map(|x| x * x).sum::<f32>().sqrt()
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

/// Most rows and columns of a picture that are read; of a larger one the browser makes a smaller one first.
const MOST_PIXELS: u32 = 4096;

/// Decodes a picture in any format of the browser's and fits it to `shape` as the command line does. Its values
/// are taken as they are, with no profile applied: as data sets were read.
pub async fn decode(blob: &Blob, shape: Shape) -> Result<Vec<f32>, String> {
    let not_a_picture = |_: JsValue| "this is no picture that the browser can read".to_owned();
    let bitmap = match bitmap(blob).await {
        Ok(bitmap) => bitmap,
        Err(_)
            if begins(
                blob,
                4,
                &[b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"],
            )
            .await =>
        {
            return Err(
                "this is a HEIC picture, which the browser cannot read; save it as JPEG or PNG"
                    .into(),
            );
        }
        // Cameras leave a JPEG's end marker out, and the browser then refuses what it shows elsewhere.
        Err(_) if begins(blob, 0, &[b"\xff\xd8\xff"]).await => {
            let end = js_sys::Uint8Array::from(&[0xff, 0xd9][..]);
            let ended = js_sys::Array::of2(blob, &end);
            let ended = Blob::new_with_u8_array_sequence(&ended).map_err(not_a_picture)?;
            bitmap(&ended).await.map_err(not_a_picture)?
        }
        Err(error) => return Err(not_a_picture(error)),
    };
    let side = bitmap.width().min(bitmap.height());
    let read = side.min(MOST_PIXELS);
    let canvas = new_canvas(read, read);
    let context = context(&canvas).ok_or("the browser gives no canvas")?;
    let _ = js_sys::Reflect::set(&context, &"imageSmoothingQuality".into(), &"high".into());
    context.set_fill_style_str("white");
    context.fill_rect(0.0, 0.0, read.into(), read.into());
    let [left, top] = [bitmap.width(), bitmap.height()].map(|size| f64::from((size - side) / 2));
    let (side, read_side) = (f64::from(side), f64::from(read));
    context
        .draw_image_with_image_bitmap_and_sw_and_sh_and_dx_and_dy_and_dw_and_dh(
            &bitmap, left, top, side, side, 0.0, 0.0, read_side, read_side,
        )
        .map_err(not_a_picture)?;
    // Decoded pictures are large, and are collected late.
    bitmap.close();
    let data = context
        .get_image_data(0.0, 0.0, read_side, read_side)
        .map_err(not_a_picture)?
        .data();
    let picture = ImageBuffer::<Rgba<u8>, _>::from_raw(read, read, data.0);
    let picture = picture.ok_or("the browser gives no pixels")?;
    let fitted = pictures::fit(&picture, [shape.channels, shape.size, shape.size]);
    Ok(fitted
        .into_iter()
        .map(|byte| f32::from(byte) / 255.0)
        .collect())
}

/// A picture decoded by the browser, its numbers as they are in the file.
pub async fn bitmap(blob: &Blob) -> Result<ImageBitmap, JsValue> {
    let window = web_sys::window().expect("the page has a window");
    let as_it_is = ImageBitmapOptions::new();
    as_it_is.set_color_space_conversion(ColorSpaceConversion::None);
    let promise = window.create_image_bitmap_with_blob_and_image_bitmap_options(blob, &as_it_is)?;
    Ok(JsFuture::from(promise).await?.unchecked_into())
}

/// Whether one of these words stands at this place of a file.
async fn begins(blob: &Blob, at: i32, words: &[&[u8]]) -> bool {
    let Ok(head) = blob.slice_with_i32_and_i32(at, at + 8) else {
        return false;
    };
    let head = JsFuture::from(head.array_buffer()).await;
    let head = head.map(|head| js_sys::Uint8Array::new(&head).to_vec());
    head.is_ok_and(|head| words.iter().any(|word| head.starts_with(word)))
}

/// Offers images as one PNG, side by side in rows of `columns`, each pixel a square of 8, with words in it.
pub fn save_png(shape: Shape, pixels: &[f32], columns: usize, name: &str, texts: &[(&str, &str)]) {
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
    let url = sheet.to_data_url().unwrap_or_default();
    let encoded = url.split_once(',').map_or("", |(_, encoded)| encoded);
    let window = web_sys::window().expect("the page has a window");
    // Each character of the answer is a byte.
    let png: Vec<u8> = window
        .atob(encoded)
        .unwrap_or_default()
        .chars()
        .map(|byte| byte as u8)
        .collect();
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(&*png_text::with_texts(
        &png, texts,
    )));
    let options = BlobPropertyBag::new();
    options.set_type("image/png");
    if let Ok(blob) = Blob::new_with_u8_array_sequence_and_options(&parts, &options) {
        offer(&blob, name);
    }
}

/// Offers a file to the visitor.
pub fn offer(blob: &Blob, name: &str) {
    let Ok(url) = Url::create_object_url_with_blob(blob) else {
        return;
    };
    let link: HtmlAnchorElement = document()
        .create_element("a")
        .expect("a link")
        .unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    // A browser may take its time to begin.
    let revoke = move || {
        let _ = Url::revoke_object_url(&url);
    };
    leptos::prelude::set_timeout(revoke, std::time::Duration::from_secs(60));
}

/// What the beginning of a picture says of the link that draws it again: the part after `#`.
pub async fn link_in(blob: &Blob) -> Option<String> {
    const BEGINNING: i32 = 1 << 16;
    let head = blob.slice_with_i32_and_i32(0, BEGINNING).ok()?;
    let head = JsFuture::from(head.array_buffer()).await.ok()?;
    let link = png_text::text(&js_sys::Uint8Array::new(&head).to_vec(), png_text::LINK)?;
    Some(link.split_once('#')?.1.to_owned())
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
}
