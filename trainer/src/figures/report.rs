//! A run's curves and samples as one page that needs nothing else.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::atomic_file::write_atomically;

/// Most points of a curve; more are averaged.
const POINTS: usize = 400;
/// Most sheets of samples shown, spread over the run.
const SHEETS: usize = 12;
/// Size of a diagram, in pixels, without its margins.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 200.0;

/// Diagrams: a title, and the figures whose curves it holds. What is in none has one of its own.
const DIAGRAMS: &[(&str, &[&str])] = &[
    ("Loss", &["loss", "cross_entropy"]),
    ("Energies", &["energy_data", "energy_sample"]),
    (
        "Accuracy on the training batch",
        &["accuracy", "clean_accuracy"],
    ),
    (
        "Accuracy on validation images",
        &["validation.clean_accuracy", "validation.robust_accuracy"],
    ),
];

/// Writes the page and returns where it is.
pub(crate) fn write(run: &Path, output: Option<PathBuf>) -> Result<PathBuf> {
    let read = |name: &str| {
        let path = run.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let (recipe, log) = (read("recipe.toml")?, read("metrics.jsonl")?);
    let mut sheets = Vec::new();
    for entry in std::fs::read_dir(run).with_context(|| run.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let iteration = name.strip_prefix("samples-").and_then(|n| n.parse().ok());
        if let Some(iteration) = iteration.filter(|_| path.extension().is_some_and(|e| e == "png"))
        {
            sheets.push((iteration, path));
        }
    }
    sheets.sort();
    let name = run.file_name().unwrap_or(run.as_os_str()).to_string_lossy();
    let html = page(&name, &recipe, &log, &spread(sheets, SHEETS))?;
    let output = output.unwrap_or_else(|| run.join("report.html"));
    write_atomically(&output, html.as_bytes())?;
    Ok(output)
}

/// As many as wanted, the first and the last among them.
fn spread<T: Clone>(all: Vec<T>, most: usize) -> Vec<T> {
    if all.len() <= most {
        return all;
    }
    let at = |i: usize| all[i * (all.len() - 1) / (most - 1)].clone();
    (0..most).map(at).collect()
}

fn page(name: &str, recipe: &str, log: &str, sheets: &[(u64, PathBuf)]) -> Result<String> {
    let curves = curves(log);
    let mut html = String::from(HEAD);
    write!(html, "<title>{0}</title><h1>{0}</h1>", escape(name))?;
    let roll_backs = log
        .lines()
        .filter(|line| line.contains("\"rolled_back\""))
        .count();
    if let Some(iterations) = curves.get("loss").and_then(|loss| loss.last()) {
        write!(
            html,
            "<p>{} iterations, {roll_backs} roll-backs.</p>",
            iterations.0
        )?;
    }
    let mut left: Vec<&String> = curves.keys().collect();
    for (title, names) in DIAGRAMS {
        left.retain(|name| !names.contains(&name.as_str()));
        let of_diagram = names
            .iter()
            .filter_map(|&name| Some((name, curves.get(name)?)));
        html += &diagram(title, &of_diagram.collect::<Vec<_>>());
    }
    for name in left {
        let title = name.replace(['_', '.'], " ");
        html += &diagram(&title, &[(name, &curves[name])]);
    }
    if !sheets.is_empty() {
        html += "<h2>Samples of the averaged model, one class a row, unselected</h2><div>";
        for (iteration, path) in sheets {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            let data = BASE64_STANDARD.encode(bytes);
            write!(
                html,
                "<figure><img alt=\"Samples of iteration {iteration}\" \
                 src=\"data:image/png;base64,{data}\"><figcaption>{iteration}</figcaption></figure>"
            )?;
        }
        html += "</div>";
    }
    write!(html, "<h2>Recipe</h2><pre>{}</pre></html>", escape(recipe))?;
    Ok(html)
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><style>\
    :root{color-scheme:light dark;--a:#0b62c4;--b:#c4500b}\
    @media(prefers-color-scheme:dark){:root{--a:#6fb1ff;--b:#ffa566}}\
    body{font:16px/1.5 system-ui,sans-serif;max-width:1240px;margin:2rem auto;padding:0 1rem}\
    figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}\
    figcaption{font-size:.875rem}svg{max-width:100%;height:auto}\
    text{fill:currentColor;font-size:12px}line{stroke:currentColor;opacity:.25}\
    path{fill:none;stroke-width:1.5}pre{overflow:auto}</style>";

/// Every figure of the log with the iterations that have it; validation's have a prefix.
fn curves(log: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for line in log.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        let Some(iteration) = line.get("iteration").and_then(Value::as_f64) else {
            continue;
        };
        let validation = line.get("validation").and_then(Value::as_object);
        let validation = validation.into_iter().flatten();
        let validation = validation.map(|(name, value)| (format!("validation.{name}"), value));
        let own = line.iter().map(|(name, value)| (name.clone(), value));
        for (name, value) in own.chain(validation) {
            if let (false, Some(value)) = (name == "iteration" || name == "seconds", value.as_f64())
            {
                curves.entry(name).or_default().push((iteration, value));
            }
        }
    }
    curves
}

/// One diagram as SVG; empty where there are no curves.
fn diagram(title: &str, curves: &[(&str, &Vec<(f64, f64)>)]) -> String {
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    let range = |of: fn(&(f64, f64)) -> f64| {
        let finite = || points().map(of).filter(|v| v.is_finite());
        (
            finite().fold(f64::INFINITY, f64::min),
            finite().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    let ((first, last), (low, high)) = (range(|p| p.0), range(|p| p.1));
    if !(first <= last && low <= high) {
        return String::new();
    }
    let (across, up) = ((last - first).max(1e-12), (high - low).max(1e-12));
    let x = |iteration: f64| 60.0 + WIDTH * (iteration - first) / across;
    let y = |value: f64| 10.0 + HEIGHT * (high - value) / up;
    let (right, bottom) = (60.0 + WIDTH, 10.0 + HEIGHT);
    let mut svg = format!(
        "<figure><figcaption><strong>{}</strong></figcaption>\
         <svg width=\"{}\" height=\"{}\" viewBox=\"0 0 {0} {1}\" role=\"img\" aria-label=\"{2}\">",
        escape(title),
        right + 10.0,
        bottom + 40.0,
    )
    .replace("{0} {1}", &format!("{} {}", right + 10.0, bottom + 40.0))
    .replace("{2}", &escape(title));
    for value in [low, (low + high) / 2.0, high] {
        let y = y(value);
        svg += &format!(
            "<line x1=\"60\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{value:.3}</text>",
            y + 4.0
        );
    }
    svg += &format!(
        "<text x=\"60\" y=\"{0}\">{first}</text>\
         <text x=\"{right}\" y=\"{0}\" text-anchor=\"end\">{last}</text>",
        bottom + 16.0
    );
    for (number, (name, points)) in curves.iter().enumerate() {
        let color = ["var(--a)", "var(--b)"][number % 2];
        let mut path = String::new();
        for (iteration, value) in averaged(points) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path += &format!("{command}{:.1} {:.1}", x(iteration), y(value));
        }
        svg += &format!(
            "<path d=\"{path}\" stroke=\"{color}\"/>\
             <text x=\"{}\" y=\"{}\" style=\"fill:{color}\">{}</text>",
            60 + 160 * number,
            bottom + 34.0,
            escape(&name.replace(['_', '.'], " "))
        );
    }
    svg + "</svg></figure>"
}

/// At most [`POINTS`] points, means of neighbours.
fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let sum = chunk.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        (sum.0 / count, sum.1 / count)
    };
    let finite: Vec<_> = points.iter().copied().filter(|p| p.1.is_finite()).collect();
    finite
        .chunks(finite.len().div_ceil(POINTS).max(1))
        .map(mean)
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_of_numbers_only_and_know_where_they_are_from() {
        let log = "{\"iteration\": 1, \"loss\": 2.0, \"seconds\": 9}\n\
                   {\"iteration\": 1, \"rolled_back\": \"diverged\"}\n\
                   {\"iteration\": 2, \"loss\": 1.0, \"validation\": {\"clean_accuracy\": 0.5}}\n";
        let curves = curves(log);
        assert_eq!(curves["loss"], [(1.0, 2.0), (2.0, 1.0)]);
        assert_eq!(curves["validation.clean_accuracy"], [(2.0, 0.5)]);
        assert_eq!(curves.len(), 2);
    }

    #[test]
    fn long_curves_become_means_and_sheets_are_spread() {
        let points: Vec<_> = (0..1600)
            .map(|i| (f64::from(i), f64::from(i % 4)))
            .collect();
        let means = averaged(&points);
        assert_eq!((means.len(), means[0]), (POINTS, (1.5, 1.5)));
        assert_eq!(spread((0..100).collect(), 4), [0, 33, 66, 99]);
        assert_eq!(spread(vec![1, 2], 4), [1, 2]);
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let log = "{\"iteration\": 1, \"loss\": 2.0}\n{\"iteration\": 2, \"loss\": 1e999}\n";
        let html = page("a<b", "name = \"x\"", log, &[]).unwrap();
        assert!(html.contains("<svg") && html.contains("a&lt;b") && !html.contains("NaN"));
        assert!(!html.contains("http"), "{html}");
    }
}
