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
