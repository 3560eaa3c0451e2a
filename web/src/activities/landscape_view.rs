//! The energy around a picture: the view.

use std::sync::Arc;

use leptos::{ev, html, prelude::*};

use crate::{
    activities::{
        landscape::{LAST_REACH, Landscape, NOTCHES, OTHERS},
        picture_choice::{ClassField, PictureChoice, SAMPLES},
    },
    images::{self, Shape},
    lab::{
        Lab,
        survey::{SIDE, Surface, place},
    },
    page::{
        contours::contours,
        curve::{Curve, Probabilities},
        energies,
        explanation::Explanation,
        stage::{CopyLink, Lines, Picture, SeedField, Shown, Slider, Transport},
    },
};

/// Height lines between the lowest and the highest energy.
const LINES: usize = 9;

/// From the lowest energy to the highest: a scale whose lightness grows evenly, told apart by colour-blind eyes.
const COLOURS: [[f32; 3]; 5] = [
    [0.10, 0.05, 0.28],
    [0.22, 0.28, 0.56],
    [0.12, 0.55, 0.56],
    [0.48, 0.80, 0.36],
    [0.99, 0.93, 0.58],
];

/// The tab.
#[component]
pub fn LandscapeTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let chain = lab.landscape;
    let centre = [SIDE / 2; 2];
    let looked_at = RwSignal::new(centre);
    let heights = [0, 1].map(|side| Memo::new(move |_| heights(lab, side)));
    // Both on one scale.
    let scale = Memo::new(move |_| {
        let mut scale = [f32::INFINITY, f32::NEG_INFINITY];
        for heights in heights {
            heights.with(|heights| {
                for height in heights.iter().flatten() {
                    scale = [scale[0].min(*height), scale[1].max(*height)];
                }
            });
        }
        scale
    });
    let seen = move || lab.surface.with(|surface| surface.seen(0));
    view! {
        <div class="desk">
            <section
                class="stage" aria-label="Stage"
                data-step=move || chain.with(|c| c.step()) data-phase=move || format!("{:?}", chain.with(|c| c.phase))
                data-seen=seen data-rival-seen=move || lab.surface.with(|surface| surface.seen(1))
            >
                <div class="duel">
                    <Map side=0 name=Signal::derive(move || lab.name()) what="robust" heights=heights[0] scale looked_at />
                    <Show when=move || lab.has_rival() fallback=move || view! { <p class="hint">{move || lab.rival_name()}</p> }>
                        <Map side=1 name=Signal::derive(move || lab.rival_name()) what="standard" heights=heights[1] scale looked_at />
                    </Show>
                </div>
                <Scale scale />
                <Transport chain />
                <Lines />
            </section>
            <Choices />
            <div class="readings">
                <Here looked_at heights=heights.map(Signal::from) />
                <div>
                    <Curve chain />
                    <Probabilities chain image=Signal::derive(|| 0) />
                </div>
            </div>
        </div>
        <Explanation chain />
    }
}

/// The energy at each place of the grid, as far as it is known.
fn heights(lab: Lab, side: usize) -> Vec<Option<f32>> {
    let landscape = lab.settings.with(|settings| settings.landscape.clone());
    let Some((kind, class)) = lab
        .model
        .with(|m| m.as_ref().map(|m| landscape.energy(&m.model)))
    else {
        return Vec::new();
    };
    lab.surface.with(|surface| {
        let places = (0..SIDE * SIDE).map(|at| [at / SIDE, at % SIDE]);
        let height = |at| Some(kind.of_logits(surface.logits(side, at)?, class));
        places.map(height).collect()
    })
}

/// What the colours mean.
#[component]
fn Scale(#[prop(into)] scale: Signal<[f32; 2]>) -> impl IntoView {
    let ends = move |end: usize| match scale.get()[end] {
        end if end.is_finite() => energies::text(end, 1),
        _ => String::new(),
    };
    view! {
        <p class="scale"><span>{move || ends(0)}</span><span class="ramp" aria-hidden="true"></span><span>{move || ends(1)}</span></p>
    }
}

/// One network's energy in the plane, with height lines and the chain's path.
#[component]
fn Map(
    side: usize,
    #[prop(into)] name: Signal<String>,
    /// Which of the two, in tests.
    what: &'static str,
    #[prop(into)] heights: Signal<Vec<Option<f32>>>,
    #[prop(into)] scale: Signal<[f32; 2]>,
    looked_at: RwSignal<[usize; 2]>,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let canvas = NodeRef::<html::Canvas>::new();
    Effect::new(move || {
        let Some(canvas) = canvas.get() else {
            return;
        };
        let [least, most] = scale.get();
        let share = |height: f32| (height - least) / (most - least).max(1e-6);
        let colours = heights.with(|heights| {
            let colour =
                |height: &Option<f32>| height.map_or([0.5; 3], |height| colour(share(height)));
            heights.iter().map(colour).collect::<Vec<_>>()
        });
        let shape = Shape {
            channels: 3,
            size: SIDE,
        };
        if colours.len() == SIDE * SIDE {
            let planes =
                (0..3).flat_map(|channel| colours.iter().map(move |colour| colour[channel]));
            images::draw(&canvas, shape, &planes.collect::<Vec<_>>());
        }
    });
    let lines = move || {
        let spacing = lab.surface.with(|surface| surface.spacing(side))?;
        let [least, most] = scale.get();
        heights.with(|heights| {
            let height = |at: [usize; 2]| heights[at[0] * SIDE + at[1]].unwrap_or(least);
            let levels: Vec<f32> = (1..=LINES)
                .map(|line| least + (most - least) * line as f32 / (LINES + 1) as f32)
                .collect();
            (heights.len() == SIDE * SIDE).then(|| contours(height, SIDE, spacing, &levels))
        })
    };
    // In places of the grid, as the drawing has them.
    let on_grid = |[across, up]: [f32; 2]| {
        let half = (SIDE - 1) as f32 / 2.0;
        [half + half * across, half - half * up]
    };
    let path = move || {
        let plane = lab.surface.with(|surface| surface.plane.clone())?;
        let points = lab.landscape.with(|chain| {
            let frames = chain.kept.iter().chain(&chain.newest);
            let places = frames.map(|frame| on_grid(plane.place_of(&frame.pixels)));
            places
                .map(|[x, y]| format!("{x:.2},{y:.2}"))
                .collect::<Vec<_>>()
        });
        Some(points.join(" "))
    };
    let shown = move || {
        let plane = lab.surface.with(|surface| surface.plane.clone())?;
        let place = lab
            .landscape
            .with(|chain| chain.shown().map(|frame| plane.place_of(&frame.pixels)))?;
        let [x, y] = on_grid(place);
        Some(view! { <circle class="shown" cx=x cy=y r="0.7" /> })
    };
    let cursor = move || {
        let [row, column] = looked_at.get();
        view! { <rect class="looked-at" x=column as f32 - 0.5 y=row as f32 - 0.5 width="1" height="1" /> }
    };
    let under = move |event: &web_sys::MouseEvent| {
        let canvas = canvas.get_untracked()?;
        let area = canvas.get_bounding_client_rect();
        let at = |along: f64, length: f64| (along / length * SIDE as f64) as usize;
        Some([
            at(f64::from(event.client_y()) - area.top(), area.height()).min(SIDE - 1),
            at(f64::from(event.client_x()) - area.left(), area.width()).min(SIDE - 1),
        ])
    };
    let look = move |event: ev::PointerEvent| {
        if let Some(at) = under(&event) {
            looked_at.set(at);
        }
    };
    let start = move |event: ev::MouseEvent| {
        // A key has no place; it means the one that is looked at.
        if event.detail() > 0
            && let Some(at) = under(&event)
        {
            looked_at.set(at);
        }
        let from = place(looked_at.get_untracked()).map(|at| (at * NOTCHES as f32).round() as i32);
        lab.settings
            .update(|settings| settings.landscape.from = from);
        lab.restart();
    };
    let keys = move |event: ev::KeyboardEvent| {
        let (down, right) = match event.key().as_str() {
            "ArrowUp" => (-1, 0),
            "ArrowDown" => (1, 0),
            "ArrowLeft" => (0, -1),
            "ArrowRight" => (0, 1),
            _ => return,
        };
        event.prevent_default();
        let moved = |at: usize, by| at.saturating_add_signed(by).min(SIDE - 1);
        looked_at
            .update(|[row, column]| (*row, *column) = (moved(*row, down), moved(*column, right)));
    };
    let label = format!(
        "Energy in the plane, {what} network. Arrow keys look around, Enter starts a chain there."
    );
    view! {
        <figure class="side" data-side=what>
            <figcaption>{name}</figcaption>
            <button class="map" aria-label=label on:pointermove=look on:click=start on:keydown=keys>
                <canvas node_ref=canvas width=SIDE height=SIDE></canvas>
                <svg viewBox=format!("-0.5 -0.5 {SIDE} {SIDE}") aria-hidden="true">
                    <path class="height" d=move || lines().unwrap_or_default() />
                    <polyline class="path" points=move || path().unwrap_or_default() />
                    {shown}
                    {cursor}
                </svg>
            </button>
        </figure>
    }
}

/// Between the colours of the scale.
fn colour(share: f32) -> [f32; 3] {
    let along = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let first = (along as usize).min(COLOURS.len() - 2);
    let rest = along - first as f32;
    [0, 1, 2].map(|c| COLOURS[first][c] * (1.0 - rest) + COLOURS[first + 1][c] * rest)
}

/// The picture at the place looked at, and what both networks say of it.
#[component]
fn Here(looked_at: RwSignal<[usize; 2]>, heights: [Signal<Vec<Option<f32>>>; 2]) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let picture = Memo::new(move |_| -> Shown {
        let shape = lab.model.with(|m| m.as_ref().map(|m| m.shape()))?;
        let plane = lab.surface.with(|surface| surface.plane.clone())?;
        Some((shape, Arc::from(plane.at(place(looked_at.get())))))
    });
    let says = move |side: usize| {
        let at = looked_at.get();
        let height = heights[side].with(|heights| heights.get(at[0] * SIDE + at[1]).copied());
        let names = lab.class_names();
        let verdict = lab
            .surface
            .with(|surface: &Surface| energies::verdict(surface.logits(side, at)?, &names));
        let (height, (_, seen)) = (height.flatten()?, verdict?);
        Some(format!("energy {}, sees {seen}", energies::text(height, 1)))
    };
    let away = move || {
        let reach = lab
            .surface
            .with(|surface| surface.plane.as_ref().map(|plane| plane.reach()))?;
        let [across, up] = place(looked_at.get());
        Some(format!("{:.1} from the middle", reach * across.hypot(up)))
    };
    view! {
        <div class="here">
            <Picture pixels=picture label="The picture at the place looked at" />
            <div>
                <h3>"at the place looked at"</h3>
                <p>{away}</p>
                <p><span class="hint">"robust: "</span>{move || says(0)}</p>
                {move || says(1).map(|says| view! { <p><span class="hint">"standard: "</span>{says}</p> })}
            </div>
        </div>
    }
}

/// Which plane, and which energy.
#[component]
fn Choices() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let landscape = move || lab.settings.with(|settings| settings.landscape.clone());
    let change = move |change: &dyn Fn(&mut Landscape)| {
        lab.settings
            .update(|settings| change(&mut settings.landscape));
        lab.restart();
    };
    let three = move || landscape().through.is_some();
    let sample_names = move || lab.samples().class_names();
    let other = move |which: usize, label: &'static str| {
        let chosen = move || landscape().through.unwrap_or(OTHERS)[which];
        let choose = move |event| {
            let sample = event_target_value(&event).parse().unwrap_or(0);
            change(&move |landscape| {
                let mut through = landscape.through.unwrap_or(OTHERS);
                through[which] = sample;
                landscape.through = Some(through);
            });
        };
        view! {
            <label class="field">
                <span>{label}</span>
                <select on:change=choose>
                    {move || (0..SAMPLES).map(|sample| view! {
                        <option value=sample selected=chosen() == sample>{sample_names()[sample]}</option>
                    }).collect_view()}
                </select>
            </label>
        }
    };
    view! {
        <section class="choices" aria-label="Around which picture?">
            <h2>"Around which picture?"</h2>
            <PictureChoice
                chosen=Signal::derive(move || landscape().picture)
                choose=move |picture| change(&move |landscape| landscape.picture = picture)
            />
            <fieldset class="row">
                <legend>"the plane"</legend>
                {[(false, "in two random directions"), (true, "through two more samples")].map(|(through, title)| view! {
                    <label class="check">
                        <input
                            type="radio" name="plane"
                            prop:checked=move || three() == through
                            on:change=move |_| change(&move |landscape| landscape.through = through.then_some(OTHERS))
                        />
                        <span>{title}</span>
                    </label>
                }).collect_view()}
            </fieldset>
            <Show
                when=three
                fallback=move || view! {
                    <Slider
                        label=Signal::derive(move || format!("from the middle to an edge: {}", landscape().reach))
                        value=Signal::derive(move || landscape().reach as f32)
                        set=move |reach| change(&move |landscape| landscape.reach = reach as u32)
                        min=1.0 max=LAST_REACH as f32 step=1.0
                    />
                }
            >
                <div class="row">{other(0, "second")}{other(1, "third")}</div>
            </Show>
            <div class="row">
                <ClassField
                    label="energy" any="E(x): any picture"
                    chosen=Signal::derive(move || landscape().class)
                    choose=move |class| change(&move |landscape| landscape.class = class)
                />
                <SeedField
                    seed=Signal::derive(move || landscape().seed)
                    set=move |seed| change(&move |landscape| landscape.seed = seed)
                    title="Other directions"
                />
                <CopyLink />
            </div>
            <p class="hint">
                "A picture is a point with as many coordinates as it has numbers; this is a flat cut through that space. \
                 Dark is a low energy, bright a high one. Click anywhere to start a chain there: its path is drawn as far \
                 as it lies in the plane. A robust energy is round: it rises with the distance, whichever way one goes. A \
                 standard network's is crooked, and soon says nothing more."
            </p>
        </section>
    }
}
