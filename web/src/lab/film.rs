//! A chain as an animated GIF, made by a worker that is fetched for it.

use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, MessageEvent};

use super::{Lab, chain::Chain, worker_handle::start_program};
use crate::images;

/// The name of the worker's files.
const PROGRAM: &str = "basin-film";
/// The edge of a film that is aimed at, in pixels.
const EDGE: usize = 320;
/// How long a frame is seen, and the last of them, in hundredths of a second.
const DELAYS: [u16; 2] = [8, 150];

impl Lab {
    /// Makes a film of the frames kept of a chain, and offers it under a name that says what it shows.
    pub fn save_film(self, chain: RwSignal<Chain>, columns: usize, what: &str) {
        let Some(shape) = self.model.with_untracked(|m| m.as_ref().map(|m| m.shape())) else {
            return;
        };
        let (frames, images) = chain.with_untracked(|chain| {
            let newest = chain
                .newest
                .iter()
                .filter(|newest| chain.kept.last().is_none_or(|kept| kept.step < newest.step));
            let frames = chain.kept.iter().chain(newest);
            let pixels: Vec<_> = frames.map(|frame| frame.pixels.clone()).collect();
            (pixels, chain.plan.classes.len())
        });
        if frames.is_empty() {
            return self.tell(false, "There is nothing to film yet.");
        }
        let mut delays = vec![DELAYS[0]; frames.len()];
        delays[frames.len() - 1] = DELAYS[1];
        let film = serde_json::json!({
            "size": shape.size, "images": images, "columns": columns, "delays": delays,
            "scale": (EDGE / (columns.min(images) * shape.size)).max(1),
        });
        let pixels: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.chunks(shape.len()))
            .flat_map(|image| shape.rgba(image))
            .collect();
        let name = self.name_of(what, "gif");
        let failed = move |why: &str| self.tell(true, format!("The film was not made: {why}."));
        let worker = match start_program(PROGRAM) {
            Ok(worker) => worker,
            Err(why) => return failed(&why),
        };
        let maker = worker.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let data = event.data();
            if data.is_null() {
                let message = Array::of2(&film.to_string().into(), &Uint8Array::from(&*pixels));
                let _ = maker.post_message(&message);
                return;
            }
            if let Some(bytes) = data.dyn_ref::<Uint8Array>() {
                let parts = Array::of1(bytes);
                if let Ok(blob) = Blob::new_with_u8_array_sequence(&parts) {
                    images::offer(&blob, &name);
                }
            } else if let Some(why) = data.as_string() {
                failed(&why);
            } else if let Some(said) = data
                .dyn_ref::<Array>()
                .and_then(|parts| parts.get(0).as_string())
            {
                // What the script that starts workers says; what it fetches meanwhile is no news.
                if said.contains("\"not_started\"") || said.contains("\"crashed\"") {
                    failed(
                        "its program is missing, or of another version than the page; reload the page",
                    );
                } else {
                    return;
                }
            }
            maker.terminate();
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        on_message.forget();
    }
}
