//! Whether this browser has a WebGPU adapter worth using, and if not, why not.

use js_sys::{Array, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    type Gpu;
    #[wasm_bindgen(method, catch, js_name = requestAdapter)]
    fn request_adapter(this: &Gpu) -> Result<Promise, JsValue>;
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Vendor, architecture and description, as far as the browser tells.
    pub name: String,
    /// Computed on the processor: right, and slow.
    pub software: bool,
}

/// Why there is no adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAdapter {
    /// A sentence.
    pub why: String,
    /// Whether there may be one later.
    pub may_pass: bool,
}

/// The adapter that WebGPU would use here, if it is there within so many milliseconds.
pub async fn adapter(patience: i32) -> Result<Adapter, NoAdapter> {
    let none = |why: &str, may_pass| NoAdapter {
        why: why.into(),
        may_pass,
    };
    let navigator = web_sys::window()
        .expect("the page has a window")
        .navigator();
    let gpu = Reflect::get(&navigator, &"gpu".into()).unwrap_or_default();
    if gpu.is_undefined() || gpu.is_null() {
        return Err(none("This browser has no WebGPU.", false));
    }
    let gpu: Gpu = gpu.unchecked_into();
    let late = JsValue::from("late");
    let failed = |error: JsValue| {
        let error: js_sys::Error = error.unchecked_into();
        let said = error.message().as_string().unwrap_or_default();
        none(&format!("WebGPU failed here ({said})."), true)
    };
    let asked = gpu.request_adapter().map_err(failed)?;
    let first = Promise::race(&Array::of2(&asked, &after(patience, &late)));
    let adapter = JsFuture::from(first).await.map_err(failed)?;
    if adapter == late {
        return Err(none("WebGPU did not answer within two seconds.", true));
    }
    if adapter.is_null() || adapter.is_undefined() {
        return Err(none(
            "This browser has WebGPU, but no graphics adapter for it.",
            true,
        ));
    }
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

/// A promise of this value after so many milliseconds.
fn after(milliseconds: i32, value: &JsValue) -> Promise {
    Promise::new(&mut |resolve, _| {
        let window = web_sys::window().expect("the page has a window");
        let arguments = Array::of1(value);
        let _ = window.set_timeout_with_callback_and_timeout_and_arguments(
            &resolve,
            milliseconds,
            &arguments,
        );
    })
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
            .any(|known| name.to_ascii_lowercase().contains(known) || architecture == *known);
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
