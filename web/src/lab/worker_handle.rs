//! A worker and the conversation with it.

use basin_protocol::{Reply, Request};
use js_sys::{Array, Float32Array, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

/// Which program runs in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cpu,
    Gpu,
}

impl Kind {
    /// The name that visitors read.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
        }
    }

    /// The name of the worker's files.
    fn program(self) -> &'static str {
        match self {
            Self::Cpu => "basin-cpu",
            Self::Gpu => "basin-gpu",
        }
    }
}

/// The folder of the programs, named by their contents, so that those of two versions never meet.
fn programs() -> String {
    let document = web_sys::window().and_then(|window| window.document());
    let root = document.and_then(|document| document.document_element());
    let folder = root.and_then(|root| root.get_attribute("data-programs"));
    folder.unwrap_or_default()
}

/// Starts the worker of a program's name.
pub fn start_program(name: &str) -> Result<Worker, String> {
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    options.set_name(name);
    Worker::new_with_options(&format!("{}worker.js", programs()), &options)
        .map_err(|error| format!("the browser starts no worker: {error:?}"))
}

/// A running worker; ends when dropped.
pub struct WorkerHandle {
    worker: Worker,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl WorkerHandle {
    /// Starts a worker. It is told of no sooner than this returns.
    pub fn start(
        kind: Kind,
        on_reply: impl Fn(Reply, Vec<f32>) + Clone + 'static,
    ) -> Result<Self, String> {
        let worker = start_program(kind.program())?;
        let reply = on_reply.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let parts: Array = event.data().unchecked_into();
            let json = parts.get(0).as_string().unwrap_or_default();
            let numbers = parts.get(1).dyn_into::<Float32Array>();
            match serde_json::from_str(&json) {
                Ok(said) => reply(said, numbers.map(|n| n.to_vec()).unwrap_or_default()),
                Err(error) => {
                    let message = format!("the worker said what the page does not know: {error}");
                    reply(Reply::Crashed { message }, Vec::new());
                }
            }
        });
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
            let message = event.message();
            // What happens later, the worker says itself.
            let message = if message.is_empty() {
                "worker.js could not be loaded".into()
            } else {
                message
            };
            on_reply(Reply::NotStarted { message }, Vec::new());
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self {
            worker,
            _on_message: on_message,
            _on_error: on_error,
        })
    }

    /// Has it read a model file.
    pub fn load(&self, bytes: &[u8]) {
        self.send_file(&Request::Load, bytes);
    }

    /// Asks for something that has a file beside it.
    pub fn send_file(&self, request: &Request, bytes: &[u8]) {
        let bytes = Uint8Array::from(bytes);
        let buffer = bytes.buffer();
        self.post(request, bytes.into(), &Array::of1(&buffer));
    }

    /// Asks for something that has numbers beside it, or none.
    pub fn ask(&self, request: &Request, numbers: &[f32]) {
        let numbers = Float32Array::from(numbers);
        let buffer = numbers.buffer();
        self.post(request, numbers.into(), &Array::of1(&buffer));
    }

    fn post(&self, request: &Request, beside: JsValue, transfer: &Array) {
        let json = serde_json::to_string(request).expect("a request is plain data");
        let _ = self
            .worker
            .post_message_with_transfer(&Array::of2(&json.into(), &beside), transfer);
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}
