//! The next step of a chain taken apart: the image, the gradient, what they make of each other, and the noise.

use basin_protocol::{Dissection, GradientScaling, Norm, Sampler};
use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

use crate::{
    images,
    lab::{
        Lab,
        chain::{Chain, Phase},
    },
    page::{
        energies,
        stage::{Picture, Shown},
    },
};

/// Opened beneath a chain's transport; opening it holds the chain.
#[component]
pub fn OneStep(chain: RwSignal<Chain>, #[prop(into)] image: Signal<usize>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let open = RwSignal::new(false);
    let toggled = move |event: ev::Event| {
        let details: Option<web_sys::HtmlDetailsElement> =
            event.target().and_then(|target| target.dyn_into().ok());
        let is_open = details.is_some_and(|details| details.open());
        if is_open {
            lab.pause();
        }
        open.set(is_open);
    };
    let rests = Memo::new(move |_| {
        chain.with(|chain| {
            let still = matches!(chain.phase, Phase::Paused | Phase::Finished);
            let frame = chain.shown().filter(|_| still)?;
            Some((chain.id, frame.step))
        })
    });
    Effect::new(move || {
        if open.get() && rests.get().is_some() {
            lab.dissect(chain, image.get());
        }
    });
    view! {
        <details class="one-step" on:toggle=toggled>
            <summary>"one step, taken apart"</summary>
            {move || open.get().then(|| match rests.get() {
                Some(_) => view! { <Apart chain /> }.into_any(),
                None => view! { <p class="hint">"While the chain runs there is nothing to take apart: hold it."</p> }.into_any(),
            })}
        </details>
    }
}

/// Its pictures and numbers.
#[component]
fn Apart(chain: RwSignal<Chain>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let step = move || {
        lab.dissection
            .with(|found| found.as_ref().map(|(step, _)| *step))
    };
    let part = move |which: usize| {
        let shape = lab.model.with(|m| m.as_ref().map(|m| m.shape()))?;
        lab.dissection.with(|found| {
            let (_, parts) = found.as_ref()?;
            Some((shape, parts.chunks(shape.len()).nth(which)?.to_vec()))
        })
    };
    let plain = move |which| {
        Memo::new(move |_| -> Shown { part(which).map(|(shape, x)| (shape, x.into())) })
    };
    let magnified = move |which, sign: f32| {
        Memo::new(move |_| -> Shown {
            let (shape, x) = part(which)?;
            let x: Vec<f32> = x.iter().map(|x| sign * x).collect();
            Some((shape, images::magnified(&x)))
        })
    };
    let length = move |which| part(which).map(|(_, x)| format!("length {:.3}", images::length(&x)));
    let energy = move || {
        let step = step()?;
        let distance = step.distance.map(|distance| format!(", d̂ = {distance:.1}"));
        Some(format!(
            "energy {}{}",
            energies::text(step.energy, 2),
            distance.unwrap_or_default()
        ))
    };
    let [x, next] = [0, 4].map(plain);
    let [downhill, drift, noise] =
        [(1, -1.0), (2, 1.0), (3, 1.0)].map(|(which, sign)| magnified(which, sign));
    let climbs = move || chain.with(|chain| chain.plan.adversary.is_some());
    view! {
        <div class="parts">
            <figure><Picture pixels=x label="x, the picture before the step" /><figcaption><i>"x"</i><br/>{energy}</figcaption></figure>
            <figure>
                <Picture pixels=downhill label="The direction downhill, magnified" />
                <figcaption>"−∇E, magnified"<br/>{move || length(1)}</figcaption>
            </figure>
            <figure>
                <Picture pixels=drift label="What the step adds of it, magnified" />
                <figcaption>{move || if climbs() { "uphill, magnified" } else { "the step, magnified" }}<br/>{move || length(2)}</figcaption>
            </figure>
            <figure>
                <Picture pixels=noise label="The noise, magnified" />
                <figcaption>"noise, magnified"<br/>{move || length(3)}</figcaption>
            </figure>
            <figure><Picture pixels=next label="The picture after the step" /><figcaption>"next "<i>"x"</i></figcaption></figure>
        </div>
        <p class="maths" data-formula>{move || step().map(|step| chain.with(|chain| formula(chain, &step)))}</p>
    }
}

/// The step with its very numbers.
fn formula(chain: &Chain, step: &Dissection) -> String {
    if let Some(adversary) = chain.plan.adversary {
        let direction = match adversary.budget.norm {
            Norm::Linf => "sign ∇E",
            Norm::L2 => "∇E / ‖∇E‖",
        };
        return format!(
            "next x = x + {:.4} · {direction}, back to within {:.4}",
            adversary.step_size, adversary.budget.epsilon
        );
    }
    let noise = match step.noise_std > 0.0 {
        true => format!(" + {:.4} · ξ", step.noise_std),
        false => String::new(),
    };
    let (gradient, friction) = match chain.plan.sampler {
        Sampler::ByDistance(_) => ("∇E".to_owned(), 0.0),
        Sampler::Sgld(langevin) => (
            match langevin.gradient {
                GradientScaling::Raw => "∇E".into(),
                GradientScaling::Clamp(limit) => format!("(∇E within ±{limit})"),
                GradientScaling::Normalize => "∇E / ‖∇E‖".into(),
            },
            langevin.friction,
        ),
    };
    let momentum = match friction > 0.0 {
        true => "; what friction keeps of the step before is left out",
        false => "",
    };
    match step.factor {
        Some(factor) => format!("next x = x − {factor:.4} · {gradient}{noise}{momentum}"),
        None => format!("next x = x + a step toward what fits the known part{noise}"),
    }
}
