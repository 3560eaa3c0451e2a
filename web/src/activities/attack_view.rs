//! Attacking a picture: the view.

use basin_protocol::Norm;
use leptos::prelude::*;

use crate::{
    activities::{
        attack::{Attack, LAST_NOTCH, MOST_STEPS},
        picture_choice::{ClassField, PictureChoice},
    },
    images,
    lab::{Lab, chain::Chain},
    page::{
        curve::{Curve, Probabilities},
        energies,
        explanation::Explanation,
        stage::{CopyLink, Lines, NumberField, Picture, Shown, Slider, Transport},
    },
};

/// The tab.
#[component]
pub fn AttackTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let (chain, rival) = (lab.attack, lab.rival_attack);
    // Both at the same step.
    Effect::new(move || {
        let looked_at = chain.with(|chain| {
            let scrubbed = chain.scrubbed.and_then(|index| chain.kept.get(index));
            scrubbed.map(|frame| frame.step)
        });
        let shown = rival.with_untracked(|rival| rival.scrubbed.is_some());
        if shown || looked_at.is_some() {
            rival.update(|rival| rival.look_at(looked_at));
        }
    });
    view! {
        <div class="desk">
            <section class="stage" aria-label="Stage" data-step=move || chain.with(|c| c.step()) data-phase=move || format!("{:?}", chain.with(|c| c.phase))>
                <div class="duel">
                    <Side chain name=Signal::derive(move || lab.name()) what="robust" />
                    <Show
                        when=move || lab.has_rival()
                        fallback=move || view! { <p class="hint">{move || lab.rival_name()}</p> }
                    >
                        <Side chain=rival name=Signal::derive(move || lab.rival_name()) what="standard" />
                    </Show>
                </div>
                <Transport chain />
                <Lines />
            </section>
            <Choices />
            <div class="readings">
                <Curve chain of=Signal::derive(move || lab.name()) />
                <Show when=move || lab.has_rival()>
                    <Curve chain=rival of=Signal::derive(move || lab.rival_name()) />
                </Show>
                <Probabilities chain image=Signal::derive(|| 0) />
            </div>
        </div>
        <Explanation chain />
    }
}

/// One network under attack: the picture, what was added to it, and what the network says.
#[component]
fn Side(
    chain: RwSignal<Chain>,
    #[prop(into)] name: Signal<String>,
    /// Which of the two, in tests.
    what: &'static str,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let shape = move || lab.model.with(|m| m.as_ref().map(|m| m.shape()));
    let attacked = Memo::new(move |_| -> Shown {
        Some((
            shape()?,
            chain.with(|c| c.shown().map(|f| f.pixels.clone()))?,
        ))
    });
    let change = Memo::new(move |_| -> Shown {
        let shape = shape()?;
        chain.with(|chain| {
            let frame = chain.shown()?;
            let delta = frame.pixels.iter().zip(chain.given.iter());
            let delta: Vec<f32> = delta.map(|(x, clean)| x - clean).collect();
            Some((shape, images::magnified(&delta)))
        })
    });
    let gradient = move || {
        let shape = shape()?;
        chain.with(|chain| Some((shape, chain.shown()?.gradient.clone())))
    };
    let map = Memo::new(move |_| -> Shown {
        gradient().map(|(shape, gradient)| (shape, images::gradient_map(&gradient)))
    });
    let length =
        move || gradient().map(|(_, gradient)| format!("{:.2}", images::length(&gradient)));
    let verdict = move |frame: fn(&Chain) -> Option<&crate::lab::chain::Frame>| {
        let logits = chain.with(|chain| frame(chain).map(|frame| frame.logits.clone()))?;
        energies::verdict(&logits, &lab.class_names())
    };
    let before = move || verdict(Chain::first);
    let now = move || verdict(Chain::shown);
    let fooled = move || {
        let truth = chain.with(|chain| chain.plan.classes.first().copied());
        now().zip(truth).map(|((best, _), truth)| best != truth)
    };
    let words = move || match fooled() {
        Some(true) => "fooled",
        Some(false) => "not fooled",
        None => "",
    };
    let label = move |of: &str| format!("{of}, {what} network");
    view! {
        <figure class="side" data-side=what data-fooled=move || fooled().map(|fooled| fooled.to_string())>
            <figcaption>{name}</figcaption>
            <Picture pixels=attacked label=label("The attacked picture") />
            <p class="caption">"attacked"</p>
            <Picture pixels=change label=label("What was added, magnified") />
            <p class="caption">"what was added, magnified"</p>
            <Picture pixels=map label=label("The gradient of E(y | x), magnified") />
            <p class="caption" data-gradient=length>"gradient of E(y | x), length "{length}</p>
            <p>
                <span>{move || before().map(|(_, text)| text)}</span>" → "
                <strong>{move || now().map(|(_, text)| text)}</strong>
            </p>
            <p class="verdict">{words}</p>
        </figure>
    }
}

/// What to attack, and how.
#[component]
fn Choices() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let attack = move || lab.settings.with(|settings| settings.attack.clone());
    let change = move |change: &dyn Fn(&mut Attack)| {
        lab.settings.update(|settings| change(&mut settings.attack));
        lab.restart();
    };
    let norms = [
        (Norm::Linf, "linf", "each number a little, L∞"),
        (Norm::L2, "l2", "all together, L2"),
    ];
    view! {
        <section class="choices" aria-label="What should be attacked?">
            <h2>"What should be attacked?"</h2>
            <PictureChoice
                chosen=Signal::derive(move || attack().picture)
                choose=move |picture| change(&move |attack| {
                    attack.picture = picture;
                    attack.class = None;
                })
            />
            <fieldset class="row">
                <legend>"what may change"</legend>
                {norms.map(|(norm, value, title)| view! {
                    <label class="check">
                        <input
                            type="radio" name="norm" value=value
                            prop:checked=move || attack().norm == norm
                            on:change=move |_| change(&move |attack| attack.norm = norm)
                        />
                        <span>{title}</span>
                    </label>
                }).collect_view()}
            </fieldset>
            <Slider
                label=Signal::derive(move || format!("radius: {}", attack().radius()))
                value=Signal::derive(move || attack().notch as f32)
                set=move |notch| change(&move |attack| attack.notch = notch as u32)
                max=LAST_NOTCH as f32 step=1.0
            />
            <div class="row">
                <ClassField
                    label="away from"
                    chosen=Signal::derive(move || attack().truth())
                    choose=move |class| change(&move |attack| attack.class = class)
                />
                <NumberField
                    label="steps" value=Signal::derive(move || attack().steps.to_string())
                    set=move |steps| change(&move |attack| attack.steps = steps as u32)
                    min=1.0 max=f64::from(MOST_STEPS) step="1"
                />
            </div>
            <div class="row actions">
                <button class="primary" on:click=move |_| lab.restart()>"attack it"</button>
                <button on:click=move |_| lab.clean_attacked()>"clean it again"</button>
                <CopyLink />
            </div>
            <p class="hint">
                "Each step changes the picture a little so that the network is less sure of the right class: up the \
                 energy, where a dream goes down. What is added is shown magnified, its largest change as black or white. \
                 The gradient says for each number how fast the energy E(y | x) of the right class rises with it: lighter \
                 up, darker down, grey not at all. That of the robust network looks like the thing, so that going down it \
                 draws; that of the standard one looks like noise, and is most often longer: little steps change much."
            </p>
        </section>
    }
}
