//! What the page keeps for a visit without a network. The build tells its script, and so does whoever publishes the page
//! with other models: otherwise browsers would keep the list of another publication.

use sha2::{Digest, Sha256};

use crate::{file::container::hex, preview};

/// The script, a service worker.
pub const SCRIPT: &str = "offline.js";

/// Whether a file of the page, by its path from there, is kept: not the script itself, the picture that other sites
/// show of a link, and what hosts and people read.
pub fn is_kept(path: &str) -> bool {
    let others = [SCRIPT, preview::PICTURE].contains(&path) || path.ends_with(".md");
    !others && !path.starts_with(['.', '_'])
}

/// A short hash of files, by names and contents.
///
/// # Errors
/// That of `read`.
pub fn version<E>(
    files: &[String],
    read: impl Fn(&str) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(file);
        hasher.update(read(file)?);
    }
    Ok(hex(&hasher.finalize()[..6]))
}

/// The script that keeps these files of this version, in the place of those that it kept before.
///
/// # Errors
/// If it has not one line for either.
pub fn list(script: &str, files: &[String], version: &str) -> Result<String, String> {
    let mut found = [0, 0];
    let lines = script.lines().map(|line| match () {
        () if line.starts_with("const VERSION = ") => {
            found[0] += 1;
            format!("const VERSION = {version:?};\n")
        }
        () if line.starts_with("const FILES = ") => {
            found[1] += 1;
            format!("const FILES = {files:?};\n")
        }
        () => format!("{line}\n"),
    });
    let script = lines.collect();
    match found {
        [1, 1] => Ok(script),
        [versions, lists] => Err(format!(
            "{SCRIPT}: {versions} lines with VERSION and {lists} with FILES, expected one of either, as the build \
             writes them"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_s_own_script_is_told_again_and_again() {
        let script = include_str!("../../static/offline.js");
        let files = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<_>>();
        let built = list(script, &files(&["a", "b"]), "1").unwrap();
        assert!(built.contains("const VERSION = \"1\";\nconst FILES = [\"a\", \"b\"];\n"));
        let published = list(&built, &files(&["c"]), "2").unwrap();
        assert_eq!(published, list(script, &files(&["c"]), "2").unwrap());
        let error = list("const VERSION = \"\";", &[], "").unwrap_err();
        assert!(
            error.contains("1 lines with VERSION and 0 with FILES"),
            "{error}"
        );
    }

    #[test]
    fn a_version_is_of_names_and_contents() {
        let of = |name: &str, content: &str| {
            version(&[name.into()], |_| Ok::<_, ()>(content.as_bytes().to_vec())).unwrap()
        };
        assert_eq!(of("a", "x").len(), 12);
        assert_eq!(of("a", "x"), of("a", "x"));
        assert_ne!(of("a", "x"), of("b", "x"));
        assert_ne!(of("a", "x"), of("a", "y"));
    }

    #[test]
    fn what_others_read_is_not_kept() {
        for kept in ["index.html", "models/a.safetensors", "models/index.json"] {
            assert!(is_kept(kept), "{kept}");
        }
        for not in [
            "offline.js",
            "card.png",
            "README.md",
            "_headers",
            ".nojekyll",
        ] {
            assert!(!is_kept(not), "{not}");
        }
    }
}
