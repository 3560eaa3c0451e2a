//! `cargo xtask bench`: one report of speed and size. Nothing here passes or fails.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::{cargo, output, root, step};
use crate::{page, system};

/// The model that the page starts with.
const MODEL: &str = "static/models/fashion-mnist-jeat.safetensors";

/// Measures natively and in Chromium, and prints the report as JSON.
pub(crate) fn bench(with_gpu: bool) -> Result<()> {
    system::ensure(system::BROWSER)?;
    system::ensure(system::NODE)?;
    page::build()?;
    let native = step("one SGLD step, native", || {
        // The whole workspace, so that Burn is compiled as for the tests.
        let bench = ["bench", "--locked", "--workspace", "--bench", "sgld_step"];
        parse(&output(&mut cargo(&bench))?)
    })?;
    let browser = step("the page in Chromium", || {
        output(&mut page::end_to_end(
            "npm",
            &["ci", "--no-audit", "--no-fund"],
        ))?;
        let mut arguments = vec!["bench.mjs"];
        if !with_gpu {
            arguments.push("--no-gpu");
        }
        parse(&output(&mut page::end_to_end("node", &arguments))?)
    })?;
    println!("{:#}", report(native, browser, model_bytes()?));
    Ok(())
}

fn report(native: Value, browser: Value, model_bytes: u64) -> Value {
    let in_browser = browser["step_of_16"]["cpu"]["milliseconds"].as_f64();
    let one_thread = native["one_thread"]["bundled"]["milliseconds"].as_f64();
    let ratio = in_browser
        .zip(one_thread)
        .map(|(browser, native)| browser / native);
    json!({
        "native": native,
        "browser": browser,
        "cpu_browser_to_native_one_thread": ratio,
        "model_bytes": model_bytes,
    })
}

fn model_bytes() -> Result<u64> {
    Ok(fs::metadata(root().join(MODEL))
        .with_context(|| format!("cannot read {MODEL}"))?
        .len())
}

/// The JSON in what a program printed, which may follow lines of another kind.
fn parse(text: &str) -> Result<Value> {
    let start = text.find('{').context("the benchmark printed no JSON")?;
    serde_json::from_str(&text[start..]).context("the benchmark printed broken JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_two_times() {
        let native = json!({ "one_thread": { "bundled": { "milliseconds": 20.0 } } });
        let browser = json!({ "step_of_16": { "cpu": { "milliseconds": 50.0 } } });
        let report = report(native.clone(), browser, 7);
        assert_eq!(report["cpu_browser_to_native_one_thread"], 2.5);
        assert_eq!(report["model_bytes"], 7);
        let without = super::report(native, json!({ "step_of_16": { "cpu": null } }), 7);
        assert!(without["cpu_browser_to_native_one_thread"].is_null());
    }

    #[test]
    fn json_is_found_after_other_lines() {
        assert_eq!(parse("\n> basin-e2e\n{\"a\": 1}\n").unwrap()["a"], 1);
        assert!(parse("nothing").is_err() && parse("{\"a\"").is_err());
    }
}
