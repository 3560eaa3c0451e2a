//! The page: a release build into dist/.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

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
        run(&mut build)
    })
}

/// A program in the folder of the end-to-end tests, which drives the system's Chromium.
pub(crate) fn end_to_end(name: &str, arguments: &[&str]) -> Command {
    let mut command = program(name, arguments);
    command
        .current_dir(root().join("tests/e2e"))
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    command
}
