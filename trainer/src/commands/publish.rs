//! `basin publish`: the page with models of one's own, as a folder for any host of static files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use basin_shared::{
    Key, ModelFile,
    gallery::{self, Entry},
    offline, preview,
    robust_accuracy::RobustAccuracy,
};
use burn::tensor::Device;

use crate::{atomic_file::write_atomically, chains, cli, figures::picture};

/// The list of models, seen from the page.
const LIST: &str = "models/index.json";

pub(crate) fn run(arguments: cli::Publish, device: &Device) -> Result<()> {
    let cli::Publish {
        folder,
        models,
        page,
        address,
    } = arguments;
    ensure!(
        page.join("index.html").is_file() && page.join(offline::SCRIPT).is_file(),
        "{}: there is no built page; build one with `cargo xtask build`, or give --page FOLDER",
        page.display()
    );
    let empty = match fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !folder.exists(),
    };
    ensure!(
        empty,
        "{}: has files already; expected a folder that is empty or not there yet",
        folder.display()
    );
    // All are read before anything is written.
    let html = fs::read_to_string(page.join("index.html"))?;
    let html = match &address {
        Some(address) => preview::published_at(&html, address).map_err(|fault| anyhow!(fault))?,
        None => html,
    };
    let files = models.iter().map(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{}: no name of a file", path.display()))?;
        ensure!(
            name.ends_with(".safetensors"),
            "{}: expected a name that ends with .safetensors, by which the page knows models",
            path.display()
        );
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let file = ModelFile::read(&bytes).with_context(|| path.display().to_string())?;
        Ok((name.to_owned(), bytes, file))
    });
    let files: Vec<_> = files.collect::<Result<_>>()?;
    for (index, (name, ..)) in files.iter().enumerate() {
        let twice = files[..index].iter().any(|(other, ..)| other == name);
        ensure!(!twice, "two models are called {name}; rename one of them");
    }

    copy(&page, &folder)?;
    write_atomically(&folder.join("index.html"), html.as_bytes())?;
    let mut listed = match fs::read_to_string(folder.join(LIST)) {
        Ok(text) => gallery::read(&text).map_err(|fault| anyhow!("{LIST} of the page: {fault}"))?,
        Err(_) => Vec::new(),
    };
    let mut own = Vec::new();
    for (name, bytes, file) in &files {
        tell!("{name}: a picture of what it draws");
        let stem = name.trim_end_matches(".safetensors");
        let entry = Entry {
            file: name.clone(),
            picture: format!("{stem}.png"),
            ..entry(file, bytes.len())
        };
        write_atomically(&folder.join("models").join(name), bytes)?;
        draw(file, &folder.join("models").join(&entry.picture), device)?;
        listed.retain(|other| other.file != entry.file);
        own.push(entry);
    }
    // One's own first.
    own.append(&mut listed);
    write_atomically(&folder.join(LIST), gallery::write(own).as_bytes())?;
    write_atomically(&folder.join("_headers"), HEADERS.as_bytes())?;
    // GitHub Pages would leave files out whose names begin with an underscore.
    write_atomically(&folder.join(".nojekyll"), b"")?;
    let first = files.first().map(|(name, ..)| name.as_str());
    write_atomically(&folder.join("README.md"), readme(first).as_bytes())?;
    list_for_offline(&folder)?;
    say!("{}", folder.display());
    Ok(())
}

/// What the card says of a model.
fn entry(file: &ModelFile, bytes: usize) -> Entry {
    let card = &file.card;
    let robust = RobustAccuracy::of(|name| card.metrics.get(name).copied());
    Entry {
        name: card.name.clone(),
        data: card.data_set.clone(),
        licence: card.licence.clone(),
        author: card.author.clone(),
        parameters: Some(card.architecture.parameter_count() as f64),
        bytes: Some(bytes as f64),
        accuracy: card.metrics.get("clean_accuracy").copied(),
        robust_accuracy: robust.map(|robust| robust.accuracy),
        attack: robust.map_or(String::new(), |robust| robust.attack_in_words()),
        ..Entry::default()
    }
}

/// An image of each of the first ten classes, as the model recommends.
fn draw(file: &ModelFile, path: &Path, device: &Device) -> Result<()> {
    let settings = file.card.quick.unwrap_or(file.card.generation);
    let classes: Vec<u8> = (0..file.card.class_names.len().min(10) as u8).collect();
    let network = file.model(device).frozen();
    let x = chains::draw(
        file,
        &network,
        &settings,
        &classes,
        Key::new(0),
        device,
        |_| {},
    );
    Ok(picture::write_grid(path, x, classes.len().div_ceil(2))?)
}

/// Every file below a folder, by its path from there, in order.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let name = inner.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => folders.push(name),
                false => found.push(name),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn copy(page: &Path, folder: &Path) -> Result<()> {
    for file in files_below(page)? {
        let to = folder.join(&file);
        let parent = to.parent().expect("it lies in the folder");
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::copy(page.join(&file), &to).with_context(|| to.display().to_string())?;
    }
    fs::create_dir_all(folder.join("models")).with_context(|| folder.display().to_string())
}

/// Tells the script which files there are now, and of which version.
fn list_for_offline(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for file in files_below(folder)? {
        let Some(name) = file.to_str().map(|name| name.replace('\\', "/")) else {
            bail!("{}: no text", file.display());
        };
        if offline::is_kept(&name) {
            files.push(name);
        }
    }
    let version = offline::version(&files, |file| fs::read(folder.join(file)))?;
    let path = folder.join(offline::SCRIPT);
    let script = offline::list(&fs::read_to_string(&path)?, &files, &version);
    let script = script.map_err(|fault| anyhow!("{}: {fault}", folder.display()))?;
    Ok(write_atomically(&path, script.as_bytes())?)
}

/// What Netlify and Cloudflare Pages read: other pages may fetch models and lists, and programs are of their type.
const HEADERS: &str = "\
/models/*
  Access-Control-Allow-Origin: *
/*.wasm
  Content-Type: application/wasm
/index.html
  Cache-Control: no-cache
/offline.js
  Cache-Control: no-cache
";

fn readme(first: Option<&str>) -> String {
    let model = match first {
        Some(name) => format!(
            "`index.html#model=models/{name}` opens the page with the first of your models.\n\n"
        ),
        None => String::new(),
    };
    format!(
        "\
# A page of Basin

Static files: put this folder on any host, at the root or in a folder of it. {model}`models/index.json` is the list that
the page shows under *Models*; others show it in theirs by its address.

- GitHub Pages: push the folder to a branch and choose it under *Settings, Pages*. Nothing else is needed.
- Netlify, Cloudflare Pages: upload the folder. `_headers` has the types, and lets other pages fetch the models.
- nginx: `location / {{ root /path/to/folder; types {{ application/wasm wasm; }} }}` beside the other types, and
  `location /models/ {{ add_header Access-Control-Allow-Origin *; }}`.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTRAINED: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/e2e/fixtures/untrained.safetensors"
    );

    /// Files that stand for a built page.
    fn page(folder: &Path) -> PathBuf {
        let page = folder.join("page");
        for (name, text) in [
            (
                "index.html",
                "<!doctype html><meta property=\"og:image\" content=\"card.png\">",
            ),
            ("card.png", "x"),
            (
                "offline.js",
                "const VERSION = \"\";\nconst FILES = [];\nrest\n",
            ),
            ("programs-1/basin.wasm", "x"),
            (
                "models/index.json",
                "{\"models\": [{\"file\": \"a.safetensors\", \"name\": \"A\", \"accuracy\": 0.5}]}",
            ),
        ] {
            let path = page.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        page
    }

    fn publish(folder: &Path, models: &[&str], page: PathBuf) -> Result<()> {
        publish_at(folder, models, page, None)
    }

    fn publish_at(
        folder: &Path,
        models: &[&str],
        page: PathBuf,
        address: Option<&str>,
    ) -> Result<()> {
        let arguments = cli::Publish {
            folder: folder.into(),
            models: models.iter().map(PathBuf::from).collect(),
            page,
            address: address.map(str::to_owned),
        };
        run(arguments, &Device::flex())
    }

    #[test]
    fn the_folder_holds_page_models_pictures_and_a_list_with_ones_own_first() {
        let temporary = tempfile::tempdir().unwrap();
        let page = page(temporary.path());
        let out = temporary.path().join("out");
        publish(&out, &[UNTRAINED], page.clone()).unwrap();
        let list = gallery::read(&fs::read_to_string(out.join(LIST)).unwrap()).unwrap();
        let names: Vec<_> = list.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["untrained", "A"]);
        assert_eq!(list[1].accuracy, Some(0.5));
        let own = &list[0];
        assert_eq!(
            own.bytes.unwrap() as u64,
            fs::metadata(UNTRAINED).unwrap().len()
        );
        assert_eq!(own.attack, "");
        let picture = fs::read(out.join("models").join(&own.picture)).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        let script = fs::read_to_string(out.join(offline::SCRIPT)).unwrap();
        assert!(
            script.contains("\"models/untrained.safetensors\""),
            "{script}"
        );
        assert!(script.contains("\"programs-1/basin.wasm\"") && script.ends_with("rest\n"));
        assert!(!script.contains("VERSION = \"\"") && !script.contains("README"));
        for name in ["_headers", ".nojekyll", "README.md", "index.html"] {
            assert!(out.join(name).is_file(), "{name}");
        }
        let again = publish(&out, &[UNTRAINED], page).unwrap_err().to_string();
        assert!(again.contains("has files already"), "{again}");
    }

    #[test]
    fn a_link_to_the_page_has_its_picture_by_its_address() {
        let temporary = tempfile::tempdir().unwrap();
        let page = page(temporary.path());
        let out = temporary.path().join("out");
        let address = Some("https://example.org/basin");
        publish_at(&out, &[], page.clone(), address).unwrap();
        let html = fs::read_to_string(out.join("index.html")).unwrap();
        assert!(
            html.contains("content=\"https://example.org/basin/card.png\""),
            "{html}"
        );
        assert!(out.join(preview::PICTURE).is_file());
        let script = fs::read_to_string(out.join(offline::SCRIPT)).unwrap();
        assert!(!script.contains(preview::PICTURE), "{script}");
        let elsewhere = temporary.path().join("elsewhere");
        let wrong = publish_at(&elsewhere, &[], page, Some("example.org")).unwrap_err();
        assert!(
            wrong.to_string().contains("https://example.org/basin/"),
            "{wrong}"
        );
        assert!(!elsewhere.exists());
    }

    #[test]
    fn nothing_is_written_where_something_is_wrong() {
        let temporary = tempfile::tempdir().unwrap();
        let out = temporary.path().join("out");
        let none = publish(&out, &[UNTRAINED], temporary.path().join("dist"));
        assert!(
            none.unwrap_err()
                .to_string()
                .contains("there is no built page")
        );
        let page = page(temporary.path());
        let broken = temporary.path().join("broken.safetensors");
        fs::write(&broken, "no model").unwrap();
        let broken = broken.to_str().unwrap();
        for (models, expected) in [
            ([UNTRAINED, broken], "broken.safetensors"),
            (
                [UNTRAINED, UNTRAINED],
                "two models are called untrained.safetensors",
            ),
            (
                [UNTRAINED, "model.bin"],
                "expected a name that ends with .safetensors",
            ),
        ] {
            let error = publish(&out, &models, page.clone()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
            assert!(!out.exists());
        }
    }
}
