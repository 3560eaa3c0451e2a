//! What is happening, in three sentences and one line of maths, with the chain's own numbers.

use basin_protocol::{Adversary, EnergyKind, GradientScaling, Model, Norm, Sampler};
use leptos::prelude::*;

use crate::{
    address::Tab,
    lab::{Lab, chain::Chain},
    page::energies,
};

/// The paragraph at the foot of the page.
#[component]
pub fn Explanation(chain: RwSignal<Chain>) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let sampler = move || chain.with(|chain| chain.plan.sampler);
    let energy = move || chain.with(|chain| chain.plan.energy);
    let class = move || {
        let class = chain.with(|chain| chain.plan.classes.first().copied())?;
        let all = chain.with(|chain| chain.plan.classes.iter().any(|&c| c != class));
        let name = |class: usize| {
            lab.model
                .with(|m| m.as_ref()?.model.class_names.get(class).cloned())
        };
        let wanted = match all {
            true => "each class".into(),
            false => format!("“{}”", name(class)?),
        };
        Some(match chain.with(|chain| chain.plan.mixture) {
            Some(mixture) => format!("something between {wanted} and “{}”", name(mixture.class)?),
            None => wanted,
        })
    };
    let wants = move || match (lab.settings.with(|s| s.tab), energy()) {
        (Tab::Denoise, _) => "what it takes for a likely picture".to_owned(),
        (Tab::Restore, _) => "a likely picture that agrees with what is known".to_owned(),
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
    let how = move || {
        if chain.with(|chain| chain.plan.adversary.is_some()) {
            return Some(format!(
                "An attack climbs: each step moves the picture to where the network is less sure of {}, as far as the \
                 radius lets it, and no eye would see it. A network that was trained against attacks has no steep way up \
                 close to a picture; that is also why its energy has a way down from noise that leads to pictures.",
                class().unwrap_or_else(|| "the class".into())
            ));
        }
        match sampler() {
        Sampler::ByDistance(by_distance) => lab.model.with(|in_use| {
            let [at_noise, at_picture] = in_use.as_ref().and_then(|in_use| ends(&in_use.model, energy()))?;
            if chain.with(|chain| chain.plan.known.is_some()) {
                return Some(format!(
                    "Each picture begins as the plainest that agrees with what is known, under noise. Where the picture is \
                     known, what a step must take away is known too, and tells how much noise is left everywhere; each step \
                     goes a share of the way toward {}. Four chains with other noise end at four pictures that all fit.",
                    wants()
                ));
            }
            Some(format!(
                "The energy of this one also tells how far a picture is from those that it knows: {at_noise:.0} of \
                 pure noise, {at_picture:.0} of a clean picture. Each step reads that distance d̂ off and goes a share of \
                 the way toward {}{}. So the steps get shorter by themselves, and end at a picture.",
                wants(),
                match by_distance.beta < 1.0 {
                    true => "; it puts some of the noise back, so that no two dreams are alike",
                    false => "",
                }
            ))
        }),
        Sampler::Sgld(langevin) => Some(format!(
            "Each step moves every pixel a little downhill, toward {}{}",
            wants(),
            match langevin.noise_std > 0.0 {
                true => ", and adds a little noise so that no two dreams are alike: that is Langevin dynamics.",
                false => ". Langevin dynamics would add noise at each step; here there is none, so only the start is random.",
            }
        )),
    }
    };
    view! {
        <section class="explanation" aria-labelledby="happening">
            <h2 id="happening">"What is happening"</h2>
            <p>
                "This network was trained to tell pictures apart. Read backwards, its outputs are an "
                <em>"energy"</em>": low for pictures it finds likely, high for the rest. "
                {how}
                {so_far}
            </p>
            <p class="maths" hidden=move || chain.with(|chain| chain.newest.is_none())>
                {move || match chain.with(|chain| chain.plan.adversary) {
                    Some(adversary) => climb(&adversary, energies::symbol(energy())).into_any(),
                    None => maths(sampler(), energies::symbol(energy())).into_any(),
                }}
            </p>
        </section>
    }
}

/// The farthest and the nearest distance that an energy tells.
fn ends(model: &Model, kind: EnergyKind) -> Option<[f32; 2]> {
    let told = |energy| energies::distance(model, kind, energy);
    Some([told(f32::INFINITY)?, told(f32::NEG_INFINITY)?])
}

/// A step of an attack in symbols, with its numbers.
fn climb(adversary: &Adversary, symbol: &'static str) -> impl IntoView {
    let direction = match adversary.budget.norm {
        Norm::Linf => format!("sign ∇{symbol}"),
        Norm::L2 => format!("∇{symbol} / ‖∇{symbol}‖"),
    };
    view! {
        <i>"x"</i>" ← Π("<i>"x"</i>" + "{format!("{:.4}", adversary.step_size)}" · "{direction}
        "),  Π: back to within "{format!("{:.4}", adversary.budget.epsilon)}" and to [0, 1]"
    }
}

/// A step in symbols, with its numbers.
fn maths(sampler: Sampler, symbol: &'static str) -> impl IntoView {
    let number = |value: f32| format!("{value}");
    match sampler {
        Sampler::ByDistance(sampler) => view! {
            <i>"x"</i>" ← "<i>"x"</i>" − "{number(sampler.h)}" · c("{symbol}") ∇"{symbol}
            {(sampler.beta < 1.0).then(|| {
                let kept = (1.0 - sampler.beta * sampler.h).powi(2) - (1.0 - sampler.h).powi(2);
                view! { " + "{format!("{:.2}", kept.max(0.0).sqrt())}" · d̂/√D · "<i>"ξ"</i> }
            })}
        }
        .into_any(),
        Sampler::Sgld(langevin) => {
            let gradient = match langevin.gradient {
                GradientScaling::Raw => format!("∇{symbol}"),
                GradientScaling::Clamp(limit) => format!("∇{symbol} within ±{limit}"),
                GradientScaling::Normalize => format!("∇{symbol} / ‖∇{symbol}‖"),
            };
            view! {
                <i>"x"</i>" ← "<i>"x"</i>" − "{number(langevin.step_size)}" · "{gradient}
                {(langevin.friction > 0.0).then(|| format!(" + {} · the last move", langevin.friction))}
                {(langevin.noise_std > 0.0).then(|| view! { " + "{number(langevin.noise_std)}" · "<i>"ξ"</i> })}
            }
            .into_any()
        }
    }
}
