//! Picking a class and watching it form: the view.

use std::sync::Arc;

use basin_protocol::{ByDistance, EnergyKind, Sampler, Sgld};
use leptos::prelude::*;

use crate::{
    activities::{
        Activity, LONGEST_CHAIN,
        dream::{self, ClassChoice, Dream, StartChoice},
        picture_choice::ClassField,
        sampler_choice::{SamplerChoice, SamplerKind},
    },
    lab::Lab,
    page::{
        curve::{Curve, Probabilities},
        explanation::Explanation,
        later::Later,
        stage::{
            CopyLink, Lines, NumberField, Picture, SeedField, Shown, Slider, Transport, rolled_seed,
        },
    },
};

/// The tab.
#[component]
pub fn DreamTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let chain = lab.dream;
    let looked_at = RwSignal::new(0);
    let count = Memo::new(move |_| chain.with(|chain| chain.plan.classes.len().max(1)));
    let pictures = move || {
        let one = count.get() == 1;
        (0..count.get())
            .map(|image| {
                let pixels = Signal::derive(move || image_of(lab, image));
                let label = Signal::derive(move || label_of(lab, image));
                let picture = view! { <Picture pixels label /> };
                match one {
                    true => picture.into_any(),
                    false => view! {
                        <button
                            class="tile"
                            aria-pressed=move || (looked_at.get() == image).to_string()
                            on:click=move |_| looked_at.set(image)
                        >
                            {picture}
                            <span class="caption" aria-hidden="true">{move || (count.get() == 10).then(|| class_of(lab, image))}</span>
                        </button>
                    }
                    .into_any(),
                }
            })
            .collect_view()
    };
    let grid = move || match count.get() {
        1 => "pictures one",
        4 => "pictures four",
        10 => "pictures ten",
        _ => "pictures many",
    };
    let waiting = move || chain.with(|chain| chain.newest.is_none());
    view! {
        <div class="desk">
            <section class="stage" aria-label="Stage" data-step=move || chain.with(|c| c.step()) data-phase=move || format!("{:?}", chain.with(|c| c.phase))>
                <div class=grid class:waiting=waiting>
                    {pictures}
                    {move || waiting().then(|| view! {
                        <img class="prepared" src=move || lab.samples().dream() alt="" />
                        <p class="prepared-note">"drawn earlier, while this page loads"</p>
                    })}
                </div>
                <Transport chain image=looked_at />
                <Lines />
            </section>
            <Later><Choices /></Later>
            <div class="readings">
                <Later>
                    <Curve chain />
                    <Probabilities chain image=looked_at />
                </Later>
            </div>
        </div>
        <Later><Explanation chain /></Later>
    }
}

fn image_of(lab: Lab, image: usize) -> Shown {
    let shape = lab
        .model
        .with(|model| model.as_ref().map(|model| model.shape()))?;
    let pixels = lab.dream.with(|chain| {
        let frame = chain.shown()?;
        frame.pixels.chunks(shape.len()).nth(image).map(Arc::from)
    })?;
    Some((shape, pixels))
}

fn label_of(lab: Lab, image: usize) -> String {
    format!(
        "Dream of {}",
        class_of(lab, image).unwrap_or_else(|| "a class".into())
    )
}

/// The name of the class intended.
fn class_of(lab: Lab, image: usize) -> Option<String> {
    let class = lab
        .dream
        .with(|chain| chain.plan.classes.get(image).copied());
    lab.model
        .with(|m| m.as_ref()?.model.class_names.get(class?).cloned())
}

/// What to dream of, and how.
#[component]
fn Choices() -> impl IntoView {
    let lab = expect_context::<Lab>();
    // Whatever determines the chain begins it again.
    let change = move |change: &dyn Fn(&mut Dream)| {
        lab.settings.update(|settings| change(&mut settings.dream));
        lab.restart();
    };
    let dream = move || lab.settings.with(|settings| settings.dream.clone());
    let locked = RwSignal::new(false);
    let pick = move |class: ClassChoice| {
        // Another class is another dream; a lock keeps the noise it starts from.
        let seed = rolled_seed();
        let again = dream().class == class && !locked.get_untracked();
        change(&move |dream| {
            dream.class = class;
            if again {
                dream.seed = seed;
            }
        });
    };
    let start = move || {
        lab.model
            .with(|m| m.as_ref().map(|m| dream().start(&m.model)))
    };
    let columns = move || {
        lab.dream.with(|chain| match chain.plan.classes.len() {
            10 => 5,
            16 => 4,
            n => n.clamp(1, 4),
        })
    };
    let what = move || {
        let what = match dream().class {
            ClassChoice::All => Some("all classes".into()),
            ClassChoice::One(_) => class_of(lab, 0),
        };
        what.unwrap_or_default()
    };
    let save = move |_| {
        if let Some(frame) = lab.dream.with(|chain| chain.shown().cloned()) {
            lab.save(&frame.pixels, columns(), &what());
        }
    };
    let film = move |_| lab.save_film(lab.dream, columns(), &what());
    view! {
        <section class="choices" aria-label="What should it dream of?">
            <h2>"What should it dream of?"</h2>
            <div class="chips" role="group" aria-label="Class">
                <For
                    each=move || classes(lab).into_iter().enumerate()
                    key=|(i, (name, _))| (*i, name.clone())
                    children=move |(i, (name, _))| {
                        let mean = Signal::derive(move || classes(lab).get(i).and_then(|(_, mean)| mean.clone()));
                        let name_again = name.clone();
                        let label = Signal::derive(move || format!("Mean image of {name_again}"));
                        view! {
                            <button
                                class=format!("chip class-{}", i % 10)
                                aria-pressed=move || (dream().class == ClassChoice::One(i)).to_string()
                                on:click=move |_| pick(ClassChoice::One(i))
                            >
                                <span class="mean" aria-hidden="true">
                                    {move || match mean.with(Option::is_some) {
                                        true => view! { <Picture pixels=mean label /> }.into_any(),
                                        false => view! { <img class="picture" src=move || lab.samples().class_mean(i) alt="" /> }.into_any(),
                                    }}
                                </span>
                                <span class="name">{name}</span>
                            </button>
                        }
                    }
                />
                <button
                    class="chip all"
                    aria-pressed=move || (dream().class == ClassChoice::All).to_string()
                    on:click=move |_| pick(ClassChoice::All)
                >
                    "all at once"
                </button>
            </div>

            <div class="row">
                <ClassField
                    label="mixed with" any="nothing"
                    chosen=Signal::derive(move || dream().mixed.map(|(class, _)| class))
                    choose=move |class| change(&move |dream| {
                        let share = dream.mixed.map_or(50, |(_, share)| share);
                        dream.mixed = class.map(|class| (class, share));
                    })
                />
                <Show when=move || dream().mixed.is_some()>
                    <Slider
                        label=Signal::derive(move || format!("{} % of it", dream().mixed.map_or(0, |(_, share)| share)))
                        value=Signal::derive(move || dream().mixed.map_or(0.0, |(_, share)| share as f32))
                        set=move |share| change(&move |dream| {
                            dream.mixed = dream.mixed.map(|(class, _)| (class, share as u32));
                        })
                        max=100.0 step=5.0
                    />
                </Show>
            </div>
            <div class="row">
                <SeedField
                    seed=Signal::derive(move || dream().seed)
                    set=move |seed| change(&move |dream| dream.seed = seed)
                    title="Another seed"
                />
                <label class="check" title="Picking the class once more draws the same picture, rather than another">
                    <input type="checkbox" prop:checked=locked on:change=move |event| locked.set(event_target_checked(&event)) />
                    <span>"keep the seed"</span>
                </label>
                <label class="field">
                    <span>"images"</span>
                    <select
                        prop:value=move || dream().images.to_string()
                        disabled=move || dream().class == ClassChoice::All
                        on:change=move |event| {
                            let images = event_target_value(&event).parse().unwrap_or(1);
                            change(&move |dream| dream.images = images);
                        }
                    >
                        <option value="1">"1"</option>
                        <option value="4">"4"</option>
                        <option value="16">"16"</option>
                    </select>
                </label>
            </div>

            <div class="row">
                <label class="check" title="What lies between the noise of two seeds is noise too, and leads to other pictures">
                    <input
                        type="checkbox"
                        prop:checked=move || dream().morph.is_some()
                        on:change=move |event| {
                            let morph = event_target_checked(&event).then(|| (rolled_seed(), 50));
                            change(&move |dream| dream.morph = morph);
                        }
                    />
                    <span>"morph to another seed"</span>
                </label>
                <Show when=move || dream().morph.is_some()>
                    <SeedField
                        label="other seed"
                        seed=Signal::derive(move || dream().morph.map_or(0, |(seed, _)| seed))
                        set=move |seed| change(&move |dream| dream.morph = dream.morph.map(|(_, share)| (seed, share)))
                        title="Another seed to morph to"
                    />
                    <Slider
                        label=Signal::derive(move || format!("{} % of the way to it", dream().morph.map_or(0, |(_, share)| share)))
                        value=Signal::derive(move || dream().morph.map_or(0.0, |(_, share)| share as f32))
                        set=move |share| change(&move |dream| {
                            dream.morph = dream.morph.map(|(seed, _)| (seed, share as u32));
                        })
                        max=100.0 step=1.0
                    />
                </Show>
            </div>

            <fieldset class="row starts">
                <legend>"start from"</legend>
                {[("noise", StartChoice::Noise), ("class", StartChoice::Class)].map(|(name, choice)| view! {
                    <label class="check">
                        <input
                            type="radio" name="start" value=name
                            prop:checked=move || start() == Some(choice)
                            on:change=move |_| change(&move |dream| dream.start = Some(choice))
                        />
                        <span>{name}</span>
                    </label>
                }).collect_view()}
                <FileButton label="my image" accept="image/png,image/jpeg,image/webp" />
                {move || (start() == Some(StartChoice::Image)).then(|| view! { <span class="hint">"from your image"</span> })}
            </fieldset>

            <details class="sampler">
                <summary>"sampler"</summary>
                <SamplerFields />
            </details>

            <div class="row actions">
                <button on:click=save>"save PNG"</button>
                <button on:click=film title="The chain as an animated picture">"save GIF"</button>
                <CopyLink />
            </div>
        </section>
    }
}

/// Names and mean images of the classes.
fn classes(lab: Lab) -> Vec<(String, Shown)> {
    lab.model.with(|in_use| {
        let Some(in_use) = in_use else {
            let names = lab.samples().class_names();
            return names.map(|name| (name.to_owned(), None)).into();
        };
        let means = in_use.means.chunks(in_use.shape().len());
        let pictures = means.map(|mean| Some((in_use.shape(), mean.into())));
        in_use
            .model
            .class_names
            .iter()
            .cloned()
            .zip(pictures)
            .collect()
    })
}

/// Numbers of the sampler.
#[component]
fn SamplerFields() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let plan = Memo::new(move |_| {
        let dream = lab.settings.with(|settings| settings.dream.clone());
        lab.model
            .with(|model| model.as_ref().map(|model| dream.plan(&model.model)))
    });
    let text = move |read: fn(&basin_protocol::Plan) -> String| {
        Signal::derive(move || plan.with(|plan| plan.as_ref().map(read).unwrap_or_default()))
    };
    let kind = Memo::new(move |_| {
        plan.with(|plan| plan.as_ref().map(|plan| SamplerKind::of(&plan.sampler)))
    });
    let by_distance = move || kind.get() == Some(SamplerKind::ByDistance);
    let tells = move || {
        lab.model
            .with(|model| model.as_ref().is_some_and(|m| m.model.distances.is_some()))
    };
    let change = move |change: &dyn Fn(&mut Dream)| {
        lab.settings.update(|settings| change(&mut settings.dream));
        lab.restart();
    };
    let set_energy = move |event| {
        let energy = match event_target_value(&event).as_str() {
            "marginal" => EnergyKind::Marginal,
            "conditional" => EnergyKind::Conditional,
            _ => EnergyKind::Joint,
        };
        change(&move |dream| dream.energy = Some(energy));
    };
    let set_kind = move |event| {
        let kind = match event_target_value(&event).as_str() {
            "distance" => SamplerKind::ByDistance,
            _ => SamplerKind::Langevin,
        };
        change(&move |dream| {
            dream.sampler = SamplerChoice {
                kind: Some(kind),
                ..SamplerChoice::default()
            };
        });
    };
    let quick = move |_| {
        let quick = lab.model.with(|model| {
            let dream = lab.settings.with(|settings| settings.dream.clone());
            model.as_ref().map(|model| dream.quick(&model.model))
        });
        if let Some(quick) = quick {
            change(&move |dream| *dream = quick.clone());
        }
    };
    view! {
        <div class="fields">
            <NumberField
                label="steps" value=text(|plan| plan.steps.to_string())
                set=move |steps| {
                    lab.settings.update(|s| s.dream.steps = Some(steps as usize));
                    lab.goal_changed();
                }
                min=1.0 max=LONGEST_CHAIN as f64 step="1"
            />
            <Show when=tells>
                <label class="field">
                    <span>"sampler"</span>
                    <select prop:value=move || kind.get().map(SamplerKind::name) on:change=set_kind>
                        <option value="distance">"by distance"</option>
                        <option value="langevin">"Langevin dynamics"</option>
                    </select>
                </label>
            </Show>
            <Show
                when=by_distance
                fallback=move || view! {
                    <NumberField
                        label="step size" value=text(|plan| langevin(plan, |l| l.step_size))
                        set=move |v| change(&move |dream| dream.sampler.step_size = Some(v as f32)) min=0.0 max=1e4
                    />
                    <NumberField
                        label="noise" value=text(|plan| langevin(plan, |l| l.noise_std))
                        set=move |v| change(&move |dream| dream.sampler.noise_std = Some(v as f32)) min=0.0 max=1.0
                    />
                    <NumberField
                        label="friction" value=text(|plan| langevin(plan, |l| l.friction))
                        set=move |v| change(&move |dream| dream.sampler.friction = Some(v as f32)) min=0.0 max=0.99
                    />
                }
            >
                <NumberField
                    label="share of the way, h" value=text(|plan| distance(plan, |d| d.h))
                    set=move |v| change(&move |dream| dream.sampler.h = Some(v as f32)) min=0.01 max=1.0
                />
                <NumberField
                    label="noise taken away, β" value=text(|plan| distance(plan, |d| d.beta))
                    set=move |v| change(&move |dream| dream.sampler.beta = Some(v as f32)) min=0.0 max=1.0
                />
            </Show>
            <label class="field">
                <span>"energy"</span>
                <select prop:value=text(|plan| dream::energy_name(plan.energy).into()) on:change=set_energy>
                    <option value="joint">"E(x, y): this class"</option>
                    <option value="marginal">"E(x): any image"</option>
                    <Show when=move || !by_distance()>
                        <option value="conditional">"E(y | x): no other class"</option>
                    </Show>
                </select>
            </label>
            <div class="row">
                <button on:click=quick title="Few steps">"quick"</button>
                <button on:click=move |_| change(&|dream| *dream = dream.recommended()) title="What the model recommends">"best"</button>
            </div>
        </div>
    }
}

/// A number of Langevin dynamics, where a plan has it.
fn langevin(plan: &basin_protocol::Plan, number: fn(&Sgld) -> f32) -> String {
    match &plan.sampler {
        Sampler::Sgld(langevin) => number(langevin).to_string(),
        Sampler::ByDistance(_) => String::new(),
    }
}

/// A number of steps by distance, where a plan has it.
fn distance(plan: &basin_protocol::Plan, number: fn(&ByDistance) -> f32) -> String {
    match &plan.sampler {
        Sampler::ByDistance(by_distance) => number(by_distance).to_string(),
        Sampler::Sgld(_) => String::new(),
    }
}

/// A button that takes a file.
#[component]
pub fn FileButton(
    label: &'static str,
    accept: &'static str,
    /// Of a phone or a tablet, the camera rather than a file.
    #[prop(optional)]
    camera: bool,
) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let chosen = move |event: web_sys::Event| {
        let input: web_sys::HtmlInputElement = event_target(&event);
        if let Some(file) = input.files().and_then(|files| files.get(0)) {
            lab.take_file(file);
        }
        // The same file may be chosen again.
        input.set_value("");
    };
    view! {
        <label class="file" class:camera=camera>
            <input type="file" accept=accept capture=camera.then_some("environment") on:change=chosen />
            <span>{label}</span>
        </label>
    }
}
