//! What the model file says of its model, and the ways to another.

use basin_protocol::{Model, RobustAccuracy};
use leptos::prelude::*;

use crate::{
    activities::dream_view::FileButton,
    address::ModelSource,
    bundled::Bundled,
    lab::{InUse, Lab},
};

/// The chip's words.
pub fn chip(in_use: Option<&InUse>) -> String {
    let Some(InUse { model, .. }) = in_use else {
        return "model: none yet".into();
    };
    let megabytes = model.file_length as f64 / 1e6;
    let accuracy = model
        .metrics
        .get("clean_accuracy")
        .map(|a| format!(" · {}", share(*a)));
    format!(
        "model: {} · {megabytes:.2} MB{}",
        model.name,
        accuracy.unwrap_or_default()
    )
}

/// A share as a percentage; measurements may be written either way.
pub fn share(value: f64) -> String {
    format!("{:.1} %", if value <= 1.0 { value * 100.0 } else { value })
}

/// A measurement in the words and digits of its kind.
fn measured(name: &str, value: f64) -> (String, String) {
    let words = name.replace('_', " ");
    let is_share = ["accuracy", "agrees", "below"]
        .iter()
        .any(|part| name.contains(part));
    match () {
        () if is_share && (0.0..=1.0).contains(&value) => (words, share(value)),
        () if name.ends_with("_seconds") => {
            let words = words.replace("seconds", "time");
            (words, format!("{:.0} min", value / 60.0))
        }
        () if name.contains("psnr") => (words, format!("{value:.1} dB")),
        () if value.fract() == 0.0 && value.abs() < 1e9 => (words, format!("{value}")),
        () => (words, format!("{value:.3}")),
    }
}

/// What a visitor wants to know first, where the card says it.
fn headlines(model: &Model) -> Vec<(&'static str, String)> {
    let of = |name: &str| model.metrics.get(name).copied();
    let mut rows = Vec::new();
    if let Some(clean) = of("clean_accuracy") {
        rows.push(("right on clean pictures", share(clean)));
    }
    if let Some(robust) = RobustAccuracy::of(of) {
        let (left, attack) = (robust.accuracy, robust.attack_in_words());
        rows.push(("right under attack", format!("{} ({attack})", share(left))));
    }
    if let Some(agrees) = of("judge_agrees_uniform") {
        let words = "another network recognises its drawings";
        rows.push((words, share(agrees)));
    }
    let clean = |way: &str| of(&format!("denoising_0.3_psnr_{way}"));
    match (
        clean("best_guess"),
        clean("blur"),
        of("denoising_psnr_denoised"),
    ) {
        (Some(guess), Some(blur), _) => rows.push((
            "cleans pictures with noise 0.3 to",
            format!("{guess:.1} dB, where a blur reaches {blur:.1} dB"),
        )),
        (_, _, Some(denoised)) => {
            rows.push((
                "cleans pictures with noise 0.3 to",
                format!("{denoised:.1} dB"),
            ));
        }
        _ => {}
    }
    rows.push((
        "size",
        format!(
            "{:.2} MB, {} parameters, images of {size} × {size}",
            model.file_length as f64 / 1e6,
            thousands(model.parameters),
            size = model.size,
        ),
    ));
    rows
}

/// The card.
#[component]
pub fn ModelCard() -> impl IntoView {
    let lab = expect_context::<Lab>();
    view! {
        {move || lab.model.get().map(|in_use| {
            let model = in_use.model.clone();
            let headlines = headlines(&model).into_iter();
            let headlines = headlines.map(|(words, value)| view! { <dt>{words}</dt><dd>{value}</dd> }).collect_view();
            // What a test holds the file to says nothing to people.
            let metrics = model.metrics.iter().filter(|(name, _)| !name.starts_with("check_"));
            let metrics = metrics.map(|(name, value)| {
                let (words, value) = measured(name, *value);
                view! { <dt>{words}</dt><dd>{value}</dd> }
            }).collect_view();
            view! {
                <dl class="headlines">
                    <dt>"name"</dt><dd data-model-name>{model.name}</dd>
                    {headlines}
                </dl>
                <details><summary>"all that was measured"</summary><dl>{metrics}</dl></details>
                <details><summary>"network, training, licence"</summary><dl>
                    <dt>"network"</dt><dd>{model.architecture}", "{thousands(model.parameters)}" parameters"</dd>
                    <dt>"images"</dt><dd>{model.size}" × "{model.size}", "{if model.channels == 1 { "grey" } else { "colour" }}</dd>
                    <dt>"trained on"</dt><dd>{model.data_set}</dd>
                    <dt>"by"</dt><dd>{model.method}</dd>
                    {(!model.hardware.is_empty()).then(|| view! {
                        <dt>"hardware"</dt><dd>{model.hardware.join("; then ")}</dd>
                    })}
                    <dt>"licence"</dt><dd>{model.licence}</dd>
                    <dt>"made by"</dt><dd>{model.author}", Basin "{model.basin_version}</dd>
                    <dt>"SHA-256"</dt><dd class="checksum">{model.weights_sha256}</dd>
                </dl></details>
                <details><summary>"recipe"</summary><pre tabindex="0">{model.recipe}</pre></details>
            }
        })}
        <h2 class="small">"Use another"</h2>
        <ModelFields />
    }
}

/// The page's own models, each with a picture of its.
#[component]
pub fn BundledModels() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let bundled = Bundled::ALL.map(|bundled| {
        let source = ModelSource::Bundled(bundled);
        let asked = source.clone();
        let in_use = move || lab.settings.with(|settings| settings.model == asked);
        view! {
            <button
                class="model"
                aria-pressed=move || in_use().to_string()
                on:click=move |_| lab.fetch_model(source.clone())
            >
                <img src=bundled.sample(1) alt="" width="24" height="24" />
                {bundled.title()}
            </button>
        }
    });
    view! { <div class="models" role="group" aria-label="The page's models">{bundled.collect_view()}</div> }
}

/// Ways to a model that the page does not know: a file, an address, the id of a file on a hub.
#[component]
pub fn ModelFields() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let url = RwSignal::new(String::new());
    let fetch = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let url = url.get_untracked().trim().to_owned();
        if !url.is_empty() {
            lab.fetch_model(ModelSource::Url(url));
        }
    };
    view! {
        <div class="row">
            <FileButton label="a model file" accept=".safetensors" />
            <span class="hint">"or drop one anywhere"</span>
        </div>
        <form class="row" on:submit=fetch>
            <label class="field wide">
                <span>"address of a model, or hf:owner/name/file"</span>
                <input type="text" inputmode="url" placeholder="https://…/model.safetensors" prop:value=url on:input=move |event| url.set(event_target_value(&event)) />
            </label>
            <button>"fetch"</button>
        </form>
    }
}

pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|g| std::str::from_utf8(g).ok())
        .collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(175_066), "175 066");
        assert_eq!(thousands(12), "12");
        assert_eq!(
            measured("clean_accuracy", 0.8815),
            ("clean accuracy".into(), "88.1 %".into())
        );
        assert_eq!(measured("denoising_psnr_gain", 5.234).1, "5.2 dB");
    }

    #[test]
    fn the_headlines_are_the_worst_attack_and_what_a_blur_reaches() {
        let mut model = crate::tests::model();
        assert_eq!(headlines(&model).len(), 1);
        model.metrics = [
            ("clean_accuracy", 0.72),
            ("pgd_20_accuracy", 0.40),
            ("pgd_100_restarts_accuracy", 0.39),
            ("transfer_accuracy", 0.5),
            ("attack_epsilon", 8.0 / 255.0),
            ("judge_agrees_uniform", 0.97),
            ("denoising_0.3_psnr_best_guess", 21.8),
            ("denoising_0.3_psnr_blur", 19.7),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let rows: Vec<_> = headlines(&model).into_iter().map(|row| row.1).collect();
        assert_eq!(
            rows[..4],
            [
                "72.0 %",
                "39.0 % (PGD-100 from five starts, each pixel by at most 8/255)",
                "97.0 %",
                "21.8 dB, where a blur reaches 19.7 dB",
            ]
        );
    }
}
