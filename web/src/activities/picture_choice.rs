//! Which picture an activity works on, a bundled sample or the visitor's, and of which class it is.

use leptos::prelude::*;

use super::{dream_view::FileButton, number};
use crate::lab::Lab;

/// A picture to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// One of the bundled samples.
    Sample(usize),
    /// The visitor's.
    Own,
}

/// Number of bundled sample images.
pub const SAMPLES: usize = 10;

/// The sample that is there first, and in the place of a picture that is not here.
pub const FIRST_SAMPLE: usize = 9;

impl Default for Picture {
    fn default() -> Self {
        Self::Sample(FIRST_SAMPLE)
    }
}

impl Picture {
    /// In a link.
    pub fn name(self) -> String {
        match self {
            Self::Sample(index) => index.to_string(),
            Self::Own => "own".into(),
        }
    }
}

/// Of a link; the error says what was expected.
pub(super) fn read(value: &str) -> Result<Picture, String> {
    match value {
        "own" => Ok(Picture::Own),
        _ => number(value, 0..=SAMPLES - 1, "0 to 9 or own").map(Picture::Sample),
    }
}

/// The samples, and the way to a picture of one's own.
#[component]
pub fn PictureChoice(
    #[prop(into)] chosen: Signal<Picture>,
    choose: impl Fn(Picture) + Copy + 'static,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    view! {
        <div class="samples" role="group" aria-label="Sample pictures">
            {(0..SAMPLES).map(|i| view! {
                <button
                    aria-label=format!("Sample {}", i + 1)
                    aria-pressed=move || (chosen.get() == Picture::Sample(i)).to_string()
                    on:click=move |_| choose(Picture::Sample(i))
                >
                    <img src=move || lab.samples().sample(i) alt="" width="28" height="28" />
                </button>
            }).collect_view()}
        </div>
        <div class="row">
            <FileButton label="choose a picture" accept="image/png,image/jpeg,image/webp" />
            <FileButton label="camera" accept="image/*" camera=true />
            <span class="hint">"or drop or paste one anywhere"</span>
        </div>
    }
}

/// The class of the picture; `any` is the word for none, where none may be chosen.
#[component]
pub fn ClassField(
    label: &'static str,
    #[prop(optional)] any: Option<&'static str>,
    #[prop(into)] chosen: Signal<Option<usize>>,
    choose: impl Fn(Option<usize>) + 'static,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let value = move || chosen.get().map(|class| class.to_string());
    view! {
        <label class="field">
            <span>{label}</span>
            <select
                on:change=move |event| choose(event_target_value(&event).parse().ok())
                prop:value=move || value().unwrap_or_default()
            >
                {any.map(|any| view! { <option value="">{any}</option> })}
                <For
                    each=move || lab.class_names().into_iter().enumerate()
                    key=|(class, name)| (*class, name.clone())
                    children=move |(class, name)| view! {
                        <option value=class.to_string() selected=move || chosen.get() == Some(class)>{name}</option>
                    }
                />
            </select>
        </label>
    }
}
