//! Parts of the stage that both tabs have: a picture, the transport, the notices beneath.

use std::sync::Arc;

use leptos::{html, prelude::*};

use crate::{
    address::SPEEDS,
    images::{self, Shape},
    lab::{
        Lab, Progress,
        chain::{Chain, Phase},
    },
    numbers,
    page::one_step::OneStep,
};

/// An image to show, where there is one.
pub type Shown = Option<(Shape, Arc<[f32]>)>;

/// One image, its pixels shown as pixels.
#[component]
pub fn Picture(
    #[prop(into)] pixels: Signal<Shown>,
    #[prop(into)] label: Signal<String>,
) -> impl IntoView {
    let canvas = NodeRef::<html::Canvas>::new();
    Effect::new(move || {
        let (Some(canvas), Some((shape, pixels))) = (canvas.get(), pixels.get()) else {
            return;
        };
        images::draw(&canvas, shape, &pixels);
    });
    view! { <canvas node_ref=canvas class="picture" role="img" aria-label=label width="28" height="28" /> }
}

/// Play, pause, step, reset, and the way back through the chain.
#[component]
pub fn Transport(
    chain: RwSignal<Chain>,
    /// Of several images, the one whose step is taken apart.
    #[prop(optional, into)]
    image: Signal<usize>,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let running = move || chain.with(|chain| chain.phase) == Phase::Running;
    let toggle = move |_| if running() { lab.pause() } else { lab.play() };
    let label = move || if running() { "Pause" } else { "Play" };
    let newest = move || chain.with(|chain| chain.kept.len().saturating_sub(1));
    let position =
        move || chain.with(|chain| chain.scrubbed.unwrap_or(chain.kept.len().saturating_sub(1)));
    let shown_step = move || chain.with(|chain| chain.shown().map_or(0, |frame| frame.step));
    let none = move || lab.model.with(Option::is_none);
    let scrub = move |event| {
        let index = event_target_value(&event).parse().ok();
        chain.update(|chain| chain.scrubbed = index);
    };
    // Letting go of a chain that runs goes back to its newest frame.
    let let_go = move |_| {
        chain.update(|chain| {
            if chain.phase == Phase::Running {
                chain.scrubbed = None;
            }
        });
    };
    let speed = move || {
        let speed = lab.settings.with(|settings| settings.speed);
        speed.map(|speed| speed.to_string()).unwrap_or_default()
    };
    let set_speed = move |event| {
        let speed = event_target_value(&event).parse().ok();
        lab.settings.update(|settings| settings.speed = speed);
    };
    view! {
        <div class="transport">
            <button class="play" on:click=toggle disabled=none aria-label=label title=label>
                <span aria-hidden="true" class=move || if running() { "glyph pause" } else { "glyph play" }></span>
            </button>
            <button on:click=move |_| lab.step() disabled=none title="One step">"step"</button>
            <button on:click=move |_| lab.reset() disabled=none title="Back to the start">"reset"</button>
            <select class="speed" aria-label="Speed" prop:value=speed on:change=set_speed>
                <option value="">"full speed"</option>
                {SPEEDS.map(|speed| view! { <option value=speed.to_string()>{format!("{speed} steps/s")}</option> }).collect_view()}
            </select>
            <input
                type="range"
                class="scrubber"
                aria-label="Frame of the chain"
                min="0"
                max=newest
                prop:value=position
                disabled=move || chain.with(|chain| chain.kept.len() < 2)
                on:input=scrub
                on:change=let_go
            />
            <output class="count" aria-label="Step">
                {move || format!("step {} / {}", shown_step(), chain.with(|chain| chain.goal))}
            </output>
        </div>
        <OneStep chain image />
    }
}

/// Where the load is, in one line, and what the visitor must know.
#[component]
pub fn Lines() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let line = move || progress_line(&lab.progress.get());
    let fetching = move || matches!(lab.progress.get(), Progress::Fetching { what: "model", .. });
    let share = move || match lab.progress.get() {
        Progress::Fetching {
            loaded,
            total: Some(total),
            ..
        } => Some(loaded as f64 / total as f64),
        _ => None,
    };
    let dismiss = move |id| lab.notices.update(|notices| notices.retain(|n| n.id != id));
    view! {
        <div class="under">
        <p class="progress" data-progress=line role="status">
            <span>{line}</span>
            {move || share().map(|share| view! { <progress max="1" value=share aria-label="Download"></progress> })}
            {move || fetching().then(|| view! { <button class="quiet" on:click=move |_| lab.cancel()>"cancel"</button> })}
        </p>
            <label class="check smooth-switch">
                <input
                    type="checkbox"
                    prop:checked=lab.smooth
                    on:change=move |event| lab.smooth.set(event_target_checked(&event))
                />
                <span>"smooth"</span>
            </label>
        </div>
        <div aria-live="polite">
            <For each=move || lab.notices.get() key=|notice| notice.id let:notice>
                <p class="notice" class:error=notice.error>
                    <span>{notice.text}</span>
                    <button class="quiet" aria-label="Dismiss" on:click=move |_| dismiss(notice.id)>"×"</button>
                </p>
            </For>
        </div>
    }
}

fn progress_line(progress: &Progress) -> String {
    let megabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
    match progress {
        Progress::Fetching {
            what, loaded: 0, ..
        } => format!("fetching the {what}"),
        Progress::Fetching {
            what,
            loaded,
            total: Some(total),
        } => {
            format!(
                "fetching the {what}: {} of {} MB",
                megabytes(*loaded),
                megabytes(*total)
            )
        }
        Progress::Fetching {
            what,
            loaded,
            total: None,
        } => {
            format!("fetching the {what}: {} MB", megabytes(*loaded))
        }
        Progress::Compiling => "compiling the engine".into(),
        Progress::Kernels { compiled, total } => {
            format!("compiling kernel {} of {total}", compiled + 1)
        }
        Progress::Reading => "reading the model, testing the engine".into(),
        Progress::Ready { seconds: 0.0 } => "ready".into(),
        Progress::Ready { seconds } => format!("ready in {seconds:.1} s"),
        Progress::Stopped => "stopped".into(),
    }
}

/// A number field that reports only what it can read, on leaving or Enter.
#[component]
pub fn NumberField(
    label: &'static str,
    #[prop(into)] value: Signal<String>,
    set: impl Fn(f64) + 'static,
    min: f64,
    max: f64,
    #[prop(default = "any")] step: &'static str,
) -> impl IntoView {
    let change = move |event: web_sys::Event| {
        let input: web_sys::HtmlInputElement = event_target(&event);
        match numbers::read(&input.value()) {
            Some(number) if number >= min && number <= max => set(number),
            _ => input.set_value(&value.get_untracked()),
        }
    };
    view! {
        <label class="field">
            <span>{label}</span>
            <input type="number" min=min max=max step=step prop:value=value on:change=change />
        </label>
    }
}

/// A seed that a die gives.
pub fn rolled_seed() -> u32 {
    (js_sys::Math::random() * 1e4) as u32
}

/// The seed, and a die that rolls another; `title` says what that gives.
#[component]
pub fn SeedField(
    #[prop(into)] seed: Signal<u32>,
    set: impl Fn(u32) + Copy + 'static,
    title: &'static str,
    #[prop(default = "seed")] label: &'static str,
) -> impl IntoView {
    view! {
        <NumberField
            label=label value=Signal::derive(move || seed.get().to_string())
            set=move |seed| set(seed as u32)
            min=0.0 max=4294967295.0 step="1"
        />
        <button
            class="dice" title=title aria-label=format!("Roll {}", title.to_ascii_lowercase())
            on:click=move |_| set(rolled_seed())
        >
            <span aria-hidden="true">"⚄"</span>
        </button>
    }
}

/// A slider under its label.
#[component]
pub fn Slider(
    #[prop(into)] label: Signal<String>,
    #[prop(into)] value: Signal<f32>,
    set: impl Fn(f32) + 'static,
    #[prop(optional)] min: f32,
    max: f32,
    step: f32,
) -> impl IntoView {
    let moved = move |event| {
        if let Some(number) = numbers::read(&event_target_value(&event)) {
            set(number as f32);
        }
    };
    view! {
        <label class="slider">
            <span>{label}</span>
            <input
                type="range" min=min max=max step=step
                prop:value=move || value.get().to_string()
                on:input=moved
            />
        </label>
    }
}

/// Copies the address, which holds all that is on screen; or what shows the same in another page.
#[component]
pub fn CopyLink() -> impl IntoView {
    // The address bar is some moments behind.
    let lab = expect_context::<Lab>();
    let link = move || {
        let href = || window().location().href().unwrap_or_default();
        lab.link().unwrap_or_else(href)
    };
    let frame = move || {
        let link = link();
        let (page, hash) = link.split_once('#').unwrap_or((&link, ""));
        let page = page.split('?').next().unwrap_or_default();
        format!(
            "<iframe src=\"{page}?{EMBED}#{}\" width=\"420\" height=\"520\" title=\"Basin: a classifier, dreaming\" \
             loading=\"lazy\" style=\"border:0\"></iframe>",
            hash.replace('&', "&amp;")
        )
    };
    view! {
        <Copy what="copy link" text=link />
        <Copy what="copy embed" text=frame />
    }
}

/// What the address says of a page in another page's frame: the stage alone. start.js reads it.
pub const EMBED: &str = "embed=1";

/// A button that copies a text.
#[component]
fn Copy(what: &'static str, text: impl Fn() -> String + 'static) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let promise = window().navigator().clipboard().write_text(&text());
        leptos::task::spawn_local(async move {
            match wasm_bindgen_futures::JsFuture::from(promise).await {
                Ok(_) => copied.set(true),
                Err(_) => lab.tell(
                    false,
                    "The browser does not let the page copy: the address bar has the link.",
                ),
            }
            set_timeout(move || copied.set(false), std::time::Duration::from_secs(2));
        });
    };
    view! {
        <button on:click=copy>{move || if copied.get() { "copied" } else { what }}</button>
    }
}
