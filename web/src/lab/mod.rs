//! What the page's parts share: the settings, the model, the engine and the chains. What happens to
//! them, and in which order, is in one file each.

pub mod chain;
mod chains;
mod engines;
mod film;
pub mod gpu;
pub mod lists;
pub mod load_model;
pub mod model_cache;
mod models;
mod one_step;
mod pictures;
mod rival;
pub mod survey;
pub mod worker_handle;

use std::sync::Arc;

use basin_protocol::{Dissection, Model, SelfTest};
use leptos::prelude::*;
use web_sys::{AbortController, Blob};

pub use rival::Rival;

use crate::{
    address::{ModelSource, Settings},
    bundled::Bundled,
    images::Shape,
    lab::{
        chain::Chain,
        gpu::Adapter,
        lists::List,
        survey::Surface,
        worker_handle::{Kind, WorkerHandle},
    },
};

/// A model that an engine holds.
#[derive(Clone, Debug)]
pub struct InUse {
    pub model: Model,
    /// A picture of each class.
    pub means: Arc<[f32]>,
}

impl InUse {
    /// The shape of its images.
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
    /// How many workers shared the last step.
    pub workers: usize,
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
    Kernels {
        compiled: usize,
        total: usize,
    },
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
    /// The best guess of the same picture, in one step.
    pub guess: RwSignal<Chain>,
    pub restore: RwSignal<Chain>,
    /// The attack on the model in use, and the same on another that was not trained against attacks.
    pub attack: RwSignal<Chain>,
    pub rival_attack: RwSignal<Chain>,
    pub rival: RwSignal<Rival>,
    /// A chain in the plane that is looked at, and what was seen there.
    pub landscape: RwSignal<Chain>,
    pub surface: RwSignal<Surface>,
    /// The step taken apart, if one is: its numbers, and its pictures as the worker gives them.
    pub dissection: RwSignal<Option<(Dissection, Arc<[f32]>)>>,
    /// The lists of models that somebody looked at.
    pub lists: RwSignal<Vec<List>>,
    /// The visitor's image to start dreams from, and the one that the other tabs work on, fitted to the model.
    pub own_dream: RwSignal<Option<Arc<[f32]>>>,
    pub own_picture: RwSignal<Option<Arc<[f32]>>>,
    /// The image being cleaned, before noise.
    pub clean: RwSignal<Option<Arc<[f32]>>>,
    /// The image being restored, with nothing missing.
    pub whole: RwSignal<Option<Arc<[f32]>>>,
    /// Pixels are shown smoothed, rather than as pixels.
    pub smooth: RwSignal<bool>,
    bench: StoredValue<Bench, LocalStorage>,
}

/// What no view looks at.
#[derive(Default)]
struct Bench {
    engine: Option<WorkerHandle>,
    /// Counts engines, so that the last words of one before are not taken for this one's.
    generation: u32,
    ready: bool,
    /// The file of the model in use.
    file: Option<Arc<Vec<u8>>>,
    /// The file of a rival, where one was fetched, and whose it is.
    rival: Option<(Bundled, Arc<Vec<u8>>)>,
    /// A file that the engine is to judge next, and where it is from.
    candidate: Option<(Arc<Vec<u8>>, ModelSource)>,
    /// The one that it judges just now; none where it reads the model in use again.
    judged: Option<(Arc<Vec<u8>>, ModelSource)>,
    /// The engine reads a file.
    reading: bool,
    /// What a link asks of a model that is not here yet.
    linked: Option<Settings>,
    fetching: Option<AbortController>,
    /// Counts frames asked for.
    turn: u32,
    /// The chain that the worker holds.
    begun: Option<u32>,
    /// The tile of the landscape that the engine looks at, and how many images the next is to have.
    asked: Option<survey::Asked>,
    tile: usize,
    last_id: u32,
    /// How often it was looked after since an answer is waited for.
    waited: Option<u32>,
    /// A picture that came before there was a model to fit it to.
    picture: Option<Blob>,
    started: f64,
}

impl Lab {
    /// Whose samples are shown: the nearest to the model in use, or before there is one to what is asked for.
    pub fn samples(self) -> Bundled {
        let nearest = |in_use: &Arc<InUse>| Bundled::nearest(&in_use.model);
        let asked = || match self.settings.with(|settings| settings.model.clone()) {
            ModelSource::Bundled(bundled) => bundled,
            ModelSource::Url(_) | ModelSource::File(_) => Bundled::default(),
        };
        self.model
            .with(|model| model.as_ref().map(nearest))
            .unwrap_or_else(asked)
    }

    /// Everything at rest, with what the address asks for.
    pub fn new(settings: Settings) -> Self {
        let engine = EngineState {
            kind: Kind::Cpu,
            reason: "Looking for WebGPU.".into(),
            adapter: None,
            self_test: None,
            crashes: 0,
            workers: 1,
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
            guess: RwSignal::new(Chain::default()),
            restore: RwSignal::new(Chain::default()),
            attack: RwSignal::new(Chain::default()),
            rival_attack: RwSignal::new(Chain::default()),
            rival: RwSignal::new(Rival::default()),
            landscape: RwSignal::new(Chain::default()),
            surface: RwSignal::new(Surface::default()),
            dissection: RwSignal::new(None),
            lists: RwSignal::new(Vec::new()),
            own_dream: RwSignal::new(None),
            own_picture: RwSignal::new(None),
            clean: RwSignal::new(None),
            whole: RwSignal::new(None),
            smooth: RwSignal::new(false),
            bench: StoredValue::new_local(Bench {
                tile: 8,
                ..Bench::default()
            }),
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

    /// The address of what is on screen, once there is a model.
    pub fn link(self) -> Option<String> {
        let in_use = self.model.get_untracked()?;
        let hash = self
            .settings
            .with_untracked(|settings| settings.to_hash(Some(&in_use.model)));
        let location = web_sys::window()?.location();
        // `?model=` is in the hash from here on.
        let (origin, path) = (location.origin().ok()?, location.pathname().ok()?);
        Some(format!("{origin}{path}#{hash}"))
    }

    /// The names of the classes, once there is a model.
    pub fn class_names(self) -> Vec<String> {
        let names = |in_use: &Arc<InUse>| in_use.model.class_names.clone();
        self.model
            .with(|in_use| in_use.as_ref().map(names).unwrap_or_default())
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

    fn next_id(self) -> u32 {
        let next = |bench: &mut Bench| {
            bench.last_id += 1;
            bench.last_id
        };
        self.bench.try_update_value(next).unwrap_or_default()
    }
}

fn now() -> f64 {
    web_sys::window()
        .and_then(|window| window.performance())
        .map_or(0.0, |p| p.now())
}
