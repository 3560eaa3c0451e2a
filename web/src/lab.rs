//! What the page's parts share: the settings, the model, the engine and the chains, and the order
//! in which things happen to them.

use std::sync::Arc;

use basin_protocol::{Model, Plan, Reply, Request, SelfTest};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{AbortController, Blob, File, Response};

use crate::{
    address::{EngineChoice, ModelSource, Settings, StartChoice, Tab},
    chain::{Chain, Frame, Phase},
    engine::{Engine, Kind},
    gpu::{self, Adapter},
    images::{self, Shape},
    load_model::{self, FetchError},
};

/// An engine that says nothing for this long is taken for dead.
const PATIENCE_MS: f64 = 120_000.0;
/// An engine that stopped this often is not started again by itself.
const MOST_CRASHES: u32 = 3;

/// A model that an engine holds.
#[derive(Clone, Debug)]
pub struct InUse {
    pub model: Model,
    /// A picture of each class.
    pub means: Arc<[f32]>,
}

impl InUse {
    /// Of its images.
    pub fn shape(&self) -> Shape {
        Shape {
            channels: self.model.channels,
            size: self.model.size,
        }
    }
}

/// What the engine panel shows.
#[derive(Clone, Debug)]
pub struct EngineState {
    pub kind: Kind,
    /// Why this engine.
    pub reason: String,
    /// What WebGPU has here.
    pub adapter: Option<Result<Adapter, String>>,
    pub self_test: Option<SelfTest>,
    pub crashes: u32,
}

/// How far the load is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    Fetching {
        what: &'static str,
        loaded: u64,
        total: Option<u64>,
    },
    Compiling,
    Reading,
    Ready {
        seconds: f64,
    },
    Stopped,
}

/// A line for the visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub id: u32,
    /// Something failed, rather than went differently.
    pub error: bool,
    pub text: String,
}

/// What is shared; a handle.
#[derive(Clone, Copy)]
pub struct Lab {
    pub settings: RwSignal<Settings>,
    pub model: RwSignal<Option<Arc<InUse>>>,
    pub engine: RwSignal<EngineState>,
    pub progress: RwSignal<Progress>,
    pub notices: RwSignal<Vec<Notice>>,
    pub dream: RwSignal<Chain>,
    pub denoise: RwSignal<Chain>,
    /// The visitor's image for each tab, fitted to the model.
    pub own_dream: RwSignal<Option<Arc<[f32]>>>,
    pub own_denoise: RwSignal<Option<Arc<[f32]>>>,
    /// The image being cleaned, before noise.
    pub clean: RwSignal<Option<Arc<[f32]>>>,
    bench: StoredValue<Bench, LocalStorage>,
}

/// What no view looks at.
#[derive(Default)]
struct Bench {
    engine: Option<Engine>,
    /// Counts engines, so that the last words of one before are not taken for this one's.
    generation: u32,
    ready: bool,
    /// The file of the model in use.
    file: Option<Arc<Vec<u8>>>,
    /// A file that the engine has not judged yet, and where it is from.
    candidate: Option<(Arc<Vec<u8>>, ModelSource)>,
    /// The engine reads the candidate just now.
    judging: bool,
    fetching: Option<AbortController>,
    /// The chain that the worker holds.
    begun: Option<u32>,
    last_id: u32,
    /// Since when an answer is waited for.
    asked: Option<f64>,
    started: f64,
}

impl Lab {
    /// Everything at rest, with what the address asks for.
    pub fn new(settings: Settings) -> Self {
        let engine = EngineState {
            kind: Kind::Cpu,
            reason: "Looking for WebGPU.".into(),
            adapter: None,
            self_test: None,
            crashes: 0,
        };
        let progress = Progress::Fetching {
            what: "engine",
            loaded: 0,
            total: None,
        };
        Self {
            settings: RwSignal::new(settings),
            model: RwSignal::new(None),
            engine: RwSignal::new(engine),
            progress: RwSignal::new(progress),
            notices: RwSignal::new(Vec::new()),
            dream: RwSignal::new(Chain::default()),
            denoise: RwSignal::new(Chain::default()),
            own_dream: RwSignal::new(None),
            own_denoise: RwSignal::new(None),
            clean: RwSignal::new(None),
            bench: StoredValue::new_local(Bench::default()),
        }
    }

    /// Starts engine and model on their way.
    pub fn open(self) {
        self.fetch_model(
            self.settings
                .with_untracked(|settings| settings.model.clone()),
        );
        self.choose_engine();
        set_interval(move || self.look_after(), std::time::Duration::from_secs(5));
    }

    /// Says something to the visitor.
    pub fn tell(self, error: bool, text: impl Into<String>) {
        let id = self.next_id();
        let text = text.into();
        self.notices.update(|notices| {
            notices.retain(|notice| notice.text != text);
            notices.push(Notice { id, error, text });
            if notices.len() > 4 {
                notices.remove(0);
            }
        });
    }

    // ---- engine ----

    /// Finds out which engine to use, and starts it.
    pub fn choose_engine(self) {
        let choice = self.settings.with_untracked(|settings| settings.engine);
        leptos::task::spawn_local(async move {
            // Asked for even where the choice is made, for the panel to show.
            let adapter = match choice {
                EngineChoice::Cpu => None,
                _ => Some(gpu::adapter().await),
            };
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

    fn start_engine(self, kind: Kind, reason: String) {
        self.engine.update(|engine| {
            engine.kind = kind;
            engine.reason = reason;
            engine.self_test = None;
        });
        self.progress.set(Progress::Fetching {
            what: "engine",
            loaded: 0,
            total: None,
        });
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
        let started = Engine::start(kind, on_reply);
        self.bench.update_value(|bench| {
            bench.generation = generation;
            bench.ready = false;
            bench.begun = None;
            bench.started = now();
            bench.asked = Some(now());
        });
        match started {
            Ok(engine) => self.bench.update_value(|bench| bench.engine = Some(engine)),
            Err(why) => {
                self.progress.set(Progress::Stopped);
                self.tell(true, why);
            }
        }
    }

    fn receive(self, reply: Reply, numbers: Vec<f32>) {
        self.bench.update_value(|bench| bench.asked = None);
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
                    Some(file) => {
                        self.bench.update_value(|bench| bench.judging = false);
                        self.load(file);
                    }
                    None => self.load_candidate(),
                }
            }
            Reply::Loaded { model, self_test } => self.loaded(*model, self_test, numbers),
            Reply::Refused { message } => {
                let candidate = self
                    .bench
                    .try_update_value(|bench| bench.candidate.take())
                    .flatten();
                let name = match candidate {
                    Some((_, ModelSource::Url(url))) => url,
                    Some((_, ModelSource::File(name))) => name,
                    _ => "the bundled model".into(),
                };
                let kept = match self.model.with_untracked(Option::is_some) {
                    true => " The model before it stays.",
                    false => "",
                };
                self.tell(true, format!("{name}: {message}.{kept}"));
                if !kept.is_empty() {
                    self.progress.set(Progress::Ready { seconds: 0.0 });
                    self.go_on();
                } else {
                    self.progress.set(Progress::Stopped);
                }
            }
            Reply::Frame {
                chain,
                step,
                milliseconds,
            } => {
                self.show(chain, step, milliseconds, numbers);
            }
            Reply::Crashed { message } => self.crashed(&message),
        }
    }

    fn crashed(self, message: &str) {
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
            bench
                .candidate
                .take_if(|_| bench.judging && bench.file.is_some())
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
    fn look_after(self) {
        let asked = self.bench.with_value(|bench| bench.asked);
        if asked.is_some_and(|asked| now() - asked > PATIENCE_MS) {
            self.crashed("no answer for two minutes");
        }
    }

    fn expect_answer(self) {
        self.bench.update_value(|bench| bench.asked = Some(now()));
    }

    // ---- model ----

    /// Fetches a model and has the engine judge it; the one before stays until it is found sound.
    pub fn fetch_model(self, source: ModelSource) {
        let url = match &source {
            ModelSource::Bundled => load_model::BUNDLED.to_owned(),
            ModelSource::Url(url) => url.clone(),
            ModelSource::File(name) => {
                let text = format!(
                    "The link was made with the file “{name}”, which a link cannot carry: drop it here. Until then, the bundled model dreams."
                );
                self.tell(false, text);
                self.settings
                    .update(|settings| settings.model = ModelSource::Bundled);
                return self.fetch_model(ModelSource::Bundled);
            }
        };
        let controller = AbortController::new().expect("the browser can abort a fetch");
        let before = self
            .bench
            .try_update_value(|bench| bench.fetching.replace(controller.clone()));
        if let Some(before) = before.flatten() {
            before.abort();
        }
        leptos::task::spawn_local(async move {
            let on_progress = |loaded, total| {
                self.progress.set(Progress::Fetching {
                    what: "model",
                    loaded,
                    total,
                });
            };
            let fetched = load_model::fetch(&url, &controller, on_progress).await;
            // What was cancelled may have made way for another.
            if fetched != Err(FetchError::Cancelled) {
                self.bench.update_value(|bench| bench.fetching = None);
            }
            let none = self.model.with_untracked(Option::is_none);
            match fetched {
                Ok(bytes) => self.offer(bytes, source),
                Err(FetchError::Cancelled) => self.progress.set(match none {
                    true => Progress::Stopped,
                    false => Progress::Ready { seconds: 0.0 },
                }),
                Err(FetchError::Failed(why)) => {
                    self.tell(true, format!("{why}."));
                    if none && source != ModelSource::Bundled {
                        self.settings
                            .update(|settings| settings.model = ModelSource::Bundled);
                        self.fetch_model(ModelSource::Bundled);
                    } else if none {
                        self.progress.set(Progress::Stopped);
                    } else {
                        self.progress.set(Progress::Ready { seconds: 0.0 });
                    }
                }
            }
        });
    }

    /// Stops what is being fetched.
    pub fn cancel(self) {
        if let Some(controller) = self.bench.try_update_value(|b| b.fetching.take()).flatten() {
            controller.abort();
        }
    }

    /// Takes a file of the visitor's: a model, or for everything else a picture.
    pub fn take_file(self, file: File) {
        let name = file.name();
        if !name.ends_with(".safetensors") {
            return self.take_picture(file.into());
        }
        leptos::task::spawn_local(async move {
            if let Ok(bytes) = read_blob(&file).await {
                self.offer(bytes, ModelSource::File(name));
            }
        });
    }

    /// Gives a file to the engine to judge, now or when there is one.
    fn offer(self, bytes: Vec<u8>, source: ModelSource) {
        self.bench
            .update_value(|bench| bench.candidate = Some((Arc::new(bytes), source)));
        if self.bench.with_value(|bench| bench.ready) {
            self.load_candidate();
        }
    }

    fn load_candidate(self) {
        if let Some(file) = self
            .bench
            .with_value(|b| b.candidate.as_ref().map(|(f, _)| f.clone()))
        {
            self.bench.update_value(|bench| bench.judging = true);
            self.load(file);
        }
    }

    fn load(self, file: Arc<Vec<u8>>) {
        self.progress.set(Progress::Reading);
        self.expect_answer();
        self.bench
            .with_value(|bench| bench.engine.as_ref().map(|engine| engine.load(&file)));
    }

    fn loaded(self, model: Model, self_test: SelfTest, means: Vec<f32>) {
        let kind = self.engine.with_untracked(|engine| engine.kind);
        self.engine
            .update(|engine| engine.self_test = Some(self_test));
        if !self_test.passed() {
            let off = self_test.largest();
            if kind == Kind::Gpu {
                let text = format!(
                    "This GPU disagreed with the CPU by {off:.2} in the self-test, so the CPU computes."
                );
                self.tell(true, text.clone());
                return self.start_engine(Kind::Cpu, text);
            }
            self.tell(true, format!("This browser's numbers differ from the trainer's by {off:.2} in the self-test: pictures may be wrong."));
        }
        let taken = self.bench.try_update_value(|bench| {
            let (file, source) = bench.candidate.take_if(|_| bench.judging)?;
            bench.judging = false;
            bench.file = Some(file);
            Some(source)
        });
        let seconds = (now() - self.bench.with_value(|bench| bench.started)) / 1000.0;
        self.progress.set(Progress::Ready { seconds });
        let Some(source) = taken.flatten() else {
            // The same model in a new engine.
            self.go_on();
            return self.load_candidate();
        };
        let first = self.model.with_untracked(Option::is_none);
        let in_use = Arc::new(InUse {
            model,
            means: means.into(),
        });
        let same_shape =
            self.model.with_untracked(|m| m.as_ref().map(|m| m.shape())) == Some(in_use.shape());
        if !first {
            // What one model recommends is nothing to another.
            self.settings.update(|settings| {
                settings.dream = settings.dream.recommended();
                settings.denoise.steps = None;
                settings.denoise.step_size = None;
            });
        }
        if !same_shape {
            self.own_dream.set(None);
            self.own_denoise.set(None);
            self.clean.set(None);
        }
        let lost = |start: Option<StartChoice>| start == Some(StartChoice::Image);
        if self.own_dream.with_untracked(Option::is_none)
            && lost(self.settings.with_untracked(|s| s.dream.start))
        {
            self.tell(false, "The link starts from somebody's own image, which a link cannot carry: choose one, or another start.");
            self.settings.update(|settings| settings.dream.start = None);
        }
        self.settings.update(|settings| settings.model = source);
        self.model.set(Some(in_use));
        self.dream.set(Chain::default());
        self.denoise.set(Chain::default());
        if first && !prefers_rest() {
            self.restart();
        }
    }

    // ---- chains ----

    /// The chain of the tab on screen.
    pub fn chain(self) -> RwSignal<Chain> {
        match self.settings.with_untracked(|settings| settings.tab) {
            Tab::Dream => self.dream,
            Tab::Denoise => self.denoise,
        }
    }

    /// Begins the chain of the tab on screen from its start, and runs it.
    pub fn restart(self) {
        self.begin(Phase::Running);
    }

    /// Goes back to the start and stays there.
    pub fn reset(self) {
        self.begin(Phase::Paused);
    }

    fn begin(self, phase: Phase) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let settings = self.settings.get_untracked();
        match settings.tab {
            Tab::Dream => {
                let (plan, steps) = settings.dream.plan(&in_use.model);
                let from_image = settings.dream.start(&in_use.model) == StartChoice::Image;
                let given = match self.own_dream.get_untracked() {
                    Some(own) if from_image => own.repeat(plan.classes.len()).into(),
                    None if from_image => {
                        return self.tell(false, "Choose an image to start from first.");
                    }
                    _ => Arc::default(),
                };
                self.run(self.dream, plan, given, steps, phase);
            }
            Tab::Denoise => {
                leptos::task::spawn_local(async move {
                    let Some(given) = self.picture(settings.denoise.picture, in_use.shape()).await
                    else {
                        return;
                    };
                    self.clean.set(Some(given.clone()));
                    let (plan, steps) = settings.denoise.plan(&in_use.model);
                    self.run(self.denoise, plan, given, steps, phase);
                });
            }
        }
    }

    fn run(self, chain: RwSignal<Chain>, plan: Plan, given: Arc<[f32]>, steps: u32, phase: Phase) {
        let id = self.next_id();
        chain.set(Chain::new(id, plan, given, steps.into(), phase));
        // At rest too, as the start itself is shown.
        self.advance(chain);
    }

    /// Runs the chain on screen, from where it is.
    pub fn play(self) {
        let chain = self.chain();
        match chain.with_untracked(|chain| chain.phase) {
            Phase::Empty | Phase::Finished | Phase::RanAway => self.restart(),
            Phase::Paused => {
                chain.update(|chain| {
                    chain.phase = Phase::Running;
                    chain.scrubbed = None;
                });
                self.advance(chain);
            }
            Phase::Running => {}
        }
    }

    /// Holds the chain on screen.
    pub fn pause(self) {
        self.chain().update(|chain| {
            if chain.phase == Phase::Running {
                chain.phase = Phase::Paused;
            }
        });
    }

    /// Takes a single step.
    pub fn step(self) {
        let chain = self.chain();
        match chain.with_untracked(|chain| chain.phase) {
            Phase::Empty | Phase::RanAway => self.reset(),
            Phase::Finished => {
                chain.update(|chain| chain.goal += 1);
                self.advance(chain);
            }
            Phase::Running | Phase::Paused => {
                chain.update(|chain| {
                    chain.phase = Phase::Paused;
                    chain.scrubbed = None;
                });
                self.advance(chain);
            }
        }
    }

    /// Another number of steps: the chain goes on to it, or begins again if it is past it.
    pub fn goal_changed(self) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let settings = self.settings.get_untracked();
        let (_, steps) = match settings.tab {
            Tab::Dream => settings.dream.plan(&in_use.model),
            Tab::Denoise => settings.denoise.plan(&in_use.model),
        };
        let chain = self.chain();
        if chain.with_untracked(|chain| chain.step() > steps.into()) {
            return self.restart();
        }
        chain.update(|chain| {
            chain.goal = steps.into();
            if chain.phase == Phase::Finished && chain.step() < chain.goal {
                chain.phase = Phase::Running;
            }
        });
        self.advance(chain);
    }

    /// Asks for the next frame of a chain, after having it begun where the worker holds another.
    fn advance(self, chain: RwSignal<Chain>) {
        let id = chain.with_untracked(|chain| chain.id);
        self.bench.update_value(|bench| {
            let Some(engine) = bench.engine.as_ref().filter(|_| bench.ready) else {
                return;
            };
            if bench.begun != Some(id) {
                let (plan, given) = chain.with_untracked(Chain::resumption);
                engine.ask(&Request::Begin { chain: id, plan }, &given);
                bench.begun = Some(id);
                // A chain that was interrupted shows its last images again, then goes on.
                if chain.with_untracked(|chain| chain.newest.is_some()) {
                    engine.ask(&Request::Advance { chain: id }, &[]);
                }
            }
            engine.ask(&Request::Advance { chain: id }, &[]);
            bench.asked = Some(now());
        });
    }

    /// Goes on with what ran before the engine was interrupted.
    fn go_on(self) {
        self.bench.update_value(|bench| bench.begun = None);
        let chain = self.chain();
        if chain.with_untracked(|chain| chain.phase == Phase::Running) {
            self.advance(chain);
        }
    }

    fn show(self, id: u32, step: u64, milliseconds: f64, mut numbers: Vec<f32>) {
        let [dream, denoise] = [self.dream, self.denoise];
        let holds = |chain: &RwSignal<Chain>| chain.with_untracked(|chain| chain.id == id);
        let Some(chain) = [dream, denoise].into_iter().find(holds) else {
            return;
        };
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let batch = chain.with_untracked(|chain| chain.plan.classes.len());
        let logits = numbers.split_off(in_use.shape().len() * batch);
        // Of an interrupted chain, this was only the reminder.
        let seen = chain.with_untracked(|c| c.newest.as_ref().map(|frame| frame.step));
        let frame = Frame {
            step,
            pixels: numbers.into(),
            logits: logits.into(),
        };
        chain.update(|chain| chain.receive(frame, milliseconds));
        if seen == Some(step) {
            return self.expect_answer();
        }
        let on_screen = self.chain().with_untracked(|on_screen| on_screen.id == id);
        if chain.with_untracked(|chain| chain.phase) == Phase::Running && on_screen {
            // No faster than the screen, and not while the page is hidden.
            request_animation_frame(move || {
                let runs =
                    chain.with_untracked(|chain| chain.id == id && chain.phase == Phase::Running);
                if runs && self.chain().with_untracked(|on_screen| on_screen.id == id) {
                    self.advance(chain);
                }
            });
        }
    }

    // ---- pictures ----

    /// Takes a picture of the visitor's, for the tab on screen.
    pub fn take_picture(self, blob: Blob) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        leptos::task::spawn_local(async move {
            match images::decode(&blob, in_use.shape()).await {
                Ok(pixels) => match self.settings.with_untracked(|settings| settings.tab) {
                    Tab::Dream => {
                        self.own_dream.set(Some(pixels.into()));
                        self.settings
                            .update(|s| s.dream.start = Some(StartChoice::Image));
                        self.restart();
                    }
                    Tab::Denoise => {
                        self.own_denoise.set(Some(pixels.into()));
                        self.settings
                            .update(|s| s.denoise.picture = crate::address::Picture::Own);
                        self.restart();
                    }
                },
                Err(why) => self.tell(true, format!("The file: {why}.")),
            }
        });
    }

    async fn picture(self, picture: crate::address::Picture, shape: Shape) -> Option<Arc<[f32]>> {
        use crate::address::Picture;
        let index = match (picture, self.own_denoise.get_untracked()) {
            (Picture::Own, Some(own)) => return Some(own),
            (Picture::Own, None) => {
                self.tell(false, "The link shows somebody's own picture, which a link cannot carry; here is a sample instead.");
                self.settings
                    .update(|settings| settings.denoise.picture = Picture::Sample(9));
                9
            }
            (Picture::Sample(index), _) => index,
        };
        match sample(index, shape).await {
            Ok(pixels) => Some(pixels.into()),
            Err(why) => {
                self.tell(true, format!("Sample {index}: {why}."));
                None
            }
        }
    }

    fn next_id(self) -> u32 {
        let next = |bench: &mut Bench| {
            bench.last_id += 1;
            bench.last_id
        };
        self.bench.try_update_value(next).unwrap_or_default()
    }
}

/// A bundled sample.
async fn sample(index: usize, shape: Shape) -> Result<Vec<f32>, String> {
    let window = web_sys::window().expect("the page has a window");
    let unreachable = |_| "cannot be fetched".to_owned();
    let promise = window.fetch_with_str(&format!("samples/{index}.png"));
    let response: Response = wasm_bindgen_futures::JsFuture::from(promise)
        .await
        .map_err(unreachable)?
        .unchecked_into();
    let blob = response.blob().map_err(unreachable)?;
    let blob = wasm_bindgen_futures::JsFuture::from(blob)
        .await
        .map_err(unreachable)?;
    images::decode(&blob.unchecked_into(), shape).await
}

async fn read_blob(blob: &Blob) -> Result<Vec<u8>, wasm_bindgen::JsValue> {
    let buffer = wasm_bindgen_futures::JsFuture::from(blob.array_buffer()).await?;
    Ok(js_sys::Uint8Array::new(&buffer).to_vec())
}

/// Whether the visitor's system asks for less motion or less data.
fn prefers_rest() -> bool {
    let window = web_sys::window().expect("the page has a window");
    let matches = |query| {
        window
            .match_media(query)
            .ok()
            .flatten()
            .is_some_and(|q| q.matches())
    };
    matches("(prefers-reduced-motion: reduce)") || matches("(prefers-reduced-data: reduce)")
}

fn now() -> f64 {
    web_sys::window()
        .and_then(|window| window.performance())
        .map_or(0.0, |p| p.now())
}
