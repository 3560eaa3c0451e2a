//! Model files of other hosts, kept by the browser, so that another visit need not fetch them. Whether a file is whole
//! is the loader's to find: each holds the checksum of its weights, and what it refuses is forgotten.

use js_sys::{Array, ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, Headers, Request, Response, ResponseInit};

/// Its name among the browser's caches; those of the page's own files begin otherwise.
const NAME: &str = "models-of-others";

/// A file that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub url: String,
    pub bytes: f64,
}

async fn cache() -> Result<Cache, JsValue> {
    let window = web_sys::window().ok_or("a page has a window")?;
    // Not there where the page is not served safely.
    let caches = window.caches()?;
    Ok(JsFuture::from(caches.open(NAME)).await?.unchecked_into())
}

/// The file of this address, if it is kept.
pub async fn get(url: &str) -> Option<Vec<u8>> {
    let cache = cache().await.ok()?;
    let found = JsFuture::from(cache.match_with_str(url)).await.ok()?;
    let response: Response = found.dyn_into().ok()?;
    let buffer = JsFuture::from(response.array_buffer().ok()?).await.ok()?;
    Some(Uint8Array::new(&buffer).to_vec())
}

/// Keeps a file, if the browser has room for it.
pub async fn put(url: &str, bytes: &[u8]) {
    let put = async {
        let headers = Headers::new()?;
        headers.set("content-length", &bytes.len().to_string())?;
        let init = ResponseInit::new();
        init.set_headers(&headers);
        let buffer: ArrayBuffer = Uint8Array::from(bytes).buffer();
        let response = Response::new_with_opt_buffer_source_and_init(Some(&buffer), &init)?;
        JsFuture::from(cache().await?.put_with_str(url, &response)).await
    };
    let _: Result<JsValue, JsValue> = put.await;
}

/// Forgets a file.
pub async fn remove(url: &str) {
    if let Ok(cache) = cache().await {
        let _ = JsFuture::from(cache.delete_with_str(url)).await;
    }
}

/// All that is kept.
pub async fn kept() -> Vec<Kept> {
    let list = async {
        let cache = cache().await?;
        let requests: Array = JsFuture::from(cache.keys()).await?.unchecked_into();
        let mut kept = Vec::new();
        for request in requests.iter() {
            let url = request.unchecked_into::<Request>().url();
            let response = JsFuture::from(cache.match_with_str(&url)).await?;
            let Ok(response) = response.dyn_into::<Response>() else {
                continue;
            };
            let length = response.headers().get("content-length")?;
            let bytes = length.and_then(|length| length.parse().ok());
            kept.push(Kept {
                url,
                bytes: bytes.unwrap_or_default(),
            });
        }
        Ok::<_, JsValue>(kept)
    };
    list.await.unwrap_or_default()
}
