//! Which engine computes, what it says, and what happens when it stops.

use basin_protocol::Reply;
use leptos::prelude::*;

use super::{Lab, Progress, now};
use crate::{
    address::{EngineChoice, ModelSource},
    lab::{
        chain::Chain,
        gpu::{self, NoAdapter},
        model_cache,
        models::address_of,
        worker_handle::{Kind, WorkerHandle},
    },
};

/// An engine that says nothing for so many looks, five seconds apart, is taken for dead. Looks are counted, as no
/// time passes for a page that sleeps.
const PATIENCE: u32 = 24;
/// How long an adapter is waited for before the CPU begins, and when it is asked for again, and waited for then.
const ADAPTER_MS: [i32; 3] = [2_000, 5_000, 20_000];
/// An engine that stopped this often is not started again by itself.
const MOST_CRASHES: u32 = 3;

impl Lab {
    /// Finds out which engine to use, and starts it.
    pub fn choose_engine(self) {
        let choice = self.settings.with_untracked(|settings| settings.engine);
        leptos::task::spawn_local(async move {
            // Asked for even where the choice is made, for the panel to show.
            let [at_once, ..] = ADAPTER_MS;
            let adapter = match choice {
                EngineChoice::Cpu => None,
                _ => Some(gpu::adapter(at_once).await),
            };
            if let Some(Err(NoAdapter { may_pass: true, .. })) = adapter {
                self.ask_again();
            }
            let adapter = adapter.map(|adapter| adapter.map_err(|none| none.why));
            let (kind, reason) = match (choice, &adapter) {
                (EngineChoice::Cpu, _) => (Kind::Cpu, "You chose the CPU.".to_owned()),
                (_, Some(Err(why))) => (Kind::Cpu, format!("{why} So the CPU computes.")),
                (EngineChoice::Gpu, _) => (Kind::Gpu, "You chose the GPU.".to_owned()),
                (_, Some(Ok(adapter))) if adapter.software => {
                    let name = &adapter.name;
                    (
                        Kind::Cpu,
                        format!(
                            "The only WebGPU adapter, {name}, is software and slower than the CPU engine."
                        ),
                    )
                }
                _ => (Kind::Gpu, "WebGPU has an adapter here.".to_owned()),
            };
            self.engine.update(|engine| {
                engine.adapter = adapter.or(engine.adapter.take());
                engine.crashes = 0;
            });
            self.start_engine(kind, reason);
        });
    }

    /// Asks once more for an adapter, as a browser that has just started may have none yet, and changes to the GPU
    /// if there is one now.
    fn ask_again(self) {
        let [_, later, patience] = ADAPTER_MS;
        let ask = move || {
            leptos::task::spawn_local(async move {
                let Ok(adapter) = gpu::adapter(patience).await else {
                    return;
                };
                let wanted =
                    self.settings.with_untracked(|settings| settings.engine) != EngineChoice::Cpu;
                let on_cpu = self.engine.with_untracked(|engine| engine.kind) == Kind::Cpu;
                let hardware = !adapter.software;
                self.engine
                    .update(|engine| engine.adapter = Some(Ok(adapter)));
                if wanted && on_cpu && hardware {
                    self.start_engine(
                        Kind::Gpu,
                        "WebGPU gave an adapter at the second try.".into(),
                    );
                }
            });
        };
        set_timeout(ask, std::time::Duration::from_millis(later as u64));
    }

    pub(super) fn start_engine(self, kind: Kind, reason: String) {
        self.engine.update(|engine| {
            engine.kind = kind;
            engine.reason = reason;
            engine.self_test = None;
            engine.workers = 1;
        });
        self.progress.set(Progress::Fetching {
            what: "engine",
            loaded: 0,
            total: None,
        });
        self.forget_rival();
        let generation = self.next_id();
        let on_reply = move |reply, numbers| {
            // Later, as a reply may end the engine whose callback this is.
            leptos::task::spawn_local(async move {
                if self
                    .bench
                    .with_value(|bench| bench.generation == generation)
                {
                    self.receive(reply, numbers);
                }
            });
        };
        let started = WorkerHandle::start(kind, on_reply);
        self.bench.update_value(|bench| {
            bench.generation = generation;
            bench.ready = false;
            bench.begun = None;
            bench.asked = None;
            bench.reading = false;
            // What the engine before did not come to judge.
            if let Some(unjudged) = bench.judged.take() {
                bench.candidate.get_or_insert(unjudged);
            }
            bench.started = now();
            bench.waited = Some(0);
        });
        match started {
            Ok(engine) => self.bench.update_value(|bench| bench.engine = Some(engine)),
            Err(why) => {
                self.progress.set(Progress::Stopped);
                self.tell(true, why);
            }
        }
    }

    pub(super) fn receive(self, reply: Reply, numbers: Vec<f32>) {
        self.bench.update_value(|bench| bench.waited = None);
        match reply {
            Reply::Fetching { loaded, total } => {
                self.progress.set(Progress::Fetching {
                    what: "engine",
                    loaded,
                    total,
                });
                self.expect_answer();
            }
            Reply::Compiling => {
                self.progress.set(Progress::Compiling);
                self.expect_answer();
            }
            Reply::Kernels { compiled, total } => {
                self.progress.set(Progress::Kernels { compiled, total });
                self.expect_answer();
            }
            Reply::Ready => {
                self.bench.update_value(|bench| bench.ready = true);
                let arriving = self.bench.with_value(|bench| bench.fetching.is_some());
                self.progress.set(match arriving {
                    true => Progress::Fetching {
                        what: "model",
                        loaded: 0,
                        total: None,
                    },
                    false => Progress::Stopped,
                });
                // The model before first: a candidate may be refused.
                match self.bench.with_value(|bench| bench.file.clone()) {
                    Some(file) => self.load(file),
                    None => self.load_candidate(),
                }
            }
            Reply::Loaded { model, self_test } => self.loaded(*model, self_test, numbers),
            Reply::RivalLoaded { rival } => self.rival_loaded(rival),
            Reply::Refused { message } => {
                let judged = self.bench.try_update_value(|bench| {
                    bench.reading = false;
                    bench.judged.take()
                });
                let source = judged
                    .flatten()
                    .map_or_else(ModelSource::default, |(_, source)| source);
                if let ModelSource::Url(url) = &source {
                    let url = address_of(url);
                    leptos::task::spawn_local(async move { model_cache::remove(&url).await });
                }
                let name = match &source {
                    ModelSource::Url(url) => url,
                    ModelSource::File(name) => name,
                    ModelSource::Bundled(_) => "the bundled model",
                };
                let kept = match self.model.with_untracked(Option::is_some) {
                    true => " The model before it stays.",
                    false => "",
                };
                self.tell(true, format!("{name}: {message}.{kept}"));
                if !kept.is_empty() {
                    self.progress.set(Progress::Ready { seconds: 0.0 });
                    self.go_on();
                    self.load_candidate();
                } else if source == ModelSource::default() {
                    self.progress.set(Progress::Stopped);
                } else {
                    self.fetch_default();
                }
            }
            Reply::Frame {
                chain,
                step,
                milliseconds,
                workers,
            } => {
                if self.engine.with_untracked(|engine| engine.workers) != workers {
                    self.engine.update(|engine| engine.workers = workers);
                }
                self.show(chain, step, milliseconds, numbers);
            }
            Reply::Unable { message } => self.fall_back(format!(
                "The GPU engine cannot hold this model ({message}), so the CPU computes."
            )),
            Reply::Crashed { message } => self.crashed(&message),
            Reply::NotStarted { message } => self.not_started(&message),
            Reply::Logits { fault } => self.surveyed(fault, numbers),
            Reply::Dissected { step } => self.dissected(step, numbers),
            // Said among workers only.
            Reply::Evaluated => {}
        }
    }

    /// Goes on with the CPU where the GPU engine would do no better a second time.
    pub(super) fn fall_back(self, why: String) {
        self.tell(true, why.clone());
        self.start_engine(Kind::Cpu, why);
    }

    /// There is no program of the engine's, and another try would find none either.
    fn not_started(self, message: &str) {
        let message = message.trim_end_matches('.');
        if self.engine.with_untracked(|engine| engine.kind) == Kind::Gpu {
            return self.fall_back(format!(
                "The GPU engine's program is missing, cut short or of another version ({message}), so the CPU computes."
            ));
        }
        self.bench.update_value(|bench| bench.engine = None);
        self.progress.set(Progress::Stopped);
        self.tell(
            true,
            format!(
                "The engine's program is missing, cut short or of another version than the page ({message}). Reload the \
                 page."
            ),
        );
    }

    pub(super) fn crashed(self, message: &str) {
        let (kind, crashes) = self
            .engine
            .try_update(|engine| {
                engine.crashes += 1;
                (engine.kind, engine.crashes)
            })
            .unwrap_or((Kind::Cpu, MOST_CRASHES + 1));
        let first_line = message.lines().next().unwrap_or_default();
        let label = kind.label();
        // A file that brings the engine down is not tried again.
        let candidate = self.bench.try_update_value(|bench| {
            bench.engine = None;
            bench.begun = None;
            bench.judged.take_if(|_| bench.file.is_some())
        });
        if let Some((_, ModelSource::Url(name) | ModelSource::File(name))) = candidate.flatten() {
            self.tell(
                true,
                format!("{name}: the {label} engine could not hold this model."),
            );
        }
        let step = self.chain().with_untracked(Chain::step);
        match kind {
            Kind::Gpu if crashes >= 2 => {
                self.tell(true, format!("The GPU engine stopped again ({first_line}). The CPU goes on from step {step}."));
                self.start_engine(
                    Kind::Cpu,
                    format!("The GPU engine stopped {crashes} times: {first_line}"),
                );
            }
            _ if crashes <= MOST_CRASHES => {
                self.tell(true, format!("The {label} engine stopped ({first_line}). It was started again and goes on from step {step}."));
                let reason = self.engine.with_untracked(|engine| engine.reason.clone());
                self.start_engine(kind, reason);
            }
            _ => {
                self.progress.set(Progress::Stopped);
                self.tell(true, format!("The {label} engine stopped {crashes} times ({first_line}). Reload the page to try again."));
            }
        }
    }

    /// Whoever waits for an answer for too long has lost the engine.
    pub(super) fn look_after(self) {
        let looks = self.bench.try_update_value(|bench| {
            let looks = bench.waited.as_mut()?;
            *looks += 1;
            Some(*looks)
        });
        if looks.flatten().is_some_and(|looks| looks > PATIENCE) {
            self.crashed("no answer for two minutes");
        }
    }

    pub(super) fn expect_answer(self) {
        self.bench.update_value(|bench| bench.waited = Some(0));
    }
}
