//! Whether this browser has a WebGPU adapter worth using, and if not, why not.

use js_sys::{Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    type Gpu;
    #[wasm_bindgen(method, js_name = requestAdapter)]
    fn request_adapter(this: &Gpu) -> Promise;
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Vendor, architecture and description, as far as the browser tells.
    pub name: String,
    /// Computed on the processor: right, and slow.
    pub software: bool,
}

/// The adapter that WebGPU would use here; the error is a sentence.
pub async fn adapter() -> Result<Adapter, String> {
    let navigator = web_sys::window()
        .expect("the page has a window")
        .navigator();
    let gpu = Reflect::get(&navigator, &"gpu".into()).unwrap_or_default();
    if gpu.is_undefined() {
        return Err("This browser has no WebGPU.".into());
    }
    let gpu: Gpu = gpu.unchecked_into();
    let adapter = JsFuture::from(gpu.request_adapter()).await;
    let adapter = adapter
        .ok()
        .filter(|adapter| !adapter.is_null() && !adapter.is_undefined());
    let Some(adapter) = adapter else {
        return Err("This browser has WebGPU, but no graphics adapter for it.".into());
    };
    let info = Reflect::get(&adapter, &"info".into()).unwrap_or_default();
    let read = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).ok();
    let words = ["description", "vendor", "architecture"].map(|name| {
        read(&info, name)
            .and_then(|value| value.as_string())
            .unwrap_or_default()
    });
    let fallback = [&info, &adapter].map(|object| {
        read(object, "isFallbackAdapter")
            .and_then(|value| value.as_bool())
            .unwrap_or(false)
    });
    Ok(describe(words, fallback.contains(&true)))
}

fn describe([description, vendor, architecture]: [String; 3], fallback: bool) -> Adapter {
    let mut name = match description.is_empty() {
        true => format!("{vendor} {architecture}").trim().to_owned(),
        false => description,
    };
    if name.is_empty() {
        name = "unnamed adapter".into();
    }
    let software = fallback
        || ["swiftshader", "llvmpipe", "basic render"]
            .iter()
            .any(|known| name.to_lowercase().contains(known) || architecture == *known);
    Adapter { name, software }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_adapters_are_known_by_flag_or_name() {
        let words = |d: &str, v: &str, a: &str| [d.into(), v.into(), a.into()];
        let swiftshader = describe(words("", "google", "swiftshader"), false);
        assert_eq!(
            (swiftshader.name.as_str(), swiftshader.software),
            ("google swiftshader", true)
        );
        assert!(describe(words("", "", ""), true).software);
        assert!(!describe(words("", "apple", "common-3"), false).software);
        assert_eq!(describe(words("", "", ""), false).name, "unnamed adapter");
    }
}
