//! Lists of models, as whoever hosts a page writes them: `models/index.json` beside the page, and any other by its
//! address. A list is data of somebody else: what it may hold is checked, and shown as text.

use serde::Deserialize;

/// Longest list that is read, in bytes.
pub const LONGEST_LIST: usize = 1 << 20;
/// Longest picture of a model, in bytes.
pub const LONGEST_PICTURE: usize = 1 << 20;
/// Most models of a list.
const MOST_MODELS: usize = 200;
/// Most characters of a text in it.
const MOST_CHARACTERS: usize = 200;

/// A model of a list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The model file's address, seen from the list.
    pub file: String,
    /// That of a picture that the model drew; empty where there is none.
    pub picture: String,
    pub name: String,
    /// What it was trained on.
    pub data: String,
    pub licence: String,
    pub author: String,
    pub parameters: Option<f64>,
    /// Length of the file.
    pub bytes: Option<f64>,
    /// Share of clean test images that are named right.
    pub accuracy: Option<f64>,
    /// The same under the attack.
    pub robust_accuracy: Option<f64>,
    /// Which attack, with its radius.
    pub attack: String,
}

#[derive(Deserialize)]
struct List {
    models: Vec<Entry>,
}

/// The models of a list; the error says what was found and what was expected.
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
    fn the_pages_own_list_is_read_and_names_what_lies_beside_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../static/models/");
        let models =
            read(&std::fs::read_to_string(format!("{folder}index.json")).unwrap()).unwrap();
        for bundled in crate::bundled::Bundled::ALL {
            let file = bundled.file();
            let entry = models
                .iter()
                .find(|entry| format!("models/{}", entry.file) == file);
            let entry = entry.expect("every bundled model is in the list");
            let length = std::fs::metadata(format!("{folder}{}", entry.file))
                .unwrap()
                .len();
            assert_eq!(entry.bytes, Some(length as f64));
            assert!(std::fs::exists(format!("{folder}{}", entry.picture)).unwrap());
            assert!(entry.accuracy.is_some() && entry.robust_accuracy.is_some());
            assert!(!entry.attack.is_empty());
        }
    }

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
    }
}
