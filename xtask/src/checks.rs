//! `cargo xtask test`: all that must hold before a change is merged.

use std::process::Command;
use std::thread;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::command::{cargo, duration, root, run, run_keeping, step};
use crate::{gpu_kit, page, system, tools};

/// A part of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting.
    Fmt,
    /// Clippy, for native code and for WebAssembly.
    Lint,
    /// Licences, sources, duplicates and known vulnerabilities of dependencies.
    Deny,
    /// Unit and integration tests, native.
    Unit,
    /// The engine and the trainer on a GPU, native.
    Gpu,
    /// The kit for a borrowed GPU, on the processor.
    Kit,
    /// Unit tests in a real browser.
    Wasm,
    /// The built page in a real browser, end to end.
    E2e,
    /// The built page in Firefox and in WebKit: that it works there at all.
    Browsers,
    /// Every reader against mutations of its kept corpus, a minute each.
    Fuzz,
}

impl Part {
    /// What a change must pass.
    const GATE: [Self; 10] = [
        Self::Fmt,
        Self::Lint,
        Self::Deny,
        Self::Unit,
        Self::Gpu,
        Self::Kit,
        Self::Wasm,
        Self::E2e,
        Self::Browsers,
        Self::Fuzz,
    ];
}

/// The readers that are fuzzed, see tests/fuzz, and the folders of the inputs that each begins with.
const FUZZ_TARGETS: [(&str, &[&str]); 7] = [
    ("model_file", &["tests/fuzz/corpus/model_file"]),
    ("card", &["tests/fuzz/corpus/card"]),
    ("recipe", &["tests/fuzz/corpus/recipe", "trainer/recipes"]),
    ("link", &["tests/fuzz/corpus/link"]),
    ("list", &["tests/fuzz/corpus/list"]),
    ("folder_names", &["tests/fuzz/corpus/folder_names"]),
    ("jpeg", &["tests/data/pictures"]),
];

/// Lines of a failed part that are printed once more at the end: what Playwright and Cargo say of failed tests.
const LAST_LINES: usize = 60;

/// Runs `parts`, the whole gate if there is none, and says how each went. A failing part does not keep the
/// others from running; what it printed last stands below the table, as a log is often read from its end.
pub(crate) fn test(parts: &[Part]) -> Result<()> {
    let parts = if parts.is_empty() { &Part::GATE } else { parts };
    if let &[part] = parts {
        return step(&format!("test {}", name(part)), || check(part));
    }
    let mut table = String::new();
    let mut failed = String::new();
    let mut names = Vec::new();
    for &part in parts {
        let start = Instant::now();
        let mut alone = Command::new(env::current_exe()?);
        let result = run_keeping(LAST_LINES, alone.args(["test", name(part)]));
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        table += &format!(
            "{:<8} {outcome:<7} {}\n",
            name(part),
            duration(start.elapsed())
        );
        if let Err(error) = result {
            failed += &format!("\n{} ended with:\n{error:#}\n", name(part));
            names.push(name(part));
        }
    }
    println!("\n{table}{failed}");
    if !names.is_empty() {
        bail!("failed: {}", names.join(", "));
    }
    Ok(())
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Fmt => "fmt",
        Part::Lint => "lint",
        Part::Deny => "deny",
        Part::Unit => "unit",
        Part::Gpu => "gpu",
        Part::Kit => "kit",
        Part::Wasm => "wasm",
        Part::E2e => "e2e",
        Part::Browsers => "browsers",
        Part::Fuzz => "fuzz",
    }
}

fn check(part: Part) -> Result<()> {
    match part {
        Part::Fmt => run(&mut cargo(&["fmt", "--all", "--check"])),
        Part::Lint => lint(),
        Part::Deny => deny(),
        // Release, as the rest: unoptimised tensor code crawls, and Burn is compiled once.
        Part::Unit => run(&mut cargo(&[
            "test",
            "--release",
            "--locked",
            "--workspace",
        ])),
        Part::Gpu => gpu(),
        Part::Kit => gpu_kit::dry_run(),
        Part::Wasm => wasm(),
        Part::E2e => end_to_end(),
        Part::Browsers => browsers(),
        Part::Fuzz => fuzz(),
    }
}

fn lint() -> Result<()> {
    let warnings = ["--", "-D", "warnings"];
    let native = [
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
    ];
    run(cargo(&native).args(warnings))?;
    tools::wasm_target()?;
    let wasm = [
        "clippy",
        "--release",
        "--locked",
        "--target",
        tools::WASM,
        "--all-targets",
    ];
    let packages = ["-p", "basin-web", "-p", "basin-worker"];
    for features in ["gpu", "relaxed-simd"] {
        run(cargo(&wasm)
            .args(packages)
            .args(["--features", features])
            .args(warnings))?;
    }
    Ok(())
}

fn deny() -> Result<()> {
    let program = tools::cargo_deny()?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(root()).args(arguments);
        run(&mut command)
    };
    match deny(&["--locked", "fetch", "db"]) {
        Ok(()) => deny(&["--locked", "check", "--disable-fetch"]),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            let told = "the database of known vulnerabilities cannot be reached";
            eprintln!("WARNING: {told}: ADVISORIES ARE NOT CHECKED, the rest is");
            deny(&["--locked", "check", "bans", "licenses", "sources"])
        }
    }
}

fn gpu() -> Result<()> {
    system::ensure(system::VULKAN)?;
    let test = ["test", "--release", "--locked", "-p", "basin-worker"];
    run(cargo(&test).args(["--features", "gpu", "--test", "gpu"]))?;
    // Kernels in WGSL: those in SPIR-V end the software driver of Mesa 22.3.
    let test = ["test", "--release", "--locked", "-p", "basin"];
    run(cargo(&test).args(["--features", "wgpu", "--lib", "on_gpu"]))
}

fn wasm() -> Result<()> {
    tools::wasm_target()?;
    system::ensure(system::BROWSER)?;
    let runner = tools::wasm_bindgen_test_runner()?;
    let driver = system::locate("chromedriver")?;
    // Both builds of the processor's engine, one of them beside that of the GPU.
    for features in ["gpu", "relaxed-simd"] {
        let test = ["test", "--release", "--locked", "--target", tools::WASM];
        let packages = ["-p", "basin-worker", "--test", "browser"];
        run(cargo(&test)
            .args(packages)
            .args(["--features", features])
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", &runner)
            .env("CHROMEDRIVER", &driver)
            .env("WASM_BINDGEN_TEST_TIMEOUT", "300"))?;
    }
    Ok(())
}

/// A panic or a hang is kept in tests/fuzz/artifacts and fails; what new mutations found is kept in target/fuzz.
/// Without a sanitizer, as those need another toolchain and the readers have no unsafe code.
fn fuzz() -> Result<()> {
    let program = tools::cargo_fuzz()?;
    let cargo_fuzz = |what: &str| {
        let mut command = Command::new(&program);
        command
            .current_dir(root())
            .args(["fuzz", what, "--fuzz-dir", "tests/fuzz"])
            .args(["--sanitizer", "none", "-O"]);
        command
    };
    run(&mut cargo_fuzz("build"))?;
    let fuzz = |&(target, corpora): &(&str, &[&str])| {
        let found = root().join("target/fuzz").join(target);
        fs::create_dir_all(&found)?;
        run(cargo_fuzz("run")
            .arg(target)
            .arg(&found)
            .args(corpora)
            .args(["--", "-max_total_time=60", "-max_len=16384", "-timeout=20"]))
    };
    // Each takes one core.
    for pair in FUZZ_TARGETS.chunks(2) {
        thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|of| scope.spawn(|| fuzz(of))).collect();
            let mut ended = running.into_iter().map(|thread| thread.join());
            ended.try_for_each(|ended| ended.expect("no panic"))
        })?;
    }
    Ok(())
}

fn end_to_end() -> Result<()> {
    system::ensure(system::BROWSER)?;
    built_page_and_its_tests()?;
    run(&mut page::end_to_end("npx", &["playwright", "test"]))
}

fn browsers() -> Result<()> {
    system::ensure(system::OTHER_BROWSERS)?;
    let geckodriver = tools::geckodriver()?;
    built_page_and_its_tests()?;
    let mut firefox = page::end_to_end("node", &["browsers.mjs", "firefox"]);
    run(firefox.env("PATH", tools::path_with(&[geckodriver])?))?;
    let webkit = ["--auto-servernum", "node", "browsers.mjs", "webkit"];
    run(&mut page::end_to_end("xvfb-run", &webkit))
}

fn built_page_and_its_tests() -> Result<()> {
    system::ensure(system::NODE)?;
    page::build()?;
    let install = ["ci", "--no-audit", "--no-fund"];
    run(&mut page::end_to_end("npm", &install))
}
