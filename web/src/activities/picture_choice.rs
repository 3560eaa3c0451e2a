//! Which picture an activity works on: a bundled sample, or the visitor's.

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

impl Default for Picture {
    fn default() -> Self {
        Self::Sample(9)
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
            <span class="hint">"or drop or paste one anywhere"</span>
        </div>
    }
}
