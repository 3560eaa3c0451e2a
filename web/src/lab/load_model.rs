//! Fetching a model file, with the bytes told as they arrive.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStreamDefaultReader, RequestInit, Response};

/// Longest model file that is taken in; the loader's own limit.
pub(super) const LONGEST: usize = 256 << 20;

/// Why there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The visitor cancelled.
    Cancelled,
    /// A sentence.
    Failed(String),
}

/// Fetches `url`, which may have `longest` bytes, and tells how many bytes of how many are there, each time some more
/// are.
pub async fn fetch(
    url: &str,
    controller: &AbortController,
    longest: usize,
    on_progress: impl Fn(u64, Option<u64>),
) -> Result<Vec<u8>, FetchError> {
    let failed = |why: &str| FetchError::Failed(format!("{url}: {why}"));
    let signal = controller.signal();
    let unreachable = |_| match signal.aborted() {
        true => FetchError::Cancelled,
        false => failed("cannot be reached, or its server does not let other pages read it"),
    };
    let init = RequestInit::new();
    init.set_signal(Some(&signal));
    let window = web_sys::window().expect("the page has a window");
    let response: Response = JsFuture::from(window.fetch_with_str_and_init(url, &init))
        .await
        .map_err(unreachable)?
        .unchecked_into();
    if !response.ok() {
        return Err(failed(&format!(
            "the server answered {}",
            response.status()
        )));
    }
    let header = |name| response.headers().get(name).ok().flatten();
    // The length of compressed bytes says nothing of those that are seen here.
    let total = header("content-length").and_then(|text| text.parse().ok());
    let total = total.filter(|_| header("content-encoding").is_none());
    let body = response
        .body()
        .ok_or_else(|| failed("the answer is empty"))?;
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut bytes = Vec::new();
    loop {
        let part = JsFuture::from(reader.read()).await.map_err(unreachable)?;
        let value = Reflect::get(&part, &"value".into()).unwrap_or_default();
        let Ok(chunk) = value.dyn_into::<Uint8Array>() else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.length() as usize > longest {
            controller.abort();
            let most = longest >> 20;
            return Err(failed(&format!(
                "longer than {most} MB, which it must not be here"
            )));
        }
        bytes.extend(chunk.to_vec());
        // Another host may keep to itself that what it sends is compressed.
        let loaded = bytes.len() as u64;
        on_progress(loaded, total.filter(|&total| loaded <= total));
    }
}
