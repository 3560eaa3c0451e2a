//! Partners: further workers of this program, each with a copy of the network, that evaluate their
//! share of the images of a step. An image is computed alone whoever computes it, so the numbers do
//! not depend on how many there are.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    rc::Rc,
};

use basin_protocol::{Request, SelfTest};
use basin_shared::{
    Classifier,
    classifier::Evaluation,
    energy::{EnergyKind, Mixture},
    engine::cpu::CompiledNetwork,
    samplers::objective,
};
use futures_channel::oneshot::{self, Receiver, Sender};
use js_sys::{Array, Float32Array, Uint8Array, WebAssembly};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::scope::scope;

/// Most workers at one step, this one included.
const MOST_WORKERS: usize = 8;

/// Most bytes of memory of all of them together.
const MOST_MEMORY: usize = 1 << 30;

/// Steps before the first partner is started: the page had better show the first moving pictures
/// than wait for partners that start.
const STEPS_ALONE: u32 = 3;

/// The name of this program's files.
const PROGRAM: &str = if cfg!(feature = "relaxed-simd") {
    "basin-cpu-relaxed"
} else {
    "basin-cpu"
};

/// The partners of a worker.
pub struct Pool {
    /// The model file, for partners to come; outside of this program's memory.
    file: Uint8Array,
    partners: RefCell<Vec<Partner>>,
    /// Steps so far, as far as [`STEPS_ALONE`] matters.
    steps: Cell<u32>,
}

impl Pool {
    /// Without partners, which will read the model file `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            file: bytes.into(),
            partners: RefCell::default(),
            steps: Cell::new(0),
        }
    }

    /// What `network` computes of the images, with the help of those partners that are ready; and
    /// how many workers that were. Without an energy, only logits. Shapes as in [`Classifier::evaluate`].
    pub async fn evaluate(
        &self,
        network: &CompiledNetwork,
        x: &[f32],
        classes: &[usize],
        energy: Option<EnergyKind>,
        mixture: Option<Mixture>,
    ) -> (Evaluation, usize) {
        let image = x.len() / classes.len();
        let alone = |share: Range<usize>| {
            let x = &x[share.start * image..share.end * image];
            let count = share.len();
            match energy {
                Some(energy) => {
                    let objective = objective(energy, classes[share].to_vec(), mixture);
                    network.evaluate(x, count, &*objective)
                }
                None => Evaluation {
                    logits: network.logits(x, count),
                    gradient: Vec::new(),
                },
            }
        };
        let wanted = |share: Range<usize>| {
            let request = Request::Evaluate {
                classes: classes[share.clone()].to_vec(),
                energy,
                mixture,
            };
            (request, &x[share.start * image..share.end * image])
        };
        self.grow(classes.len());
        // Asked first, so that they compute while this worker does.
        let (own, asked) = {
            let partners = self.partners.borrow();
            let ready = partners.iter().filter(|partner| partner.is_ready());
            let ready: Vec<_> = ready.take(classes.len() - 1).collect();
            let mut shares = shares(classes.len(), ready.len() + 1);
            let own = shares.next().expect("this worker has a share");
            let asked = shares.zip(ready).map(|(share, partner)| {
                let (request, x) = wanted(share.clone());
                (share, partner.ask(&request, x))
            });
            (own, asked.collect::<Vec<_>>())
        };
        let workers = asked.len() + 1;
        let mut evaluation = alone(own);
        for (share, answer) in asked {
            let logits = share.len() * network.plan().classes();
            let (share_logits, gradient) = match answer.await {
                Ok(mut numbers) => {
                    let gradient = numbers.split_off(logits);
                    (numbers, gradient)
                }
                // The partner is lost.
                Err(_) => {
                    let Evaluation { logits, gradient } = alone(share);
                    (logits, gradient)
                }
            };
            evaluation.logits.extend(share_logits);
            evaluation.gradient.extend(gradient);
        }
        (evaluation, workers)
    }

    /// Starts the partners that so many images are worth, if it is time. Lost ones keep their place,
    /// so that what fails is not tried again and again.
    fn grow(&self, images: usize) {
        self.steps.set(self.steps.get().saturating_add(1));
        if self.steps.get() <= STEPS_ALONE {
            return;
        }
        let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
        let each = js_sys::ArrayBuffer::from(memory.buffer()).byte_length() as usize;
        let cores = scope().navigator().hardware_concurrency() as usize;
        let workers = cores.min(MOST_WORKERS).min(MOST_MEMORY / each).min(images);
        let mut partners = self.partners.borrow_mut();
        while partners.len() + 1 < workers {
            partners.push(Partner::start(self.file.clone()));
        }
    }
}

/// The images of each of so many workers, in order.
fn shares(images: usize, workers: usize) -> impl Iterator<Item = Range<usize>> {
    (0..workers).map(move |i| i * images / workers..(i + 1) * images / workers)
}

/// What a partner is doing.
enum State {
    Starting,
    Ready,
    /// It evaluates; its numbers go here.
    Asked(Sender<Vec<f32>>),
    /// It failed and is of no more use.
    Lost,
}

/// A further worker; ends when dropped.
struct Partner {
    /// None where the browser starts none.
    worker: Option<Worker>,
    state: Rc<RefCell<State>>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl Partner {
    /// Starts a worker and has it load the model file.
    fn start(file: Uint8Array) -> Self {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name(PROGRAM);
        let worker = Worker::new_with_options("partner.js", &options).ok();
        let state = Rc::new(RefCell::new(match worker {
            Some(_) => State::Starting,
            None => State::Lost,
        }));
        let (hearing, speaking) = (state.clone(), worker.clone());
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let mut state = hearing.borrow_mut();
            let (said, numbers) = heard(&event);
            let before = std::mem::replace(&mut *state, State::Lost);
            *state = match (before, said.reply.as_str()) {
                (State::Starting, "ready") => {
                    match speaking.as_ref().map(|to| post(to, &Request::Load, &file)) {
                        Some(Ok(())) => State::Starting,
                        _ => State::Lost,
                    }
                }
                (State::Starting, "loaded") if said.self_test.is_some_and(|it| it.passed()) => {
                    State::Ready
                }
                (State::Asked(sender), "evaluated") => {
                    // Fails where the step is no longer waited for.
                    let _ = sender.send(numbers);
                    State::Ready
                }
                _ => State::Lost,
            };
        });
        let failing = state.clone();
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |_: ErrorEvent| {
            *failing.borrow_mut() = State::Lost;
        });
        if let Some(worker) = &worker {
            worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
            // The compiled program is shared and not fetched again.
            if worker.post_message(&wasm_bindgen::module()).is_err() {
                *state.borrow_mut() = State::Lost;
            }
        }
        Self {
            worker,
            state,
            _on_message: on_message,
            _on_error: on_error,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), State::Ready)
    }

    /// Its answer, or an error once it is lost.
    fn ask(&self, request: &Request, x: &[f32]) -> Receiver<Vec<f32>> {
        let (sender, receiver) = oneshot::channel();
        let x = Float32Array::from(x);
        let posted = self.worker.as_ref().map(|to| post(to, request, &x));
        *self.state.borrow_mut() = match posted {
            Some(Ok(())) => State::Asked(sender),
            _ => State::Lost,
        };
        receiver
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.set_onmessage(None);
            worker.set_onerror(None);
            worker.terminate();
        }
    }
}

fn post(worker: &Worker, request: &Request, beside: &JsValue) -> Result<(), JsValue> {
    let json = serde_json::to_string(request).expect("a request is plain data");
    worker.post_message(&Array::of2(&json.into(), beside))
}

/// As much of a [`Reply`](basin_protocol::Reply) as matters here: a reader of all of it is a tenth of
/// the program.
#[derive(Default, Deserialize)]
struct Said {
    reply: String,
    self_test: Option<SelfTest>,
}

fn heard(event: &MessageEvent) -> (Said, Vec<f32>) {
    let parts: Array = event.data().unchecked_into();
    let json = parts.get(0).as_string().unwrap_or_default();
    let numbers = parts.get(1).dyn_into::<Float32Array>();
    let numbers = numbers.map(|numbers| numbers.to_vec());
    (
        serde_json::from_str(&json).unwrap_or_default(),
        numbers.unwrap_or_default(),
    )
}
