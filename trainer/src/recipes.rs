//! The recipes that come with the program, by name: each after its paper, all numbers in it.

use std::path::Path;

/// Names and texts of these files of `trainer/recipes`.
macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../recipes/", $name, ".toml")))),*]
    };
}

/// Every recipe, in the order of their names.
pub(crate) const RECIPES: &[(&str, &str)] = recipes![
    "at-cifar10",
    "at-fashion-mnist",
    "dat-cifar10",
    "dsm-fashion-mnist",
    "dsm-wrn-16-2-cifar10",
    "fast-cifar10",
    "fast-mnist",
    "free-cifar10",
    "igebm-cifar10",
    "jeat-cifar10",
    "jeat-fashion-mnist",
    "jeat-wrn-16-2-cifar10",
    "jem++-cifar10",
    "jem-cifar10",
    "mail-trades-cifar10",
    "mart-cifar10",
    "noise-cifar10",
    "prejeat-cifar10",
    "prejeat-fashion-mnist",
    "sada-jem-cifar10",
    "standard-cifar10",
    "standard-fashion-mnist",
    "standard-wrn-16-3-cifar10",
    "trades-cifar10",
    "weat-adv-cifar10",
    "weat-nat-cifar10",
];

/// The text of the recipe that a path names where no file is: `jeat-fashion-mnist`, with or without `.toml`.
pub(crate) fn named(path: &Path) -> Option<&'static str> {
    let name = path.to_str()?;
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let known = RECIPES.iter().find(|(known, _)| *known == name);
    known.map(|(_, text)| *text)
}

/// The sentence that a recipe begins with: method, paper, what is particular.
pub(crate) fn first_sentence(text: &str) -> String {
    // Up to a list or an empty line.
    let prose = |line: &&str| line.starts_with("# ") && !line.starts_with("# -");
    let comment = text.lines().take_while(prose);
    let words = comment.map(|line| line.trim_start_matches(['#', ' ']));
    let whole = words.collect::<Vec<_>>().join(" ");
    // An abbreviation's full stop is followed by no capital.
    let ends = whole.match_indices(". ").map(|(at, _)| at);
    let mut ends = ends.filter(|at| whole[at + 2..].starts_with(char::is_uppercase));
    let end = ends.next().unwrap_or(whole.trim_end_matches('.').len());
    whole[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn every_recipe_of_the_folder_is_known_by_its_name_and_says_what_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let files = std::fs::read_dir(folder).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let mut known: Vec<_> = RECIPES
            .iter()
            .map(|(name, _)| format!("{name}.toml"))
            .collect();
        known.sort();
        assert_eq!(known, names);
        for (name, text) in RECIPES {
            assert_eq!(named(Path::new(name)), Some(*text));
            assert!(Recipe::parse(text, name, &[]).is_ok());
            let said = first_sentence(text);
            assert!(said.len() > 20 && said.len() < 300, "{name}: {said}");
            assert!(
                !said.contains("Run:") && !said.contains(" - "),
                "{name}: {said}"
            );
        }
    }
}
