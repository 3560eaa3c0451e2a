//! Where a model comes from, and when it takes the place of the one before.

use std::sync::Arc;

use basin_protocol::{Model, SelfTest};
use leptos::prelude::*;
use web_sys::{AbortController, Blob, File};

use super::{InUse, Lab, Progress, now};
use crate::{
    activities::dream::StartChoice,
    address::{ModelSource, Settings, Tab},
    lab::{
        chain::Chain,
        lists,
        load_model::{self, FetchError, LONGEST},
        model_cache,
        survey::Surface,
        worker_handle::Kind,
    },
};

impl Lab {
    /// Does as a link says; where it names another model, once that is found sound.
    pub fn follow(self, linked: Settings) {
        if self.settings.with_untracked(|s| s.model != linked.model) {
            let source = linked.model.clone();
            self.bench.update_value(|bench| bench.linked = Some(linked));
            return self.fetch_model(source);
        }
        self.adopt(linked);
        self.restart();
    }

    /// Takes over a link's settings, with its choice of an engine.
    fn adopt(self, linked: Settings) {
        let other_engine = linked.engine != self.settings.with_untracked(|s| s.engine);
        self.settings.set(linked);
        if other_engine {
            self.choose_engine();
        }
    }

    /// Fetches the model of a first visitor, where the one asked for cannot be had.
    pub(super) fn fetch_default(self) {
        self.settings
            .update(|settings| settings.model = ModelSource::default());
        self.fetch_model(ModelSource::default());
    }

    /// Fetches a model and has the engine judge it; the one before stays until it is found sound.
    pub fn fetch_model(self, source: ModelSource) {
        let url = match &source {
            ModelSource::Bundled(bundled) => bundled.file(),
            ModelSource::Url(url) => address_of(url),
            ModelSource::File(name) => {
                let text = format!(
                    "The link was made with the file “{name}”, which a link cannot carry: drop it here. Until then, the bundled model dreams."
                );
                self.tell(false, text);
                return self.fetch_default();
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
            let kept = match &source {
                ModelSource::Url(_) => model_cache::get(&url).await,
                _ => None,
            };
            let fetched = match kept {
                Some(_) if controller.signal().aborted() => Err(FetchError::Cancelled),
                Some(bytes) => Ok(bytes),
                None => load_model::fetch(&url, &controller, LONGEST, on_progress).await,
            };
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
                    if none && source != ModelSource::default() {
                        self.fetch_default();
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
        let is_model = name.to_ascii_lowercase().ends_with(".safetensors");
        if file.size() > LONGEST as f64 {
            let (size, most) = (file.size() / 1e6, LONGEST >> 20);
            let what = if is_model { "a model" } else { "a picture" };
            return self.tell(
                true,
                format!("{name}: the file has {size:.0} MB, more than the {most} MB that {what} may have here."),
            );
        }
        if !is_model {
            return self.take_picture(file.into());
        }
        // What was asked for before makes way.
        self.cancel();
        leptos::task::spawn_local(async move {
            match read_blob(&file).await {
                Ok(bytes) => self.offer(bytes, ModelSource::File(name)),
                Err(_) => self.tell(true, format!("{name}: the browser cannot read the file.")),
            }
        });
    }

    /// Gives a file to the engine to judge, now or when there is one.
    pub(super) fn offer(self, bytes: Vec<u8>, source: ModelSource) {
        self.bench
            .update_value(|bench| bench.candidate = Some((Arc::new(bytes), source)));
        if self.bench.with_value(|bench| bench.ready) {
            self.load_candidate();
        }
    }

    /// Has the engine judge the next file, unless it reads one: its answers do not say which they are about.
    pub(super) fn load_candidate(self) {
        let next = self.bench.try_update_value(|bench| {
            if bench.reading {
                return None;
            }
            bench.judged = Some(bench.candidate.take()?);
            bench.judged.as_ref().map(|(file, _)| file.clone())
        });
        if let Some(file) = next.flatten() {
            self.load(file);
        }
    }

    pub(super) fn load(self, file: Arc<Vec<u8>>) {
        self.progress.set(Progress::Reading);
        self.expect_answer();
        self.bench.update_value(|bench| {
            bench.reading = true;
            if let Some(engine) = &bench.engine {
                engine.load(&file);
            }
        });
    }

    pub(super) fn loaded(self, model: Model, self_test: SelfTest, means: Vec<f32>) {
        let kind = self.engine.with_untracked(|engine| engine.kind);
        self.engine
            .update(|engine| engine.self_test = Some(self_test));
        if !self_test.passed() {
            let off = self_test.largest();
            if kind == Kind::Gpu {
                return self.fall_back(format!(
                    "This GPU disagreed with the CPU by {off:.2} in the self-test, so the CPU computes."
                ));
            }
            self.tell(true, format!("This browser's numbers differ from the trainer's by {off:.2} in the self-test: pictures may be wrong."));
        }
        let taken = self.bench.try_update_value(|bench| {
            bench.reading = false;
            let (file, source) = bench.judged.take()?;
            bench.file = Some(file);
            Some(source)
        });
        let seconds = (now() - self.bench.with_value(|bench| bench.started)) / 1000.0;
        self.progress.set(Progress::Ready { seconds });
        let Some(source) = taken.flatten() else {
            // The same model in a new engine.
            let tab = self.settings.with_untracked(|settings| settings.tab);
            if matches!(tab, Tab::Attack | Tab::Landscape) {
                self.expect_rival();
            }
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
        let linked = self
            .bench
            .try_update_value(|bench| bench.linked.take_if(|linked| linked.model == source));
        if let Some(linked) = linked.flatten() {
            self.adopt(linked);
        } else if !first {
            // What one model recommends is nothing to another.
            self.settings.update(|settings| {
                settings.dream = settings.dream.recommended();
                settings.denoise.steps = None;
                settings.denoise.sampler = Default::default();
            });
        }
        if !same_shape {
            self.own_dream.set(None);
            self.own_picture.set(None);
            self.clean.set(None);
            self.whole.set(None);
        }
        let lost = |start: Option<StartChoice>| start == Some(StartChoice::Image);
        if self.own_dream.with_untracked(Option::is_none)
            && lost(self.settings.with_untracked(|s| s.dream.start))
        {
            self.tell(false, "The link starts from somebody's own image, which a link cannot carry: choose one, or another start.");
            self.settings.update(|settings| settings.dream.start = None);
        }
        let early = self.settings.with_untracked(|settings| {
            let samplers = [&settings.dream.sampler, &settings.denoise.sampler];
            samplers.iter().any(|sampler| sampler.is_of_an_early_link())
        });
        if early && in_use.model.distances.is_some() && matches!(source, ModelSource::Bundled(_)) {
            self.tell(
                false,
                "This link is of an earlier model of the page, trained by JEAT. Another has taken its place, which draws \
                 better by distance: here it does what the link says, and the picture is another.",
            );
        }
        if let (ModelSource::Url(url), Some(file)) =
            (&source, self.bench.with_value(|bench| bench.file.clone()))
        {
            let url = address_of(url);
            leptos::task::spawn_local(async move { model_cache::put(&url, &file).await });
        }
        self.settings.update(|settings| settings.model = source);
        self.model.set(Some(in_use));
        // For the script that started the page.
        if let Ok(event) = web_sys::Event::new("basin-ready") {
            let _ = window().dispatch_event(&event);
        }
        let waiting = self.bench.try_update_value(|bench| bench.picture.take());
        if let Some(picture) = waiting.flatten() {
            self.take_picture(picture);
        }
        self.dream.set(Chain::default());
        self.denoise.set(Chain::default());
        self.guess.set(Chain::default());
        self.restore.set(Chain::default());
        self.attack.set(Chain::default());
        self.landscape.set(Chain::default());
        self.surface.set(Surface::default());
        self.dissection.set(None);
        self.forget_rival();
        if !prefers_rest() {
            self.restart();
        }
        self.load_candidate();
    }
}

/// The whole address of a model that was asked for by an address or by its id on a hub.
pub(super) fn address_of(asked: &str) -> String {
    let address = hub_address(asked).unwrap_or_else(|| asked.to_owned());
    lists::resolve(&address, "").unwrap_or(address)
}

/// The address of a file of a model hub, `hf:OWNER/NAME/FILE`; none of anything else.
fn hub_address(id: &str) -> Option<String> {
    let mut parts = id.strip_prefix("hf:")?.splitn(3, '/');
    let [owner, name, file] = [parts.next()?, parts.next()?, parts.next()?];
    Some(format!(
        "https://huggingface.co/{owner}/{name}/resolve/main/{file}"
    ))
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

#[cfg(test)]
mod tests {
    use super::hub_address;

    #[test]
    fn a_hub_id_has_an_address() {
        let address = hub_address("hf:someone/basin-models/cifar/a.safetensors");
        let expected =
            "https://huggingface.co/someone/basin-models/resolve/main/cifar/a.safetensors";
        assert_eq!(address.as_deref(), Some(expected));
        for other in ["https://a.b/c", "hf:someone/only", "models/a.safetensors"] {
            assert_eq!(hub_address(other), None);
        }
    }
}
