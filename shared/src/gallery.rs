//! Lists of models, as `basin publish` or whoever hosts a page writes them: `models/index.json` beside the page, and any
//! other by its address. A list is data of somebody else: what it may hold is checked, and shown as text.

use serde::{Deserialize, Serialize, Serializer};

/// Most models of a list.
const MOST_MODELS: usize = 200;
/// Most characters of a text in it.
const MOST_CHARACTERS: usize = 200;

/// A model of a list. What is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The model file's address, seen from the list.
    pub file: String,
    /// That of a picture that the model drew; empty where there is none.
    pub picture: String,
    /// Its name for people.
    pub name: String,
    /// What it was trained on.
    pub data: String,
    /// Licence of the weights.
    pub licence: String,
    /// Who made it.
    pub author: String,
    /// Trained numbers.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole")]
    pub parameters: Option<f64>,
    /// Length of the file.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole")]
    pub bytes: Option<f64>,
    /// Share of clean test images that are named right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The same under the attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robust_accuracy: Option<f64>,
    /// Which attack, with its radius.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attack: String,
}

/// A count is written without a point.
fn whole<S: Serializer>(count: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    count.map(|count| count as u64).serialize(serializer)
}

#[derive(Serialize, Deserialize)]
struct List {
    models: Vec<Entry>,
}

/// The text of a list.
pub fn write(models: Vec<Entry>) -> String {
    let json = serde_json::to_string_pretty(&List { models }).expect("plain data");
    json + "\n"
}

/// The models of a list.
///
/// # Errors
/// The sentence says what was found and what was expected.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    let List { models } = serde_json::from_str(text).map_err(|error| {
        format!("no list of models ({error}); expected {{\"models\": [{{\"file\": …}}]}}")
    })?;
    if models.len() > MOST_MODELS {
        let found = models.len();
        return Err(format!("{found} models, expected {MOST_MODELS} at most"));
    }
    for (number, entry) in models.iter().enumerate() {
        if let Some(fault) = entry.fault() {
            return Err(format!("model {} of the list: {fault}", number + 1));
        }
    }
    Ok(models)
}

impl Entry {
    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        let texts = [
            ("file", &self.file),
            ("picture", &self.picture),
            ("name", &self.name),
            ("data", &self.data),
            ("licence", &self.licence),
            ("author", &self.author),
            ("attack", &self.attack),
        ];
        for (name, text) in texts {
            let length = text.chars().count();
            // Addresses may be long.
            let most = MOST_CHARACTERS
                * if matches!(name, "file" | "picture") {
                    10
                } else {
                    1
                };
            if length > most {
                return Some(format!(
                    "`{name}` has {length} characters, expected {most} at most"
                ));
            }
        }
        for (name, text) in &texts[..1] {
            if text.is_empty() {
                return Some(format!(
                    "`{name}` is missing, expected the address of a model file"
                ));
            }
        }
        let shares = [
            ("accuracy", self.accuracy),
            ("robust_accuracy", self.robust_accuracy),
        ];
        let counts = [("parameters", self.parameters), ("bytes", self.bytes)];
        let numbers = shares.map(|(name, value)| (name, value, 1.0, "0 to 1"));
        let numbers = numbers
            .into_iter()
            .chain(counts.map(|(name, value)| (name, value, 1e12, "0 to 10¹²")));
        for (name, value, most, range) in numbers {
            if let Some(value) = value.filter(|value| !(0.0..=most).contains(value)) {
                return Some(format!("`{name}` is {value}, expected {range}"));
            }
        }
        None
    }

    /// Its name, or that of its file.
    pub fn title(&self) -> &str {
        let file = self.file.rsplit('/').next().unwrap_or_default();
        if self.name.is_empty() {
            file
        } else {
            &self.name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_said_with_their_place() {
        let of = |text: &str| read(text).unwrap_err();
        assert!(of("[]").starts_with("no list of models"));
        assert_eq!(
            of(r#"{"models": [{"file": "a"}, {"name": "b"}]}"#),
            "model 2 of the list: `file` is missing, expected the address of a model file"
        );
        assert_eq!(
            of(r#"{"models": [{"file": "a", "accuracy": 74.0}]}"#),
            "model 1 of the list: `accuracy` is 74, expected 0 to 1"
        );
        let long = format!(
            r#"{{"models": [{{"file": "a", "name": "{}"}}]}}"#,
            "x".repeat(201)
        );
        assert!(of(&long).ends_with("`name` has 201 characters, expected 200 at most"));
        let many = format!(r#"{{"models": [{}]}}"#, [r#"{"file": "a"}"#; 201].join(","));
        assert_eq!(of(&many), "201 models, expected 200 at most");
        let read =
            read(r#"{"models": [{"file": "x/a.safetensors", "new": 1}], "more": []}"#).unwrap();
        assert_eq!(read[0].title(), "a.safetensors");
        let entry = Entry {
            parameters: Some(690_986.0),
            accuracy: Some(0.74),
            ..read[0].clone()
        };
        let text = write(vec![entry.clone()]);
        assert!(text.contains("\"parameters\": 690986,"), "{text}");
        assert_eq!(super::read(&text), Ok(vec![entry]));
    }
}
