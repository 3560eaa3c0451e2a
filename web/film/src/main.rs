//! The worker: a message is a [`basin_film::Film`] as JSON and the pixels, the answer the file's bytes or a sentence.

#[cfg(target_arch = "wasm32")]
fn main() {
    use js_sys::{Array, Uint8Array};
    use wasm_bindgen::prelude::*;
    use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let answering = scope.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let parts: Array = event.data().unchecked_into();
        let film = parts.get(0).as_string().unwrap_or_default();
        let pixels = Uint8Array::new(&parts.get(1)).to_vec();
        let film = serde_json::from_str(&film).map_err(|error| error.to_string());
        let answer = match film.and_then(|film| basin_film::encode(&film, &pixels)) {
            Ok(bytes) => Uint8Array::from(&*bytes).into(),
            Err(why) => JsValue::from(why),
        };
        // Fails only where the page is gone.
        let _ = answering.post_message(&answer);
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    // It may be asked now.
    let _ = scope.post_message(&JsValue::NULL);
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {}
