//! Light, dark, or as the system has it.

use leptos::prelude::*;

/// Where the browser keeps the choice.
const KEY: &str = "theme";
/// As the system has it first.
const THEMES: [&str; 3] = ["auto", "light", "dark"];

/// A button that goes through the themes.
#[component]
pub fn Theme() -> impl IntoView {
    let store = || window().local_storage().ok().flatten();
    let kept = store().and_then(|store| store.get_item(KEY).ok().flatten());
    let place = THEMES
        .iter()
        .position(|theme| Some(*theme) == kept.as_deref());
    let theme = RwSignal::new(place.unwrap_or(0));
    let name = move || THEMES[theme.get()];
    Effect::new(move || {
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("data-theme", name());
        }
    });
    let next = move |_| {
        theme.update(|theme| *theme = (*theme + 1) % THEMES.len());
        if let Some(store) = store() {
            let _ = store.set_item(KEY, THEMES[theme.get_untracked()]);
        }
    };
    view! {
        <button class="theme" on:click=next title="Light, dark, or as the system has it">
            {move || format!("theme: {}", name())}
        </button>
    }
}
