//! Parts of the page that can wait a moment.

use std::time::Duration;

use leptos::prelude::*;

/// Has its children built in a task of their own, right after the one that builds the rest: one task for
/// all would hold the page up.
#[component]
pub fn Later(children: ChildrenFn) -> impl IntoView {
    let due = RwSignal::new(false);
    set_timeout(move || due.set(true), Duration::ZERO);
    view! { <Show when=move || due.get()>{children()}</Show> }
}
