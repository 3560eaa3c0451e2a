//! A model's figures in the shape of RobustBench's own (`model_info/DATA SET/NORM/MODEL.json`).

use anyhow::{Context, Result};
use basin_shared::ModelFile;
use serde_json::{Value, json};

use crate::evaluation::measured::Measured;

/// RobustBench's fields. What Basin cannot know, such as where a paper was published and whether other data were used,
/// is null, to be filled in by hand.
///
/// # Errors
/// If AutoAttack was not measured.
pub(crate) fn robustbench(file: &ModelFile, measured: &Measured) -> Result<Value> {
    let accuracy = measured
        .figure("auto_attack_accuracy")
        .context("--robustbench: AutoAttack was not measured")?;
    let figure = |name: &str| {
        measured
            .figure(name)
            .context("--robustbench: a figure is missing")
    };
    let (clean, images) = (figure("clean_accuracy")?, figure("auto_attack_images")?);
    let epsilon = figure("auto_attack_epsilon")?;
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let notes = measured.notes.join(" ");
    Ok(json!({
        "link": null,
        "name": file.card.name,
        "authors": file.card.author,
        "additional_data": null,
        "number_forward_passes": 1,
        "dataset": file.card.data_set.replace('-', ""),
        "venue": null,
        "architecture": file.card.architecture.title(),
        "eps": fraction(epsilon),
        "clean_acc": percent(clean),
        "reported": null,
        "autoattack_acc": percent(accuracy),
        "footnote": format!(
            "AutoAttack (standard) by Basin {} on the first {images} test images; weights {}. {notes}",
            env!("CARGO_PKG_VERSION"),
            file.card.weights_sha256
        ).trim(),
        "unreliable": false,
    }))
}

/// A radius in steps of 255 where it is a whole number of them.
fn fraction(epsilon: f64) -> String {
    let steps = epsilon * 255.0;
    match (steps - steps.round()).abs() < 1e-4 {
        true => format!("{}/255", steps.round()),
        false => format!("{epsilon:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_robustbench() {
        let bytes = include_bytes!("../../../static/models/cifar-10-dsm.safetensors");
        let file = ModelFile::read(bytes).unwrap();
        let mut measured = Measured::default();
        let error = robustbench(&file, &measured).unwrap_err().to_string();
        assert!(error.contains("AutoAttack was not measured"), "{error}");
        for (name, value) in [
            ("clean_accuracy", 0.74),
            ("auto_attack_accuracy", 0.325),
            ("auto_attack_images", 200.0),
            ("auto_attack_epsilon", f64::from(8.0_f32 / 255.0)),
        ] {
            measured.add(name, value);
        }
        let found = robustbench(&file, &measured).unwrap();
        let expected = [
            ("dataset", "cifar10"),
            ("eps", "8/255"),
            ("clean_acc", "74.00"),
            ("autoattack_acc", "32.50"),
            ("architecture", "Wide-ResNet 16-2"),
        ];
        for (field, expected) in expected {
            assert_eq!(found[field], expected);
        }
        assert!(
            found["footnote"]
                .as_str()
                .unwrap()
                .contains("first 200 test images")
        );
        assert_eq!(fraction(0.1), "0.1000");
    }
}
