//! `basin recipes`: the recipes that come with the program.

use anyhow::{Result, bail};
use serde_json::json;

use crate::{cli, recipe::Recipe, recipes};

pub(crate) fn run(arguments: cli::Recipes) -> Result<()> {
    if let Some(name) = arguments.name {
        return match recipes::named(name.as_ref()) {
            Some(text) => {
                say!("{}", text.trim_end());
                Ok(())
            }
            None => bail!("recipe `{name}` is not known; `basin recipes` lists those that are"),
        };
    }
    let mut all = Vec::new();
    for (name, text) in recipes::RECIPES {
        let recipe = Recipe::parse(text, name, &[])?;
        let network = recipe.architecture().title();
        let images = recipe.iterations * recipe.batch_size;
        let said = recipes::first_sentence(text);
        if !arguments.json {
            say!("{name}\n    {said}.");
            say!(
                "    {}, {network}, {} iterations of {} images",
                recipe.data_set.name(),
                recipe.iterations,
                recipe.batch_size
            );
        }
        all.push(json!({
            "name": name, "method": recipe.method.name(), "data_set": recipe.data_set.name(),
            "network": network, "iterations": recipe.iterations, "batch_size": recipe.batch_size,
            "images": images, "about": said,
        }));
    }
    if arguments.json {
        say!("{}", serde_json::Value::from(all));
    } else {
        say!(
            "\n`basin train NAME` trains by one, `basin recipes NAME` shows it, `basin benchmark NAME` says what an \
             iteration costs here."
        );
    }
    Ok(())
}
