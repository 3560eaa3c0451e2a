//! The page: a release build into dist/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use basin_shared::offline;

use crate::command::{program, root, run, step};
use crate::tools;

/// Where the built page lies.
pub(crate) fn dist() -> PathBuf {
    root().join("dist")
}

/// Builds the page and both engines, as `index.html` and `Trunk.toml` say.
///
/// wasm-opt is left out: with `-O3` (version 132) the CPU engine became 10 % smaller as it is, but
/// 8 % larger with brotli, as it travels.
pub(crate) fn build() -> Result<()> {
    tools::wasm_target()?;
    let wasm_bindgen = tools::wasm_bindgen()?;
    let trunk = tools::trunk()?;
    let what = "page and engines, release build (some minutes on two cores the first time)";
    step(what, || {
        let mut build = program(
            "trunk",
            &["build", "--release", "--locked", "--skip-version-check"],
        );
        // Trunk takes the wasm-bindgen that it finds first. It reads NO_COLOR as a value of its own.
        build
            .env("PATH", tools::path_with(&[trunk, wasm_bindgen])?)
            .env_remove("NO_COLOR");
        run(&mut build)?;
        gather(&dist())
    })
}

/// What of the page is a program, or starts one.
const PROGRAMS: [&str; 4] = ["basin-", "start.js", "worker.js", "partner.js"];

/// Moves programs and the scripts that start them into a folder named by their contents. They name each other from
/// where they are, so those of one version never meet those of another, whatever a cache has kept.
fn gather(dist: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| anyhow!("{}: no text", name.display()))?;
        if entry.path().is_file() && PROGRAMS.iter().any(|program| name.starts_with(program)) {
            names.push(name);
        }
    }
    names.sort();
    let folder = format!("programs-{}", hash(dist, &names)?);
    fs::create_dir_all(dist.join(&folder))?;
    let page = dist.join("index.html");
    let mut html = fs::read_to_string(&page)?;
    for name in &names {
        fs::rename(dist.join(name), dist.join(&folder).join(name))?;
        html = html.replace(&format!("./{name}"), &format!("./{folder}/{name}"));
    }
    ensure!(
        html.contains(&format!("./{folder}/start.js")),
        "dist/index.html starts no ./start.js; expected what Trunk.toml writes there"
    );
    fs::write(page, html)?;
    // Of compressed programs no host says how long they are.
    let mut lengths = serde_json::Map::new();
    for name in &names {
        if let Some(program) = name.strip_suffix("_bg.wasm") {
            let length = fs::metadata(dist.join(&folder).join(name))?.len();
            lengths.insert(program.to_owned(), length.into());
        }
    }
    let lengths = serde_json::Value::from(lengths);
    let lengths = format!("const LENGTHS = {lengths};");
    let worker = format!("{folder}/worker.js");
    fill_in(dist, &worker, &[("const LENGTHS = {};", lengths)])?;
    let programs = format!("const PROGRAMS = \"{folder}/\";");
    fill_in(dist, MODULE, &[("const PROGRAMS = \"\";", programs)])?;
    list_for_offline(dist)
}

/// The module that other pages import. Its address stays, and it is told where the programs are.
const MODULE: &str = "basin.js";

/// Tells the script that keeps the page which files there are, and of which version.
fn list_for_offline(dist: &Path) -> Result<()> {
    let mut files = files(dist)?;
    files.retain(|file| offline::is_kept(file));
    let version = hash(dist, &files)?;
    let path = dist.join(offline::SCRIPT);
    let script = offline::list(&fs::read_to_string(&path)?, &files, &version);
    Ok(fs::write(path, script.map_err(|fault| anyhow!(fault))?)?)
}

/// Writes the constants of a script that only the build knows, each in the place of an empty one.
fn fill_in(dist: &Path, name: &str, constants: &[(&str, String)]) -> Result<()> {
    let path = dist.join(name);
    let mut script = fs::read_to_string(&path)?;
    for (empty, filled) in constants {
        ensure!(
            script.contains(empty),
            "static/{name} has no `{empty}`, which the build fills in"
        );
        script = script.replace(empty, filled);
    }
    Ok(fs::write(path, script)?)
}

/// A short hash of files below a folder, by names and contents.
fn hash(folder: &Path, files: &[String]) -> Result<String> {
    Ok(offline::version(files, |file| fs::read(folder.join(file)))?)
}

/// Every file below a folder, by its path from there.
pub(crate) fn files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(folder, "", &mut files)?;
    files.sort();
    Ok(files)
}

/// Every file below a folder, by its path from `dist` on.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| anyhow!("{}: no text", name.display()))?;
        let path = format!("{prefix}{name}");
        match entry.path().is_dir() {
            true => walk(&entry.path(), &format!("{path}/"), files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// A program in the folder of the end-to-end tests, which drives the system's Chromium.
pub(crate) fn end_to_end(name: &str, arguments: &[&str]) -> Command {
    let mut command = program(name, arguments);
    command
        .current_dir(root().join("tests/e2e"))
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    command
}
