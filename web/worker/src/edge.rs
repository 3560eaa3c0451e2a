//! The worker's side of the conversation: messages in order, one at a time; a panic is the last
//! thing that the page hears.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use basin_protocol::{Reply, Request};
use js_sys::{Array, Float32Array, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::MessageEvent;

use crate::{
    engine::Engine,
    scope::scope,
    session::{Beside, Session},
};

/// Answers the page's messages for as long as the worker lives.
pub fn serve<E: Engine + 'static>(engine: E) {
    let session = Rc::new(RefCell::new(Some(Session::new(engine, now))));
    let waiting: Rc<RefCell<VecDeque<(Request, Beside)>>> = Rc::default();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        waiting.borrow_mut().push_back(received(&event));
        let (session, waiting) = (session.clone(), waiting.clone());
        wasm_bindgen_futures::spawn_local(async move {
            // Whoever has taken the session also answers what arrives meanwhile.
            let Some(mut taken) = session.take() else {
                return;
            };
            loop {
                let next = waiting.borrow_mut().pop_front();
                let Some((request, beside)) = next else {
                    break;
                };
                if let Some((reply, numbers)) = taken.answer(request, beside).await {
                    send(&reply, &numbers);
                }
            }
            session.replace(Some(taken));
        });
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    send(&Reply::Ready, &[]);
}

/// Has panics told to the page.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" ({place})"));
        let message = info.payload_as_str().unwrap_or("it panicked");
        crashed(&format!("{message}{}", place.unwrap_or_default()));
    }));
}

/// Tells the page that this worker is of no more use.
pub fn crashed(message: &str) {
    send(
        &Reply::Crashed {
            message: message.to_owned(),
        },
        &[],
    );
}

fn received(event: &MessageEvent) -> (Request, Beside) {
    let parts: Array = event.data().unchecked_into();
    let json = parts
        .get(0)
        .as_string()
        .expect("a message begins with text");
    let request = serde_json::from_str(&json).expect("page and worker are of one version");
    let mut beside = Beside::default();
    match parts.get(1).dyn_into::<Uint8Array>() {
        Ok(bytes) => beside.bytes = bytes.to_vec(),
        Err(other) => {
            if let Ok(numbers) = other.dyn_into::<Float32Array>() {
                beside.numbers = numbers.to_vec();
            }
        }
    }
    (request, beside)
}

/// Tells the page something.
pub fn send(reply: &Reply, numbers: &[f32]) {
    let json = serde_json::to_string(reply).expect("a reply is plain data");
    let numbers = Float32Array::from(numbers);
    let message = Array::of2(&json.into(), &numbers);
    // Fails only where the page is gone.
    let _ = scope().post_message_with_transfer(&message, &Array::of1(&numbers.buffer()));
}

fn now() -> f64 {
    scope()
        .performance()
        .map_or(0.0, |performance| performance.now())
}
