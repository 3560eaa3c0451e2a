//! Choosing another model: the view.

use basin_shared::gallery::Entry;
use leptos::prelude::*;
use web_sys::{AbortController, Blob};

use crate::{
    images,
    lab::{
        InUse, Lab,
        lists::{List, resolve},
        load_model, model_cache,
    },
    page::{
        model_card::{ModelFields, share, thousands},
        stage::{CopyLink, Lines},
    },
};

/// Longest picture of a model, in bytes.
const LONGEST_PICTURE: usize = 1 << 20;

/// The tab.
#[component]
pub fn GalleryTab() -> impl IntoView {
    let lab = expect_context::<Lab>();
    lab.look_at_lists();
    let address = RwSignal::new(String::new());
    let add = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let list = address.get_untracked().trim().to_owned();
        if !list.is_empty() {
            lab.add_list(list);
            address.set(String::new());
        }
    };
    let lists = move || lab.lists.get();
    view! {
        <section class="gallery" aria-label="Models">
            <For each=lists key=|list| (list.address.clone(), list.models.is_some()) let:list>
                <Shelf list />
            </For>
            <Lines />
            <h2>"From elsewhere"</h2>
            <ModelFields />
            <KeptModels />
            <form class="row" on:submit=add>
                <label class="field wide">
                    <span>"a list of models"</span>
                    <input type="url" placeholder="https://…/models/index.json" prop:value=address on:input=move |event| address.set(event_target_value(&event)) />
                </label>
                <button>"show"</button>
            </form>
            <div class="row"><CopyLink /></div>
        </section>
    }
}

/// Files of other hosts that the browser keeps, and the way to forget them.
#[component]
fn KeptModels() -> impl IntoView {
    let lab = expect_context::<Lab>();
    let kept = RwSignal::new(Vec::new());
    let look =
        move || leptos::task::spawn_local(async move { kept.set(model_cache::kept().await) });
    // Again when another model was taken into use.
    Effect::new(move || {
        lab.model.track();
        look();
    });
    let forget = move |url: String| {
        leptos::task::spawn_local(async move {
            model_cache::remove(&url).await;
            kept.set(model_cache::kept().await);
        });
    };
    view! {
        <Show when=move || kept.with(|kept| !kept.is_empty())>
            <h2>"Kept by this browser"</h2>
            <ul class="kept">
                <For each=move || kept.get() key=|kept| kept.url.clone() let:model>
                    <li>
                        <span>{model.url.clone()}</span>
                        <span>{format!("{:.2} MB", model.bytes / 1e6)}</span>
                        <button class="quiet" on:click=move |_| forget(model.url.clone())>"delete"</button>
                    </li>
                </For>
            </ul>
        </Show>
    }
}

/// A list's models.
#[component]
fn Shelf(list: List) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let address = StoredValue::new(list.address.clone());
    let own = list.is_own();
    let content = match list.models {
        None => view! { <p class="hint">"on its way"</p> }.into_any(),
        Some(Err(why)) => view! { <p class="notice error">{format!("{}: {why}.", list.address)}</p> }.into_any(),
        Some(Ok(entries)) => view! {
            <ul class="cards">
                {entries.into_iter().map(|entry| view! { <Card entry list=address own /> }).collect_view()}
            </ul>
        }
        .into_any(),
    };
    view! {
        <div class="row">
            <h2>{if own { "Models of this page".into() } else { list.address }}</h2>
            {(!own).then(|| view! {
                <button class="quiet" on:click=move |_| address.with_value(|address| lab.remove_list(address))>"remove this list"</button>
            })}
        </div>
        {content}
    }
}

/// A model.
#[component]
fn Card(entry: Entry, list: StoredValue<String>, own: bool) -> impl IntoView {
    let lab = expect_context::<Lab>();
    let picture = RwSignal::new(None);
    if let Some(url) = list
        .with_value(|list| resolve(&entry.picture, list))
        .filter(|_| !entry.picture.is_empty())
    {
        match own {
            true => picture.set(Some(url)),
            false => leptos::task::spawn_local(async move { picture.set(fetched(&url).await) }),
        }
    }
    let title = entry.title().to_owned();
    let percent = |value: Option<f64>| value.map(share);
    let rows = [
        ("data", Some(entry.data.clone())),
        ("right on clean pictures", percent(entry.accuracy)),
        (
            "right under attack",
            percent(entry.robust_accuracy).map(|left| format!("{left} ({})", entry.attack)),
        ),
        (
            "size",
            entry.bytes.map(|bytes| {
                let parameters = entry
                    .parameters
                    .map(|n| format!(", {} parameters", thousands(n as usize)));
                format!("{:.2} MB{}", bytes / 1e6, parameters.unwrap_or_default())
            }),
        ),
        ("licence", Some(entry.licence.clone())),
        ("by", Some(entry.author.clone())),
    ];
    let rows = rows
        .into_iter()
        .filter_map(|(words, value)| Some((words, value.filter(|value| !value.is_empty())?)));
    let rows = rows
        .map(|(words, value)| view! { <dt>{words}</dt><dd>{value}</dd> })
        .collect_view();
    let name = title.clone();
    let in_use = Memo::new(move |_| {
        lab.model.with(|model: &Option<std::sync::Arc<InUse>>| {
            model.as_ref().is_some_and(|m| m.model.name == name)
        })
    });
    view! {
        <li class="card" class:in-use=in_use>
            {move || picture.get().map(|src| view! { <img src=src alt=format!("Drawn by {}", title.clone()) width="96" height="96" loading="lazy" /> })}
            <div>
                <h3>{entry.title().to_owned()}</h3>
                <dl>{rows}</dl>
                <button on:click=move |_| list.with_value(|list| lab.use_entry(list, &entry))>
                    {move || if in_use.get() { "in use" } else { "use it" }}
                </button>
            </div>
        </li>
    }
}

/// A picture of another host's, kept by this page: the page shows none that it did not fetch.
async fn fetched(url: &str) -> Option<String> {
    let controller = AbortController::new().ok()?;
    let bytes = load_model::fetch(url, &controller, LONGEST_PICTURE, |_, _| {})
        .await
        .ok()?;
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(&*bytes));
    let blob = Blob::new_with_u8_array_sequence(&parts).ok()?;
    // What is no picture stays away.
    images::bitmap(&blob).await.ok()?.close();
    web_sys::Url::create_object_url_with_blob(&blob).ok()
}
