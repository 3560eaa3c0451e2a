//! Noising a picture and having the model clean it.

use std::sync::Arc;

use leptos::prelude::*;

use crate::{
    address::{Denoise, MOST_STEPS, Picture as Choice, SAMPLES},
    curve::{Curve, Probabilities},
    dream::FileButton,
    explanation::Explanation,
    images,
    lab::Lab,
    stage::{CopyLink, Lines, NumberField, Picture, Shown, Transport},
};

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
    let after = Memo::new(move |_| {
        picture(lab, |lab| {
            lab.denoise.with(|c| c.shown().map(|f| f.pixels.clone()))
        })
    });
    let clean = Memo::new(move |_| picture(lab, |lab| lab.clean.get()));
    let gain = Memo::new(move |_| {
        // Without added noise, the visitor's picture may be the noisy one: what is clean is not known.
        let sigma = lab.settings.with(|settings| settings.denoise.sigma);
        let ((_, before), (_, after), (_, clean)) = (before.get()?, after.get()?, clean.get()?);
        (sigma > 0.0).then(|| (images::psnr(&before, &clean), images::psnr(&after, &clean)))
    });
    let psnr = move || match gain.get() {
        Some((before, after)) => {
            format!("PSNR {before:.1} → {after:.1} dB ({:+.1})", after - before)
        }
        None => "PSNR unknown without a clean image".into(),
    };
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
                    on:input=move |event| wipe.set(event_target_value(&event).parse().unwrap_or(50.0))
                />
                <Transport chain />
                <Lines />
                <p class="psnr" data-psnr-gain=move || gain.get().map(|(b, a)| format!("{:.2}", a - b)).unwrap_or_default()>
                    {psnr}
                </p>
            </section>
            <Choices clean />
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
fn Choices(clean: Memo<Shown>) -> impl IntoView {
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
    let roll = move |_| {
        let seed = (js_sys::Math::random() * 1e4) as u32;
        change(&move |denoise| denoise.seed = seed);
    };
    let save = move |_| {
        let Some((shape, pixels)) = picture(lab, |lab| {
            lab.denoise.with(|c| c.shown().map(|f| f.pixels.clone()))
        }) else {
            return;
        };
        images::save_png(shape, &pixels, 1, "basin-cleaned.png");
    };
    view! {
        <section class="choices" aria-label="What should it clean?">
            <h2>"What should it clean?"</h2>
            <div class="samples" role="group" aria-label="Sample pictures">
                {(0..SAMPLES).map(|i| view! {
                    <button
                        aria-label=format!("Sample {}", i + 1)
                        aria-pressed=move || (denoise().picture == Choice::Sample(i)).to_string()
                        on:click=move |_| change(&move |denoise| denoise.picture = Choice::Sample(i))
                    >
                        <img src=move || lab.samples().sample(i) alt="" width="28" height="28" />
                    </button>
                }).collect_view()}
            </div>
            <div class="row">
                <FileButton label="choose a picture" accept="image/png,image/jpeg,image/webp" />
                <span class="hint">"or drop or paste one anywhere"</span>
            </div>
            <label class="slider">
                <span>"noise " <output>{move || format!("{:.2}", denoise().sigma)}</output></span>
                <input
                    type="range" min="0" max="1" step="0.05"
                    prop:value=move || denoise().sigma.to_string()
                    on:input=move |event| {
                        let sigma = event_target_value(&event).parse().unwrap_or(0.3);
                        change(&move |denoise| denoise.sigma = sigma);
                    }
                />
            </label>
            <div class="row">
                <NumberField
                    label="seed" value=Signal::derive(move || denoise().seed.to_string())
                    set=move |seed| change(&move |denoise| denoise.seed = seed as u32)
                    min=0.0 max=4294967295.0 step="1"
                />
                <button class="dice" on:click=roll title="Other noise" aria-label="Roll other noise">
                    <span aria-hidden="true">"⚄"</span>
                </button>
                <NumberField
                    label="steps"
                    value=Signal::derive(move || plan().map(|(_, steps)| steps.to_string()).unwrap_or_default())
                    set=move |steps| {
                        lab.settings.update(|s| s.denoise.steps = Some(steps as u32));
                        lab.goal_changed();
                    }
                    min=1.0 max=f64::from(MOST_STEPS) step="1"
                />
                <NumberField
                    label="step size"
                    value=Signal::derive(move || plan().map(|(plan, _)| plan.sampler.step_size.to_string()).unwrap_or_default())
                    set=move |v| change(&move |denoise| denoise.step_size = Some(v as f32))
                    min=0.0 max=1e4
                />
            </div>
            <div class="row actions">
                <button class="primary" on:click=move |_| lab.restart()>"clean it"</button>
                <button on:click=save>"save PNG"</button>
                <CopyLink />
            </div>
            <figure class="clean">
                <Picture pixels=clean label="The picture before noise".to_owned() />
                <figcaption>"before noise"</figcaption>
            </figure>
        </section>
    }
}
