//! The arrangement of the page, and what concerns all of it: the address, files dropped or pasted.

use std::time::Duration;

use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;
use wasm_bindgen::JsValue;

use crate::{
    activities::{
        attack_view::AttackTab, denoise_view::DenoiseTab, dream_view::DreamTab,
        gallery_view::GalleryTab, landscape_view::LandscapeTab, restore_view::RestoreTab,
    },
    address::{ModelSource, Settings, Tab},
    bundled::Bundled,
    lab::Lab,
    page::{
        engine_panel::{self, EnginePanel},
        later::Later,
        model_card::{self, BundledModels, ModelCard},
        stage::EMBED,
        theme::Theme,
    },
};

/// The page.
#[component]
pub fn App() -> impl IntoView {
    let (settings, faults) = read_address();
    let lab = Lab::new(settings);
    provide_context(lab);
    for fault in faults {
        lab.tell(false, format!("The link: {fault}. The default is used."));
    }
    let address = StoredValue::new(href());
    write_address(lab, address);
    let follow = window_event_listener(ev::hashchange, move |_| {
        address.set_value(href());
        follow_address(lab);
    });
    let drop = take_dropped(lab);
    let paste = window_event_listener(ev::paste, move |event| {
        if let Some(file) = first_file(event.clipboard_data()) {
            lab.take_file(file);
        }
    });
    let news = window_event_listener_untyped("basin-version", move |_| {
        lab.tell(
            false,
            "There is a new version of this page. It takes over when the page is next loaded.",
        );
    });
    let panels = [NodeRef::new(), NodeRef::new()];
    let closing = close_panels(panels);
    on_cleanup(move || {
        closing.into_iter().for_each(|listener| listener.remove());
        follow.remove();
        news.remove();
        paste.remove();
        drop.into_iter().for_each(|listener| listener.remove());
    });
    lab.open();

    let tab = Memo::new(move |_| lab.settings.with(|settings| settings.tab));
    let show = move |tab| {
        lab.pause();
        lab.settings.update(|settings| settings.tab = tab);
        let fresh = lab
            .chain()
            .with_untracked(|chain| chain.phase == crate::lab::chain::Phase::Empty);
        if fresh {
            lab.restart();
        }
    };
    let model_chip = move || lab.model.with(|model| model_card::chip(model.as_deref()));
    let engine_chip = move || lab.engine.with(engine_panel::chip);
    let kind = move || lab.engine.with(|engine| engine.kind.label());
    // What start.js saw in the address.
    let root = document().document_element();
    let embedded = root.is_some_and(|root| root.has_attribute("data-embedded"));
    let whole = move || {
        lab.settings.track();
        lab.link().unwrap_or_default()
    };
    view! {
        {embedded.then(|| view! {
            <p class="whole"><a href=whole target="_blank" rel="noopener">"open in Basin"</a></p>
        })}
        <header>
            <h1>"Basin"</h1>
            <p class="tagline">"a classifier, dreaming"</p>
            <Theme />
            <details class="chip-panel" name="panel" node_ref=panels[0]>
                <summary data-chip="model">{model_chip}</summary>
                <div class="panel"><Later><ModelCard /></Later></div>
            </details>
            <details class="chip-panel" name="panel" node_ref=panels[1]>
                <summary data-chip="engine" data-engine=kind>{engine_chip}</summary>
                <div class="panel"><Later><EnginePanel /></Later></div>
            </details>
        </header>
        <main class:smooth=lab.smooth>
            <div class="tabs" role="group" aria-label="What to do">
                {Tab::ALL.map(|this| view! {
                    <button aria-pressed=move || (tab.get() == this).to_string() on:click=move |_| show(this)>{this.title()}</button>
                }).collect_view()}
                <a href="learn.html">"Learn"</a>
                <BundledModels />
            </div>
            {move || match tab.get() {
                Tab::Dream => view! { <DreamTab /> }.into_any(),
                Tab::Denoise => view! { <DenoiseTab /> }.into_any(),
                Tab::Restore => view! { <RestoreTab /> }.into_any(),
                Tab::Attack => view! { <AttackTab /> }.into_any(),
                Tab::Landscape => view! { <LandscapeTab /> }.into_any(),
                Tab::Models => view! { <GalleryTab /> }.into_any(),
            }}
        </main>
        <footer>
            <span>"Everything is computed here; nothing is sent anywhere."</span>
            {option_env!("CARGO_PKG_REPOSITORY").filter(|source| !source.is_empty()).map(|source| view! { <a href=source>"source"</a> })}
            <a href="licence.txt">"licence"</a>
        </footer>
    }
}

/// What the address asks for. `?model=` names a model too, as one writes it by hand.
fn read_address() -> (Settings, Vec<String>) {
    let location = window().location();
    let (mut settings, faults) = Settings::from_hash(&location.hash().unwrap_or_default());
    let query = location.search().unwrap_or_default();
    let asked = web_sys::UrlSearchParams::new_with_str(&query)
        .ok()
        .and_then(|query| query.get("model"));
    if let (Some(url), ModelSource::Bundled(_)) =
        (asked.filter(|url| !url.is_empty()), &settings.model)
    {
        settings.model = match Bundled::named(&url) {
            Some(bundled) => ModelSource::Bundled(bundled),
            None => ModelSource::Url(url),
        };
    }
    (settings, faults)
}

/// What of a link is a pick, which the browser's Back undoes: the activity, the model, the class of a dream, the picture
/// worked on. Numbers that are set and what the page finds out itself are none.
fn picks(link: &str) -> String {
    let hash = link.split_once('#').map_or("", |(_, hash)| hash);
    let dream = hash.contains("tab=dream");
    let is_pick = |pair: &&str| match pair.split('=').next() {
        Some("tab" | "model" | "picture") => true,
        Some("class") => dream,
        _ => false,
    };
    hash.split('&')
        .filter(is_pick)
        .collect::<Vec<_>>()
        .join("&")
}

/// Keeps the address bar at what is on screen, some moments behind: browsers limit how often it may change. A pick
/// leaves the address before it behind. `address` is what it was last seen to be.
fn write_address(lab: Lab, address: StoredValue<String>) {
    const BEHIND: Duration = Duration::from_millis(250);
    let due = StoredValue::new(false);
    // The first address may say less than the page now does.
    let written = || {
        let history = window().history();
        history.is_ok_and(|history| history.state().is_ok_and(|state| !state.is_null()))
    };
    let write = move || {
        due.set_value(false);
        let (Some(mut link), Ok(history)) = (lab.link(), window().history()) else {
            return;
        };
        // Loaded again, a frame is a frame.
        let root = document().document_element();
        if root.is_some_and(|root| root.has_attribute("data-embedded")) {
            link = link.replacen('#', &format!("?{EMBED}#"), 1);
        }
        let before = href();
        // Back, Forward or a pasted link: settings do not follow before the event that tells of it.
        if before != address.get_value() {
            return;
        }
        let (state, title) = (JsValue::TRUE, "");
        let _ = match written() && picks(&before) != picks(&link) {
            true => history.push_state_with_url(&state, title, Some(&link)),
            false => history.replace_state_with_url(&state, title, Some(&link)),
        };
        address.set_value(href());
    };
    Effect::new(move || {
        lab.settings.track();
        // Before that, the link that was opened says more than the page knows.
        if lab.model.with(Option::is_none) || due.get_value() {
            return;
        }
        // At once the first time: before a pick, which would pass for what was opened.
        if !written() {
            return write();
        }
        due.set_value(true);
        set_timeout(write, BEHIND);
    });
}

/// What stands in the address bar.
fn href() -> String {
    window().location().href().unwrap_or_default()
}

/// A link pasted over the present one.
fn follow_address(lab: Lab) {
    let (settings, faults) = read_address();
    for fault in faults {
        lab.tell(false, format!("The link: {fault}. The default is used."));
    }
    lab.follow(settings);
}

/// Closes the panels on Escape and on a click elsewhere.
fn close_panels(panels: [NodeRef<html::Details>; 2]) -> [WindowListenerHandle; 2] {
    let open = move || {
        let all = panels.into_iter().filter_map(|panel| panel.get_untracked());
        all.filter(|panel| panel.has_attribute("open"))
    };
    let close = |panel: web_sys::HtmlDetailsElement| {
        let _ = panel.remove_attribute("open");
    };
    [
        window_event_listener(ev::keydown, move |event| {
            if event.key() == "Escape" {
                open().for_each(close);
            }
        }),
        window_event_listener(ev::pointerdown, move |event| {
            let target: Option<web_sys::Node> = event.target().map(JsCast::unchecked_into);
            open()
                .filter(|panel| !panel.contains(target.as_ref()))
                .for_each(close);
        }),
    ]
}

fn take_dropped(lab: Lab) -> [WindowListenerHandle; 2] {
    [
        // Otherwise the browser opens what is dropped.
        window_event_listener(ev::dragover, |event| event.prevent_default()),
        window_event_listener(ev::drop, move |event| {
            event.prevent_default();
            let data = event.data_transfer();
            let files = data.as_ref().and_then(|data| data.files());
            if files.is_some_and(|files| files.length() > 1) {
                lab.tell(false, "One file at a time: the first of them is taken.");
            }
            if let Some(file) = first_file(data) {
                lab.take_file(file);
            }
        }),
    ]
}

fn first_file(data: Option<web_sys::DataTransfer>) -> Option<web_sys::File> {
    data?.files()?.get(0).map(JsCast::unchecked_into)
}

#[cfg(test)]
mod tests {
    use super::picks;

    #[test]
    fn numbers_are_no_picks() {
        let link = "http://here/#tab=dream&model=cifar-10&class=3&seed=7&steps=20";
        assert_eq!(picks(link), "tab=dream&model=cifar-10&class=3");
        assert_eq!(
            picks("http://here/#tab=attack&picture=1&class=3"),
            "tab=attack&picture=1"
        );
        assert_eq!(picks("http://here/"), "");
    }
}
