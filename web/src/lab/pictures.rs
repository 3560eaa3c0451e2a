//! The visitor's pictures, and the bundled samples.

use std::sync::Arc;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, Response};

use super::Lab;
use crate::{
    activities::{
        dream::StartChoice,
        picture_choice::{FIRST_SAMPLE, Picture},
    },
    address::{Settings, Tab},
    images::{self, Shape},
    png_text,
};

impl Lab {
    /// Offers images as a PNG that says what it shows and holds its link; `what` is a part of its name.
    pub fn save(self, pixels: &[f32], columns: usize, what: &str) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let link = self.link().unwrap_or_default();
        let chain = self.chain();
        let (seed, step) = chain.with_untracked(|chain| (chain.plan.seed, chain.step()));
        let name = self.name_of(what, "png");
        let title = format!("{what}, by {}, seed {seed}, step {step}", in_use.model.name);
        let texts = [
            ("Title", title.as_str()),
            ("Software", "Basin"),
            (png_text::LINK, &link),
        ];
        images::save_png(in_use.shape(), pixels, columns, &name, &texts);
    }

    /// The name of a file that shows the chain on screen.
    pub(super) fn name_of(self, what: &str, ending: &str) -> String {
        let telling = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii();
        let plain = what.to_ascii_lowercase().replace(|c| !telling(c), "-");
        let chain = self.chain();
        let (seed, step) = chain.with_untracked(|chain| (chain.plan.seed, chain.step()));
        format!("basin-{plain}-{seed}-{step}.{ending}")
    }

    /// Takes a picture of the visitor's, for the tab on screen.
    pub fn take_picture(self, blob: Blob) {
        let Some(in_use) = self.model.get_untracked() else {
            self.tell(false, "The picture waits for the model.");
            return self.bench.update_value(|bench| bench.picture = Some(blob));
        };
        leptos::task::spawn_local(async move {
            if let Some(hash) = images::link_in(&blob).await {
                self.tell(
                    false,
                    "This picture was saved by a page like this one: here is what it was made of.",
                );
                let (settings, _) = Settings::from_hash(&hash);
                return self.follow(settings);
            }
            match images::decode(&blob, in_use.shape()).await {
                Ok(pixels) => match self.settings.with_untracked(|settings| settings.tab) {
                    Tab::Dream | Tab::Models => {
                        self.own_dream.set(Some(pixels.into()));
                        self.settings
                            .update(|s| s.dream.start = Some(StartChoice::Image));
                        self.restart();
                    }
                    Tab::Denoise | Tab::Restore | Tab::Attack | Tab::Landscape => {
                        self.own_picture.set(Some(pixels.into()));
                        self.choose_picture(Picture::Own);
                        self.restart();
                    }
                },
                Err(why) => self.tell(true, format!("The file: {why}.")),
            }
        });
    }

    /// Sets the picture that the tab on screen works on.
    fn choose_picture(self, picture: Picture) {
        self.settings.update(|settings| {
            if let Some(chosen) = settings.picture_mut() {
                *chosen = picture;
            }
        });
    }

    pub(super) async fn picture(self, picture: Picture, shape: Shape) -> Option<Arc<[f32]>> {
        let index = match (picture, self.own_picture.get_untracked()) {
            (Picture::Own, Some(own)) => return Some(own),
            (Picture::Own, None) => {
                self.tell(false, "The link shows somebody's own picture, which a link cannot carry; here is a sample instead.");
                self.choose_picture(Picture::default());
                FIRST_SAMPLE
            }
            (Picture::Sample(index), _) => index,
        };
        let samples = untrack(|| self.samples());
        match sample(&samples.sample(index), shape).await {
            Ok(pixels) => Some(pixels.into()),
            Err(why) => {
                self.tell(true, format!("Sample {index}: {why}."));
                None
            }
        }
    }
}

/// A bundled sample, by where it lies.
async fn sample(path: &str, shape: Shape) -> Result<Vec<f32>, String> {
    let window = web_sys::window().expect("the page has a window");
    let unreachable = |_| "cannot be fetched".to_owned();
    let promise = window.fetch_with_str(path);
    let response: Response = JsFuture::from(promise)
        .await
        .map_err(unreachable)?
        .unchecked_into();
    let blob = response.blob().map_err(unreachable)?;
    let blob = JsFuture::from(blob).await.map_err(unreachable)?;
    images::decode(&blob.unchecked_into(), shape).await
}
