//! Noising a picture and having the model clean it: the view.

use std::sync::Arc;

use basin_protocol::{Plan, Sampler};
use leptos::prelude::*;

use crate::{
    activities::{Activity, LONGEST_CHAIN, denoise::Denoise, picture_choice::PictureChoice},
    images,
    lab::{Lab, chain::Chain},
    page::{
        curve::{Curve, Probabilities},
        explanation::Explanation,
        stage::{CopyLink, Lines, NumberField, Picture, SeedField, Shown, Slider, Transport},
    },
};

/// Which of the cleaned pictures is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    BestGuess,
    Sharp,
}

/// The tab.
#[component]
pub fn DenoiseTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let chain = lab.denoise;
    let wipe = RwSignal::new(50.0_f64);
    let before = Memo::new(move |_| {
        picture(lab, |lab| {
            lab.denoise.with(|c| c.first().map(|f| f.pixels.clone()))
        })
    });
    let sharp = Memo::new(move |_| {
        picture(lab, |lab| {
            lab.denoise.with(|c| c.shown().map(|f| f.pixels.clone()))
        })
    });
    let guess = Memo::new(move |_| {
        picture(lab, |lab| {
            let guessed = |c: &Chain| {
                c.newest
                    .as_ref()
                    .filter(|f| f.step == 1)
                    .map(|f| f.pixels.clone())
            };
            lab.guess.with(guessed)
        })
    });
    let clean = Memo::new(move |_| picture(lab, |lab| lab.clean.get()));
    let way = RwSignal::new(Way::Sharp);
    // A model that tells no distance has but one way.
    let shown = move || {
        if guess.with(Option::is_some) {
            way.get()
        } else {
            Way::Sharp
        }
    };
    let after = Signal::derive(move || match shown() {
        Way::Sharp => sharp.get(),
        Way::BestGuess => guess.get(),
    });
    // Without added noise, the visitor's picture may be the noisy one: what is clean is not known.
    let noised = move || lab.settings.with(|settings| settings.denoise.sigma) > 0.0;
    let noisy = Memo::new(move |_| {
        let ((_, before), (_, clean)) = (before.get()?, clean.get()?);
        noised().then(|| images::psnr(&before, &clean))
    });
    let quality = move |of: Memo<Shown>| {
        Memo::new(move |_| {
            let ((_, x), (_, clean)) = (of.get()?, clean.get()?);
            noised().then(|| images::psnr(&x, &clean))
        })
    };
    let (of_sharp, of_guess) = (quality(sharp), quality(guess));
    let of_blur = Memo::new(move |_| {
        let ((shape, before), (_, clean)) = (before.get()?, clean.get()?);
        noised().then(|| images::best_blur(shape, &before, &clean))
    });
    let reached = move |psnr: Memo<Option<f32>>| match (noisy.get(), psnr.get()) {
        (Some(noisy), Some(psnr)) => format!("{psnr:.1} dB ({:+.1})", psnr - noisy),
        _ => "unknown without a clean image".into(),
    };
    let gain = move || match (noisy.get(), of_sharp.get()) {
        (Some(noisy), Some(sharp)) => format!("{:.2}", sharp - noisy),
        _ => String::new(),
    };
    let plain = move |psnr: Memo<Option<f32>>| psnr.get().map(|psnr| format!("{psnr:.2}"));
    let ways = [(Way::BestGuess, "best guess"), (Way::Sharp, "sharp")];
    view! {
        <div class="desk">
            <section class="stage" aria-label="Stage" data-step=move || chain.with(|c| c.step()) data-phase=move || format!("{:?}", chain.with(|c| c.phase))>
                <div class="pictures wipe" style=("--wipe", move || format!("{}%", wipe.get()))>
                    <div class="layer before"><Picture pixels=before label="The noisy picture".to_owned() /></div>
                    <div class="layer after"><Picture pixels=after label="The cleaned picture".to_owned() /></div>
                    <span class="tag left" aria-hidden="true">"noisy"</span>
                    <span class="tag right" aria-hidden="true">"cleaned"</span>
                </div>
                <input
                    type="range" class="wiper" min="0" max="100"
                    aria-label="Wipe between noisy and cleaned"
                    prop:value=move || wipe.get()
                    on:input=move |event| wipe.set(crate::numbers::read(&event_target_value(&event)).unwrap_or(50.0))
                />
                <Transport chain />
                <Lines />
                <Show when=move || guess.with(Option::is_some)>
                    <div class="row" role="radiogroup" aria-label="Which cleaned picture">
                        {ways.map(|(kind, name)| view! {
                            <label class="check">
                                <input
                                    type="radio" name="way" value=name
                                    prop:checked=move || way.get() == kind
                                    on:change=move |_| way.set(kind)
                                />
                                <span>{name}</span>
                            </label>
                        })}
                    </div>
                </Show>
                <dl class="psnr" data-psnr-gain=gain data-psnr-guess=move || plain(of_guess) data-psnr-blur=move || plain(of_blur)>
                    <dt>"noisy"</dt>
                    <dd>{move || noisy.get().map(|psnr| format!("PSNR {psnr:.1} dB"))}</dd>
                    <Show when=move || guess.with(Option::is_some)>
                        <dt>"best guess, one step"</dt><dd>{move || reached(of_guess)}</dd>
                    </Show>
                    <dt>"sharp, the chain"</dt><dd>{move || reached(of_sharp)}</dd>
                    <dt>"the best Gaussian blur reaches"</dt><dd>{move || reached(of_blur)}</dd>
                </dl>
            </section>
            <Choices clean guess />
            <div class="readings">
                <Curve chain />
                <Probabilities chain image=Signal::derive(|| 0) />
            </div>
        </div>
        <Explanation chain />
    }
}

fn picture(lab: Lab, pixels: impl Fn(Lab) -> Option<Arc<[f32]>>) -> Shown {
    let shape = lab
        .model
        .with(|model| model.as_ref().map(|model| model.shape()))?;
    let pixels = pixels(lab).filter(|pixels| pixels.len() == shape.len())?;
    Some((shape, pixels))
}

/// What to clean, and how.
#[component]
fn Choices(clean: Memo<Shown>, guess: Memo<Shown>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let denoise = move || lab.settings.with(|settings| settings.denoise.clone());
    let change = move |change: &dyn Fn(&mut Denoise)| {
        lab.settings
            .update(|settings| change(&mut settings.denoise));
        lab.restart();
    };
    let plan = move || {
        lab.model
            .with(|m| m.as_ref().map(|m| denoise().plan(&m.model)))
    };
    let save = move |_| {
        let shown = lab.denoise.with(|c| c.shown().map(|f| f.pixels.clone()));
        if let Some(pixels) = shown {
            lab.save(&pixels, 1, "cleaned");
        }
    };
    view! {
        <section class="choices" aria-label="What should it clean?">
            <h2>"What should it clean?"</h2>
            <PictureChoice
                chosen=Signal::derive(move || denoise().picture)
                choose=move |picture| change(&move |denoise| denoise.picture = picture)
            />
            <Slider
                label=Signal::derive(move || format!("noise {:.2}", denoise().sigma))
                value=Signal::derive(move || denoise().sigma)
                set=move |sigma| change(&move |denoise| denoise.sigma = sigma)
                max=1.0 step=0.05
            />
            <div class="row">
                <SeedField
                    seed=Signal::derive(move || denoise().seed)
                    set=move |seed| change(&move |denoise| denoise.seed = seed)
                    title="Other noise"
                />
                <NumberField
                    label="steps"
                    value=Signal::derive(move || plan().map(|plan| plan.steps.to_string()).unwrap_or_default())
                    set=move |steps| {
                        lab.settings.update(|s| s.denoise.steps = Some(steps as usize));
                        lab.goal_changed();
                    }
                    min=1.0 max=LONGEST_CHAIN as f64 step="1"
                />
                <NumberField
                    label="step size"
                    value=Signal::derive(move || plan().map(|plan| step_size(&plan)).unwrap_or_default())
                    set=move |v| change(&move |denoise| {
                        let by_distance = plan().is_some_and(|plan| matches!(plan.sampler, Sampler::ByDistance(_)));
                        let number = match by_distance {
                            true => &mut denoise.sampler.h,
                            false => &mut denoise.sampler.step_size,
                        };
                        *number = Some(v as f32);
                    })
                    min=0.01 max=1e4
                />
            </div>
            <div class="row actions">
                <button class="primary" on:click=move |_| lab.restart()>"clean it"</button>
                <button on:click=save>"save PNG"</button>
                <CopyLink />
            </div>
            <div class="aside">
                <figure class="clean">
                    <Picture pixels=clean label="The picture before noise".to_owned() />
                    <figcaption>"before noise"</figcaption>
                </figure>
                <Show when=move || guess.with(Option::is_some)>
                    <figure class="clean">
                        <Picture pixels=guess label="The best guess".to_owned() />
                        <figcaption>"best guess: the mean of all pictures that it could be"</figcaption>
                    </figure>
                </Show>
            </div>
        </section>
    }
}

/// The size of a step, or the share of the way that it goes.
fn step_size(plan: &Plan) -> String {
    match plan.sampler {
        Sampler::Sgld(langevin) => langevin.step_size.to_string(),
        Sampler::ByDistance(by_distance) => by_distance.h.to_string(),
    }
}
