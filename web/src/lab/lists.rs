//! Lists of models: fetched when somebody looks at them, and the addresses of added ones kept by the browser.

use basin_shared::gallery::{self, Entry};
use leptos::prelude::*;
use web_sys::{AbortController, Url};

use super::{
    Lab,
    load_model::{self, FetchError},
};
use crate::{address::ModelSource, bundled::Bundled};

/// The list of whoever hosts the page, seen from the page.
const OWN: &str = "models/index.json";
/// Longest list that is read, in bytes.
const LONGEST_LIST: usize = 1 << 20;
/// Where the browser keeps the addresses of others.
const KEY: &str = "lists";

/// A list, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// Its address as it was given.
    pub address: String,
    /// None while it is on its way.
    pub models: Option<Result<Vec<Entry>, String>>,
}

impl List {
    /// Whether it is the page's own.
    pub fn is_own(&self) -> bool {
        self.address == OWN
    }
}

/// An address seen from another, if both are addresses of the web.
pub fn resolve(address: &str, from: &str) -> Option<String> {
    let page = window().location().href().ok()?;
    let from = Url::new_with_base(from, &page).ok()?.href();
    let url = Url::new_with_base(address, &from).ok()?;
    matches!(url.protocol().as_str(), "http:" | "https:").then(|| url.href())
}

impl Lab {
    /// Fetches the page's own list, those that the browser keeps, and those of the link.
    pub fn look_at_lists(self) {
        if !self.lists.with_untracked(Vec::is_empty) {
            return;
        }
        let linked = self
            .settings
            .with_untracked(|settings| settings.gallery.lists.clone());
        for address in [OWN.to_owned()].into_iter().chain(kept()).chain(linked) {
            self.add_list(address);
        }
    }

    /// Fetches a list and shows it, unless it is shown already.
    pub fn add_list(self, address: String) {
        let known = |lists: &Vec<List>| lists.iter().any(|list| list.address == address);
        if self.lists.with_untracked(known) {
            return;
        }
        self.lists.update(|lists| {
            lists.push(List {
                address: address.clone(),
                models: None,
            });
        });
        self.keep_lists();
        leptos::task::spawn_local(async move {
            let models = fetch_list(&address).await;
            self.lists.update(|lists| {
                if let Some(list) = lists.iter_mut().find(|list| list.address == address) {
                    list.models = Some(models);
                }
            });
        });
    }

    /// Forgets a list.
    pub fn remove_list(self, address: &str) {
        self.lists
            .update(|lists| lists.retain(|list| list.address != address));
        self.keep_lists();
    }

    /// In the browser and in the link: all but the page's own.
    fn keep_lists(self) {
        let others = self.lists.with_untracked(|lists| {
            let others = lists.iter().filter(|list| !list.is_own());
            others.map(|list| list.address.clone()).collect::<Vec<_>>()
        });
        if let Ok(Some(store)) = window().local_storage() {
            let _ = store.set_item(KEY, &others.join("\n"));
        }
        if self
            .settings
            .with_untracked(|settings| settings.gallery.lists != others)
        {
            self.settings
                .update(|settings| settings.gallery.lists = others);
        }
    }

    /// Takes a model of a list into use.
    pub fn use_entry(self, list: &str, entry: &Entry) {
        let Some(url) = resolve(&entry.file, list) else {
            let file = &entry.file;
            return self.tell(true, format!("{file}: no address of the web."));
        };
        let is_own = |bundled: &Bundled| resolve(&bundled.file(), "") == Some(url.clone());
        let source = match Bundled::ALL.into_iter().find(is_own) {
            Some(bundled) => ModelSource::Bundled(bundled),
            None => ModelSource::Url(url),
        };
        self.fetch_model(source);
    }
}

fn kept() -> Vec<String> {
    let store = window().local_storage().ok().flatten();
    let kept = store.and_then(|store| store.get_item(KEY).ok().flatten());
    let kept = kept.unwrap_or_default();
    kept.lines().map(str::to_owned).collect()
}

async fn fetch_list(address: &str) -> Result<Vec<Entry>, String> {
    let url = resolve(address, "").ok_or("no address of the web, expected https://…/index.json")?;
    let controller = AbortController::new().map_err(|_| "the browser cannot fetch it")?;
    let bytes = load_model::fetch(&url, &controller, LONGEST_LIST, |_, _| {}).await;
    let bytes = bytes.map_err(|error| match error {
        FetchError::Failed(why) => why,
        FetchError::Cancelled => "was not fetched".into(),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| "no text, expected JSON")?;
    gallery::read(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_own_list_is_read_and_names_what_lies_beside_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../static/models/");
        let models =
            gallery::read(&std::fs::read_to_string(format!("{folder}index.json")).unwrap())
                .unwrap();
        for bundled in Bundled::ALL {
            let file = bundled.file();
            let entry = models
                .iter()
                .find(|entry| format!("models/{}", entry.file) == file);
            let entry = entry.expect("every bundled model is in the list");
            let length = std::fs::metadata(format!("{folder}{}", entry.file))
                .unwrap()
                .len();
            assert_eq!(entry.bytes, Some(length as f64));
            assert!(std::fs::exists(format!("{folder}{}", entry.picture)).unwrap());
            assert!(entry.accuracy.is_some() && entry.robust_accuracy.is_some());
            assert!(!entry.attack.is_empty());
        }
    }
}
