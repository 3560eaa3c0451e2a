//! The tools of the build: installed ones where their version fits, else built into target/tools.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, output, program, root, run, step, version};

/// The target of everything that runs in a browser.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// A program that Cargo can install.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// The version that is installed where none fits.
    version: String,
    /// What an installed version must begin with.
    fits: String,
    /// For `cargo install`.
    options: &'static [&'static str],
}

/// Trunk, which builds the page. It downloads nothing here, so it needs no TLS.
pub(crate) fn trunk() -> Result<PathBuf> {
    ensure(&Tool {
        name: "trunk",
        package: "trunk",
        version: "0.21.14".into(),
        fits: "0.21.".into(),
        options: &["--no-default-features"],
    })
}

/// The binding generator. Its version must be that of the library, to the last digit.
pub(crate) fn wasm_bindgen() -> Result<PathBuf> {
    ensure(&bindgen_program("wasm-bindgen")?)
}

/// The program of the same package that runs tests in a browser.
pub(crate) fn wasm_bindgen_test_runner() -> Result<PathBuf> {
    ensure(&bindgen_program("wasm-bindgen-test-runner")?)
}

/// The judge of licences, sources and known vulnerabilities.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    ensure(&Tool {
        name: "cargo-deny",
        package: "cargo-deny",
        version: "0.20.2".into(),
        fits: "0.20.".into(),
        options: &[],
    })
}

/// What drives Firefox.
pub(crate) fn geckodriver() -> Result<PathBuf> {
    ensure(&Tool {
        name: "geckodriver",
        package: "geckodriver",
        version: "0.37.1".into(),
        fits: "0.".into(),
        options: &[],
    })
}

/// The fuzzer's driver.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    ensure(&Tool {
        name: "cargo-fuzz",
        package: "cargo-fuzz",
        version: "0.13.2".into(),
        fits: "0.13.".into(),
        options: &[],
    })
}

/// The standard library for WebAssembly.
pub(crate) fn wasm_target() -> Result<()> {
    let directory = output(&mut program(
        "rustc",
        &["--print", "target-libdir", "--target", WASM],
    ))?;
    if PathBuf::from(directory.trim()).is_dir() {
        return Ok(());
    }
    step("Rust's standard library for WebAssembly", || {
        run(&mut program("rustup", &["target", "add", WASM]))
    })
}

/// `PATH` with the folders of these programs first.
pub(crate) fn path_with(programs: &[PathBuf]) -> Result<OsString> {
    let mut folders: Vec<PathBuf> = programs
        .iter()
        .filter_map(|program| Some(program.parent()?.to_path_buf()))
        .collect();
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    Ok(env::join_paths(folders)?)
}

fn bindgen_program(name: &'static str) -> Result<Tool> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let version =
        locked_version(&lock, "wasm-bindgen").context("Cargo.lock has no wasm-bindgen")?;
    let (fits, version) = (version.to_string(), version.to_string());
    Ok(Tool {
        name,
        package: "wasm-bindgen-cli",
        version,
        fits,
        options: &[],
    })
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

fn ensure(tool: &Tool) -> Result<PathBuf> {
    let tools = root().join("target/tools");
    let ours = tools
        .join("bin")
        .join(format!("{}{}", tool.name, env::consts::EXE_SUFFIX));
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path)
        .map(|folder| folder.join(ours.file_name().expect("a program has a name")));
    for candidate in installed
        .chain([ours.clone()])
        .filter(|path| path.is_file())
    {
        match version(&mut Command::new(&candidate)) {
            Some(found) if fits(&found, &tool.fits) => {
                eprintln!("{} {found}: {}", tool.name, candidate.display());
                return Ok(candidate);
            }
            found => eprintln!(
                "{} {} does not fit, expected {}: {}",
                tool.name,
                found.as_deref().unwrap_or("of unknown version"),
                tool.fits,
                candidate.display()
            ),
        }
    }
    let what = format!(
        "{} {}, built once into target/tools",
        tool.package, tool.version
    );
    step(&what, || {
        let package = format!("{}@{}", tool.package, tool.version);
        let build = tools.join("build");
        let install = |locked: &[&str]| {
            let mut install = cargo(&["install", "--quiet", "--force", "--root"]);
            install
                .arg(&tools)
                .args(locked)
                .args(tool.options)
                .arg(&package)
                // Minutes of compile time buy nothing here: these programs run for seconds. What an
                // interrupted build has done is kept until it ends.
                .env("CARGO_TARGET_DIR", &build)
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env_remove("RUSTFLAGS");
            run(&mut install)
        };
        // The versions that the tool's authors tested, unless the registry or its mirror lacks one.
        eprintln!(
            "first with the versions of its dependencies that it was tested with; should one of them not be had, what \
             Cargo says of it is no error yet, and newer ones are taken"
        );
        install(&["--locked"]).or_else(|error| {
            eprintln!("xtask: {error:#}; once more, with whatever versions there are");
            install(&[])
        })?;
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
    })?;
    Ok(ours)
}

/// Whether a version is `wanted`, or begins with it where that ends with a dot.
fn fits(found: &str, wanted: &str) -> bool {
    if wanted.ends_with('.') {
        found.starts_with(wanted)
    } else {
        found == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_version() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "wasm"), None);
        let ours = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        assert!(locked_version(&ours, "wasm-bindgen").is_some());
    }

    #[test]
    fn versions_fit_whole_or_by_series() {
        for (found, wanted, expected) in [
            ("0.21.14", "0.21.", true),
            ("0.22.0", "0.21.", false),
            ("0.210.0", "0.21.", false),
            ("0.2.130", "0.2.130", true),
            ("0.2.13", "0.2.130", false),
            ("0.2.1300", "0.2.130", false),
        ] {
            assert_eq!(fits(found, wanted), expected, "{found} for {wanted}");
        }
    }
}
