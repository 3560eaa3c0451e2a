//! What is happening, in three sentences and one line of maths, with the chain's own numbers.

use basin_protocol::{EnergyKind, Gradient};
use leptos::prelude::*;

use crate::{address::Tab, chain::Chain, energies, lab::Lab};

/// The paragraph at the foot of the page.
#[component]
pub fn Explanation(chain: RwSignal<Chain>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let sampler = move || chain.with(|chain| chain.plan.sampler);
    let number = |value: f32| format!("{value}");
    let energy = move || chain.with(|chain| chain.plan.energy);
    let gradient = move || {
        let symbol = energies::symbol(energy());
        match sampler().gradient {
            Gradient::Raw => format!("∇{symbol}"),
            Gradient::Clamp(limit) => format!("∇{symbol} within ±{limit}"),
            Gradient::Normalize => format!("∇{symbol} / ‖∇{symbol}‖"),
        }
    };
    let class = move || {
        let class = chain.with(|chain| chain.plan.classes.first().copied())?;
        let all = chain.with(|chain| chain.plan.classes.iter().any(|&c| c != class));
        let name = lab
            .model
            .with(|m| m.as_ref()?.model.class_names.get(class).cloned())?;
        Some(if all {
            "each class".into()
        } else {
            format!("“{name}”")
        })
    };
    let wants = move || match (lab.settings.with(|s| s.tab), energy()) {
        (Tab::Denoise, _) => "what it takes for a likely picture".to_owned(),
        (_, EnergyKind::Marginal) => "any picture it knows".to_owned(),
        _ => class().unwrap_or_else(|| "the class".into()),
    };
    let so_far = move || {
        chain.with(|chain| {
            let (from, to) = (
                chain.mean_energy(0)?,
                chain.mean_energy(chain.step() as usize)?,
            );
            let steps = chain.step();
            let [from, to] = [from, to].map(|energy| energies::text(energy, 1));
            Some(format!(
                " In {steps} steps this chain went from {from} to {to}."
            ))
        })
    };
    view! {
        <section class="explanation" aria-labelledby="happening">
            <h2 id="happening">"What is happening"</h2>
            <p>
                "This network was trained to tell pictures apart. Read backwards, its outputs are an "
                <em>"energy"</em>": low for pictures it finds likely, high for the rest. Each step moves every pixel a little downhill, toward "
                {wants}
                {move || match sampler().noise_std > 0.0 {
                    true => ", and adds a little noise so that no two dreams are alike: that is Langevin dynamics.",
                    false => ". Langevin dynamics would add noise at each step; here there is none, so only the start is random.",
                }}
                {so_far}
            </p>
            <p class="maths" hidden=move || chain.with(|chain| chain.newest.is_none())>
                <i>"x"</i>" ← "<i>"x"</i>" − "{move || number(sampler().step_size)}" · "{gradient}
                {move || (sampler().friction > 0.0).then(|| format!(" + {} · the last move", sampler().friction))}
                {move || (sampler().noise_std > 0.0).then(|| view! { " + "{number(sampler().noise_std)}" · "<i>"ξ"</i> })}
            </p>
        </section>
    }
}
