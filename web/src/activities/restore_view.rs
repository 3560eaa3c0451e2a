//! Filling holes, enlarging and colouring: the view.

use std::sync::Arc;

use basin_protocol::Observation;
use leptos::{ev, html, prelude::*};

use crate::{
    activities::{
        picture_choice::{ClassField, PictureChoice},
        restore::{Hole, RESULTS, Restore, What},
    },
    images::Shape,
    lab::{
        Lab,
        chain::{Chain, Phase},
    },
    page::{
        curve::{Curve, Probabilities},
        explanation::Explanation,
        stage::{CopyLink, Lines, Picture, SeedField, Shown, Transport},
    },
};

/// What a hole looks like: a chequer of two greys, apart from black and white.
const CHEQUER: [f32; 2] = [0.42, 0.58];

/// The tab.
#[component]
pub fn RestoreTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let chain = lab.restore;
    let looked_at = RwSignal::new(0);
    let restored = Memo::new(move |_| {
        let shape = lab.model.with(|m| m.as_ref().map(|m| m.shape()))?;
        chain.with(|chain| restored(chain, shape))
    });
    let image = move |image: usize| {
        let shape = lab.model.with(|m| m.as_ref().map(|m| m.shape()))?;
        let pixels = restored.get()?;
        let pixels = pixels.chunks(shape.len()).nth(image)?;
        Some((shape, Arc::from(pixels)))
    };
    let waiting = move || restored.with(Option::is_none);
    let tells = move || {
        lab.model
            .with(|m| m.as_ref().is_none_or(|m| m.model.distances.is_some()))
    };
    view! {
        <div class="desk">
            <section class="stage" aria-label="Stage" data-step=move || chain.with(|c| c.step()) data-phase=move || format!("{:?}", chain.with(|c| c.phase))>
                <div class="pictures four" class:waiting=waiting>
                    {(0..RESULTS).map(|number| view! {
                        <button
                            class="tile"
                            aria-pressed=move || (looked_at.get() == number).to_string()
                            on:click=move |_| looked_at.set(number)
                        >
                            <Picture
                                pixels=Signal::derive(move || image(number))
                                label=format!("Restored, {} of {RESULTS}", number + 1)
                            />
                        </button>
                    }).collect_view()}
                </div>
                <Transport chain />
                <Lines />
                <Show when=move || !tells()>
                    <p class="notice"><span>
                        "This model does not tell how far a picture is from those that it knows, and restoring needs \
                         that. A model trained by denoising score matching does: choose one under the model's name."
                    </span></p>
                </Show>
            </section>
            <Choices restored />
            <div class="readings">
                <Curve chain />
                <Probabilities chain image=looked_at />
            </div>
        </div>
        <Explanation chain />
    }
}

/// The images to show. Once the chain is at its end they are made to agree exactly with what is known.
fn restored(chain: &Chain, shape: Shape) -> Option<Arc<[f32]>> {
    let frame = chain.shown()?;
    let finished = chain.phase == Phase::Finished && chain.scrubbed.is_none();
    let known = chain.plan.known.as_ref().filter(|_| finished);
    let Some(known) = known else {
        return Some(frame.pixels.clone());
    };
    let batch = chain.plan.classes.len();
    let observed = known.observed([shape.channels, shape.size]).ok()?;
    let values = observed.of(&chain.given).repeat(batch);
    let observation = Observation::new(observed, values, batch).ok()?;
    let mut x = frame.pixels.to_vec();
    observation.project(&mut x);
    Some(x.into())
}

/// What to restore.
#[component]
fn Choices(restored: Memo<Option<Arc<[f32]>>>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let restore = move || lab.settings.with(|settings| settings.restore.clone());
    let change = move |change: &dyn Fn(&mut Restore)| {
        lab.settings
            .update(|settings| change(&mut settings.restore));
        lab.restart();
    };
    let save = move |_| {
        if let Some(pixels) = restored.get_untracked() {
            lab.save(&pixels, 2, "restored");
        }
    };
    view! {
        <section class="choices" aria-label="What should it restore?">
            <h2>"What should it restore?"</h2>
            <PictureChoice
                chosen=Signal::derive(move || restore().picture)
                choose=move |picture| change(&move |restore| restore.picture = picture)
            />
            <fieldset class="row">
                <legend>"what is missing"</legend>
                {What::ALL.map(|what| view! {
                    <label class="check">
                        <input
                            type="radio" name="what" value=what.name()
                            prop:checked=move || restore().what == what
                            on:change=move |_| change(&move |restore| restore.what = what)
                        />
                        <span>{what.title()}</span>
                    </label>
                }).collect_view()}
            </fieldset>
            <Known />
            <div class="row">
                <ClassField
                    label="it shows" any="anything"
                    chosen=Signal::derive(move || restore().class)
                    choose=move |class| change(&move |restore| restore.class = class)
                />
                <SeedField
                    seed=Signal::derive(move || restore().seed)
                    set=move |seed| change(&move |restore| restore.seed = seed)
                    title="Other results"
                />
            </div>
            <div class="row actions">
                <button class="primary" on:click=move |_| lab.restart()>"restore it"</button>
                <button on:click=save>"save PNG"</button>
                <CopyLink />
            </div>
        </section>
    }
}

/// Brush or eraser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Brush,
    Eraser,
}

/// What the model is given, beside the whole picture; a hole is painted into it.
#[component]
fn Known() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let tool = RwSignal::new(Tool::Brush);
    let brush = RwSignal::new(5_usize);
    // Where the keys are, and whether they are in use.
    let cursor = RwSignal::new([16_usize, 16]);
    let focused = RwSignal::new(false);
    let painting = RwSignal::new(false);
    let before = StoredValue::new(Vec::<Hole>::new());
    let undoable = RwSignal::new(false);
    let frame = NodeRef::<html::Div>::new();

    let size = move || lab.model.with(|m| m.as_ref().map_or(32, |m| m.model.size));
    let what = Memo::new(move |_| lab.settings.with(|settings| settings.restore.what));
    let is_hole = move || what.get() == What::Hole;
    let whole = Memo::new(move |_| -> Shown {
        let shape = lab.model.with(|m| m.as_ref().map(|m| m.shape()))?;
        let pixels = lab
            .whole
            .get()
            .filter(|pixels| pixels.len() == shape.len())?;
        Some((shape, pixels))
    });
    let shown = Memo::new(move |_| -> Shown {
        let (shape, pixels) = whole.get()?;
        let restore = lab.settings.with(|settings| settings.restore.clone());
        let mut pixels = pixels.to_vec();
        let model = lab.model.with(|m| m.clone())?;
        let known = restore.known(&model.model);
        if !is_hole() {
            known.plainest(&mut pixels, shape.size);
            return Some((shape, pixels.into()));
        }
        let hole = restore.hole.fitted(shape.size);
        let plane = shape.size * shape.size;
        for (number, x) in pixels.iter_mut().enumerate() {
            let pixel = number % plane;
            if hole.contains(pixel) {
                *x = CHEQUER[(pixel / shape.size + pixel % shape.size) % 2];
            }
        }
        if focused.get() {
            // The square that the keys would paint, inverted at its rim.
            let [mut square, mut inner] = [hole.cleared(), hole.cleared()];
            let at = cursor.get().map(|at| at.min(shape.size - 1));
            square.paint(at, brush.get() + 2, true);
            inner.paint(at, brush.get(), true);
            for (number, x) in pixels.iter_mut().enumerate() {
                let pixel = number % plane;
                if square.contains(pixel) && !inner.contains(pixel) {
                    *x = 1.0 - x.round();
                }
            }
        }
        Some((shape, pixels.into()))
    });

    let begin = move || {
        let hole = lab
            .settings
            .with_untracked(|settings| settings.restore.hole.clone());
        before.update_value(|before| before.push(hole));
        undoable.set(true);
    };
    let paint = move |at: [usize; 2], inside: bool| {
        lab.settings.update(|settings| {
            let mut hole = settings.restore.hole.fitted(size());
            hole.paint(at, brush.get_untracked(), inside);
            settings.restore.hole = hole;
        });
    };
    let undo = move || {
        let last = before.try_update_value(Vec::pop).flatten();
        undoable.set(before.with_value(|before| !before.is_empty()));
        if let Some(hole) = last {
            lab.settings.update(|settings| settings.restore.hole = hole);
            lab.restart();
        }
    };
    let clear = move |_| {
        begin();
        lab.settings.update(|settings| {
            settings.restore.hole = settings.restore.hole.cleared();
        });
        lab.pause();
    };
    let inside = move || tool.get_untracked() == Tool::Brush;
    let at = move |event: &ev::PointerEvent| {
        let frame = frame.get_untracked()?;
        let bounds = frame.get_bounding_client_rect();
        let place = |from: f64, length: f64, at: i32| {
            let share = (f64::from(at) - from) / length.max(1.0);
            ((share * size() as f64) as usize).min(size() - 1)
        };
        Some([
            place(bounds.top(), bounds.height(), event.client_y()),
            place(bounds.left(), bounds.width(), event.client_x()),
        ])
    };
    let down = move |event: ev::PointerEvent| {
        if !is_hole() || event.button() != 0 {
            return;
        }
        event.prevent_default();
        if let Some(frame) = frame.get_untracked() {
            // Strokes go on outside of the picture.
            let _ = frame.set_pointer_capture(event.pointer_id());
        }
        begin();
        painting.set(true);
        if let Some(at) = at(&event) {
            paint(at, inside());
        }
    };
    let moved = move |event: ev::PointerEvent| {
        if painting.get_untracked()
            && let Some(at) = at(&event)
        {
            paint(at, inside());
        }
    };
    let up = move |_: ev::PointerEvent| {
        if painting.get_untracked() {
            painting.set(false);
            lab.restart();
        }
    };
    let key = move |event: ev::KeyboardEvent| {
        if !is_hole() {
            return;
        }
        let last = size() - 1;
        let step = if event.shift_key() { 4 } else { 1 };
        let go = |change: &dyn Fn(&mut [usize; 2])| cursor.update(|cursor| change(cursor));
        match event.key().as_str() {
            "ArrowUp" => go(&|at| at[0] = at[0].saturating_sub(step)),
            "ArrowDown" => go(&|at| at[0] = (at[0] + step).min(last)),
            "ArrowLeft" => go(&|at| at[1] = at[1].saturating_sub(step)),
            "ArrowRight" => go(&|at| at[1] = (at[1] + step).min(last)),
            " " | "Enter" => {
                begin();
                paint(cursor.get_untracked().map(|at| at.min(last)), inside());
                lab.restart();
            }
            "z" if event.ctrl_key() || event.meta_key() => undo(),
            _ => return,
        }
        event.prevent_default();
    };
    let brushes = [("1", 1), ("3", 3), ("5", 5), ("9", 9)];
    view! {
        <div class="known">
            <figure>
                <div
                    class="editor"
                    class:paintable=is_hole
                    node_ref=frame
                    role="group"
                    tabindex=move || if is_hole() { "0" } else { "-1" }
                    aria-label="What the model is given"
                    aria-describedby="editor-keys"
                    on:pointerdown=down
                    on:pointermove=moved
                    on:pointerup=up
                    on:pointercancel=up
                    on:keydown=key
                    on:focus=move |_| focused.set(true)
                    on:blur=move |_| focused.set(false)
                >
                    <Picture pixels=shown label="What is known of the picture".to_owned() />
                </div>
                <figcaption>"what the model is given"</figcaption>
            </figure>
            <figure class="clean">
                <Picture pixels=whole label="The whole picture".to_owned() />
                <figcaption>"the whole picture"</figcaption>
            </figure>
        </div>
        <Show when=is_hole>
            <div class="row" role="group" aria-label="Painting the hole">
                {[(Tool::Brush, "brush"), (Tool::Eraser, "eraser")].map(|(this, name)| view! {
                    <label class="check">
                        <input
                            type="radio" name="tool" value=name
                            prop:checked=move || tool.get() == this
                            on:change=move |_| tool.set(this)
                        />
                        <span>{name}</span>
                    </label>
                })}
                <label class="field">
                    <span>"width"</span>
                    <select
                        prop:value=move || brush.get().to_string()
                        on:change=move |event| brush.set(event_target_value(&event).parse().unwrap_or(5))
                    >
                        {brushes.map(|(name, width)| view! {
                            <option value=name selected=move || brush.get() == width>{name}</option>
                        })}
                    </select>
                </label>
                <button on:click=move |_| undo() disabled=move || !undoable.get()>"undo"</button>
                <button on:click=clear>"no hole"</button>
            </div>
            <p class="hint" id="editor-keys">
                "Paint what is missing. By keys: arrows move the square, Shift by four, Space paints, Ctrl+Z undoes."
            </p>
        </Show>
        <Show when=move || !is_hole()>
            <p class="hint" id="editor-keys">
                {move || match what.get() {
                    What::Colour => "Only how bright each pixel is.",
                    _ => "Only the mean of each block of pixels.",
                }}
            </p>
        </Show>
    }
}
