//! What fuzz targets call.

use crate::address::Settings;

/// Reads a link: what it gives, written out, is read as the same without a word.
///
/// # Panics
/// If it is not.
pub fn link(hash: &str) {
    let (settings, _) = Settings::from_hash(hash);
    let written = settings.to_hash(None);
    let (read, faults) = Settings::from_hash(&written);
    assert!(faults.is_empty(), "{written}: {faults:?}");
    // As numbers that differ from themselves are refused, the same is equal.
    assert_eq!(read, settings, "{written}");
}

/// Reads a list of models: what is in it can be shown.
///
/// # Panics
/// If it is not.
pub fn list(text: &str) {
    let Ok(models) = basin_shared::gallery::read(text) else {
        return;
    };
    for entry in &models {
        assert!(!entry.file.is_empty());
        let shares = [entry.accuracy, entry.robust_accuracy];
        assert!(
            shares
                .into_iter()
                .flatten()
                .all(|share| (0.0..=1.0).contains(&share))
        );
        assert!(entry.title().chars().count() <= 2000);
    }
}
