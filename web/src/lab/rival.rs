//! A standard network of the same classes, attacked beside the model in use: it was not trained against attacks.

use std::sync::Arc;

use basin_protocol::Request;
use leptos::prelude::*;
use web_sys::AbortController;

use super::{
    Lab,
    chain::Chain,
    load_model::{self, LONGEST},
};
use crate::{
    activities::{denoise::Denoise, picture_choice::Picture},
    address::Tab,
    bundled::Bundled,
    page::energies,
};

/// Whether there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rival {
    /// It is on its way.
    Expected,
    /// The engine holds it; its name.
    Ready(String),
    /// There is none, and why.
    None(String),
}

impl Default for Rival {
    fn default() -> Self {
        Self::None("The page has standard networks for the classes of its own models alone.".into())
    }
}

impl Lab {
    /// Has the engine hold a rival, if there is one of the model's classes.
    pub(super) fn expect_rival(self) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        if matches!(
            self.rival.get_untracked(),
            Rival::Expected | Rival::Ready(_)
        ) {
            return;
        }
        let bundled = Bundled::nearest(&in_use.model);
        let fits = in_use.model.class_names == bundled.class_names();
        if !fits {
            return;
        }
        let file = bundled.rival();
        self.rival.set(Rival::Expected);
        let fetched = self.bench.with_value(|bench| bench.rival.clone());
        if let Some((_, bytes)) = fetched.filter(|(of, _)| *of == bundled) {
            return self.ask_rival(&bytes);
        }
        leptos::task::spawn_local(async move {
            let Ok(controller) = AbortController::new() else {
                return;
            };
            let fetched = load_model::fetch(&file, &controller, LONGEST, |_, _| {}).await;
            // Another model may be in use by now, whose own rival is asked for in its turn.
            let in_use = self.model.get_untracked();
            if in_use.is_none_or(|in_use| Bundled::nearest(&in_use.model) != bundled) {
                return;
            }
            match fetched {
                Ok(bytes) => {
                    let bytes = Arc::new(bytes);
                    self.ask_rival(&bytes);
                    self.bench
                        .update_value(|bench| bench.rival = Some((bundled, bytes)));
                }
                Err(_) => self.rival.set(Rival::None(
                    "The standard network could not be fetched.".into(),
                )),
            }
        });
    }

    fn ask_rival(self, file: &[u8]) {
        self.bench.with_value(|bench| {
            if let Some(engine) = bench.engine.as_ref().filter(|_| bench.ready) {
                engine.send_file(&Request::LoadRival, file);
            }
        });
        self.expect_answer();
    }

    /// The name of the model in use.
    pub fn name(self) -> String {
        let name = |in_use: &Arc<super::InUse>| in_use.model.name.clone();
        self.model
            .with(|in_use| in_use.as_ref().map(name).unwrap_or_default())
    }

    /// The name of its rival, or why there is none.
    pub fn rival_name(self) -> String {
        match self.rival.get() {
            Rival::Ready(name) => name,
            Rival::Expected => "a standard network, on its way".into(),
            Rival::None(why) => why,
        }
    }

    /// Whether there is a rival, or will be.
    pub fn has_rival(self) -> bool {
        self.rival.with(|rival| !matches!(rival, Rival::None(_)))
    }

    /// What the engine says of it.
    pub(super) fn rival_loaded(self, rival: Result<String, String>) {
        let there = rival.is_ok();
        self.rival.set(match rival {
            Ok(name) => Rival::Ready(name),
            Err(why) => Rival::None(format!("The standard network: {why}.")),
        });
        match self.settings.with_untracked(|settings| settings.tab) {
            Tab::Attack if there => self.restart(),
            Tab::Attack => {}
            Tab::Landscape => self.survey(),
            Tab::Dream | Tab::Denoise | Tab::Restore | Tab::Models => {}
        }
    }

    /// The engine or its model is another: what it held is gone.
    pub(super) fn forget_rival(self) {
        self.rival.set(Rival::default());
        self.rival_attack.set(Chain::default());
    }

    /// Takes the attacked picture to the tab that cleans.
    pub fn clean_attacked(self) {
        let attacked = self
            .attack
            .with_untracked(|chain| chain.shown().map(|frame| frame.pixels.clone()));
        let Some(attacked) = attacked else {
            return;
        };
        self.pause();
        self.own_picture.set(Some(attacked));
        self.settings.update(|settings| {
            settings.tab = Tab::Denoise;
            settings.denoise = Denoise {
                picture: Picture::Own,
                sigma: 0.0,
                ..settings.denoise.clone()
            };
        });
        self.restart();
    }

    /// Sets the class that an attack leads away from to the one that the model sees in the picture, where nobody
    /// has said it; whether the attack begins anew for that.
    pub(super) fn learns_truth(self, logits: &[f32]) -> bool {
        let truth = self
            .settings
            .with_untracked(|settings| settings.attack.truth());
        if truth.is_some() {
            return false;
        }
        let seen = energies::likeliest(logits);
        self.settings
            .update(|settings| settings.attack.class = seen);
        self.restart();
        true
    }
}
