//! What computes, why, how well, and a switch.

use leptos::prelude::*;

use crate::{
    address::EngineChoice,
    lab::{EngineState, Lab},
};

/// The chip's words.
pub fn chip(engine: &EngineState) -> String {
    match (&engine.adapter, engine.kind) {
        (Some(Ok(adapter)), crate::lab::worker_handle::Kind::Gpu) => {
            format!("engine: GPU, {}", adapter.name)
        }
        _ => format!("engine: {}", engine.kind.label()),
    }
}

/// The panel.
#[component]
pub fn EnginePanel() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let engine = lab.engine;
    let adapter = move || {
        engine.with(|engine| match &engine.adapter {
            Some(Ok(adapter)) if adapter.software => format!("{} (software)", adapter.name),
            Some(Ok(adapter)) => adapter.name.clone(),
            Some(Err(why)) => why.clone(),
            None => "not asked".into(),
        })
    };
    let self_test = move || {
        engine.with(|engine| match engine.self_test {
            Some(test) => format!(
                "logits within {:.1e}, gradient within {:.1e} of the trainer's",
                test.logits, test.gradient
            ),
            None => "not yet".into(),
        })
    };
    let speed = move || {
        let chain = lab.chain();
        let time = chain.with(|chain| chain.milliseconds());
        let images = chain.with(|chain| chain.plan.classes.len());
        match time {
            Some(time) => format!(
                "{time:.1} ms for {images} {}",
                if images == 1 { "image" } else { "images" }
            ),
            None => "not yet".into(),
        }
    };
    let diagnostics = move || {
        let agent = web_sys::window()
            .and_then(|w| w.navigator().user_agent().ok())
            .unwrap_or_default();
        let model = lab
            .model
            .with(|m| m.as_ref().map(|m| m.model.weights_sha256.clone()))
            .unwrap_or_default();
        let notices: Vec<_> = lab
            .notices
            .get_untracked()
            .into_iter()
            .map(|notice| notice.text)
            .collect();
        let state = engine.get_untracked();
        format!(
            "Basin {}\nbrowser: {agent}\nengine: {}\nreason: {}\nadapter: {}\nworkers: {}\nself-test: {}\nstep: {}\nstopped: {} times\nmodel: {model}\nnotices: {}\n",
            env!("CARGO_PKG_VERSION"),
            state.kind.label(),
            state.reason,
            adapter(),
            state.workers,
            self_test(),
            speed(),
            state.crashes,
            notices.join(" | "),
        )
    };
    let copied = RwSignal::new(None::<String>);
    let copy = move |_| {
        let text = diagnostics();
        let clipboard = web_sys::window()
            .expect("the page has a window")
            .navigator()
            .clipboard();
        let promise = clipboard.write_text(&text);
        leptos::task::spawn_local(async move {
            let done = wasm_bindgen_futures::JsFuture::from(promise).await.is_ok();
            // Where copying is not allowed, the text is there to be selected.
            copied.set(Some(if done { "copied".into() } else { text }));
        });
    };
    let choose = move |choice| {
        lab.settings.update(|settings| settings.engine = choice);
        lab.choose_engine();
    };
    let chosen = move |choice| lab.settings.with(|settings| settings.engine) == choice;
    let choices = [
        ("auto", "whichever suits", EngineChoice::Auto),
        ("cpu", "CPU", EngineChoice::Cpu),
        ("gpu", "GPU", EngineChoice::Gpu),
    ];
    view! {
        <p class="reason">{move || engine.with(|engine| engine.reason.clone())}</p>
        <dl>
            <dt>"engine"</dt><dd>{move || engine.with(|engine| engine.kind.label())}</dd>
            <dt>"adapter"</dt><dd>{adapter}</dd>
            <dt>"workers"</dt>
            <dd data-workers=move || engine.with(|e| e.workers)>{move || engine.with(|e| e.workers)}</dd>
            <dt>"self-test"</dt>
            <dd data-self-test=move || engine.with(|e| e.self_test.map(|t| format!("{:e}", t.largest())).unwrap_or_default())>{self_test}</dd>
            <dt>"a step takes"</dt>
            <dd data-milliseconds=move || lab.chain().with(|c| c.milliseconds()).map(|t| format!("{t:.2}")).unwrap_or_default()>{speed}</dd>
        </dl>
        <fieldset class="row">
            <legend>"use"</legend>
            {choices.map(|(value, label, choice)| view! {
                <label class="check">
                    <input type="radio" name="engine" value=value prop:checked=move || chosen(choice) on:change=move |_| choose(choice) />
                    <span>{label}</span>
                </label>
            }).collect_view()}
        </fieldset>
        <button on:click=copy>"copy diagnostics"</button>
        {move || copied.get().map(|text| view! { <pre class="diagnostics">{text}</pre> })}
    }
}
