//! The energy over the steps: a thin line for each image, and the mean where there are several.

use basin_protocol::EnergyKind;
use leptos::prelude::*;

use crate::{
    activities::dream::ClassChoice,
    address::Tab,
    lab::chain::{ATTACKED, Chain},
    page::energies,
};

const WIDTH: f32 = 320.0;
const HEIGHT: f32 = 96.0;
/// Most points of a line: more than that no screen shows.
const MOST_POINTS: usize = 160;

/// The curve and its two ends.
#[component]
pub fn Curve(
    chain: RwSignal<Chain>,
    /// Of several, whose this is.
    #[prop(optional, into)]
    of: Signal<String>,
) -> impl IntoView {
    let lines = Memo::new(move |_| chain.with(lines));
    let symbol = move || chain.with(|chain| energies::symbol(chain.plan.energy));
    let mean = move |step: usize| chain.with(|chain| chain.mean_energy(step));
    let first = move || mean(0).map(|e| format!("{e:.2}")).unwrap_or_default();
    let now = Memo::new(move |_| {
        chain.with(|chain| chain.mean_energy(chain.shown().map_or(0, |frame| frame.step) as usize))
    });
    let now_plain = move || now.get().map(|e| format!("{e:.2}")).unwrap_or_default();
    let now_text = move || now.get().map(|e| energies::text(e, 2)).unwrap_or_default();
    let lab = expect_context::<crate::lab::Lab>();
    // That of the mean energy; of one image, its own.
    let distance = Memo::new(move |_| {
        let kind = chain.with(|chain| chain.plan.energy);
        let in_use = lab.model.get()?;
        energies::distance(&in_use.model, kind, now.get()?)
    });
    // The two of an attack, which the lines are of.
    let both = move || {
        chain.with(|chain| {
            let class = chain
                .plan
                .adversary
                .and(chain.plan.classes.first().copied())?;
            let found = chain.energies.get(chain.shown()?.step as usize)?;
            let line = |(kind, &energy)| {
                let of_class = match kind {
                    EnergyKind::Joint => format!("key {}", class_name(class)),
                    _ => "key".into(),
                };
                view! {
                    <p class="distance">
                        <span class=of_class>{energies::symbol(kind)}</span>
                        <output>{energies::text(energy, 2)}</output>
                    </p>
                }
            };
            Some(ATTACKED.into_iter().zip(found).map(line).collect_view())
        })
    };
    let cursor = move || {
        chain.with(|chain| {
            let frame = chain.shown()?;
            Some(frame.step as f32 / chain.goal.max(frame.step).max(1) as f32 * WIDTH)
        })
    };
    let (least, most) = (
        move || lines.with(|l| l.least.clone()),
        move || lines.with(|l| l.most.clone()),
    );
    view! {
        <figure class="curve" data-energy-start=first data-energy=now_plain>
            <figcaption>
                <span>{move || of.with(|of| if of.is_empty() { "energy ".into() } else { format!("{of}: ") })}<i>{symbol}</i></span>
                <output>{now_text}</output>
            </figcaption>
            {move || distance.get().map(|distance| view! {
                <p class="distance" data-distance=format!("{distance:.2}")>
                    <span>"distance from a picture, d̂"</span>
                    <output>{format!("{distance:.1}")}</output>
                </p>
            })}
            {both}
            <div class="plot">
            <p class="ends"><span>{most}</span><span>{least}</span></p>
            <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") preserveAspectRatio="none" aria-hidden="true">
                {move || cursor().map(|x| view! { <line class="cursor" x1=x x2=x y1="0" y2=HEIGHT /> })}
                {move || lines.with(|lines| {
                    lines.paths.iter().map(|(class, points)| view! {
                        <polyline points=points.clone() class=class.map(class_name) />
                    }).collect_view()
                })}
            </svg>
            <p class="steps"><span>"0"</span><span>"steps"</span><span>{move || chain.with(|chain| chain.goal.max(chain.step()))}</span></p>
            </div>
        </figure>
    }
}

/// What gives a class its colour.
fn class_name(class: usize) -> String {
    format!("class-{}", class % 10)
}

#[derive(Clone, Debug, PartialEq, Default)]
struct Lines {
    /// Class, where one is intended, and points of each line.
    paths: Vec<(Option<usize>, String)>,
    least: String,
    most: String,
}

fn lines(chain: &Chain) -> Lines {
    let all = || chain.energies.iter().flatten().copied();
    let least = all().fold(f32::INFINITY, f32::min);
    let most = all().fold(f32::NEG_INFINITY, f32::max);
    if chain.energies.len() < 2 || !(most - least).is_finite() {
        return Lines::default();
    }
    let height = (most - least).max(1e-3);
    let steps = (chain.goal as usize).max(chain.energies.len() - 1).max(1);
    let every = chain.energies.len().div_ceil(MOST_POINTS);
    let last = chain.energies.len() - 1;
    let path = |image: usize| {
        let points = (0..=last).filter(|step| step.is_multiple_of(every) || *step == last);
        let points = points.map(|step| {
            let x = step as f32 / steps as f32 * WIDTH;
            let y = 3.0 + (most - chain.energies[step][image]) / height * (HEIGHT - 6.0);
            format!("{x:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let intended = chain.plan.energy != EnergyKind::Marginal;
    let classes = chain.plan.classes.iter();
    let classes: Vec<_> = match chain.plan.adversary {
        Some(_) => classes.flat_map(|&y| [None, Some(y)]).collect(),
        None => classes.map(|&y| intended.then_some(y)).collect(),
    };
    let paths = classes.into_iter().enumerate();
    let paths = paths.map(|(image, class)| (class, path(image))).collect();
    Lines {
        paths,
        least: energies::text(least, 1),
        most: energies::text(most, 1),
    }
}

/// What the classifier sees in the image that is shown.
#[component]
pub fn Probabilities(chain: RwSignal<Chain>, #[prop(into)] image: Signal<usize>) -> impl IntoView {
    let lab = expect_context::<crate::lab::Lab>();
    let rows = move || {
        let names = lab
            .model
            .with(|m| m.as_ref().map(|m| m.model.class_names.clone()))?;
        let probabilities = chain.with(|chain| {
            let logits = &chain.shown()?.logits;
            let image = image.get().min(chain.plan.classes.len().saturating_sub(1));
            logits
                .chunks(names.len())
                .nth(image)
                .map(energies::probabilities)
        })?;
        Some(names.into_iter().zip(probabilities).collect::<Vec<_>>())
    };
    // Of several images, which this is about.
    let about = move || {
        let class = chain.with(|chain| {
            let classes = &chain.plan.classes;
            let several = classes.len() > 1 && chain.plan.energy != EnergyKind::Marginal;
            several.then(|| classes.get(image.get()).copied()).flatten()
        })?;
        let name = lab
            .model
            .with(|m| m.as_ref()?.model.class_names.get(class).cloned())?;
        Some(format!(" in the {name}"))
    };
    let wanted = move || match lab.settings.with(|s| (s.tab, s.dream.class)) {
        (Tab::Dream, ClassChoice::One(class)) => Some(class),
        _ => None,
    };
    view! {
        <section class="sees" aria-label="What the classifier sees now">
            <h3>"what it sees now"{about}</h3>
            <ol>
                {move || rows().unwrap_or_default().into_iter().enumerate().map(|(i, (name, p))| view! {
                    <li class=format!("class-{}", i % 10) class:wanted=wanted() == Some(i)>
                        <span class="name">{name}</span>
                        <span class="bar"><span style:width=format!("{:.1}%", p * 100.0)></span></span>
                        <span class="number">{format!("{p:.2}")}</span>
                    </li>
                }).collect_view()}
            </ol>
        </section>
    }
}
