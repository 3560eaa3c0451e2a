//! Files that a reader meets whole.

use std::{fs::Permissions, io::Write, path::Path};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be written: {cause}")]
pub(crate) struct WriteError {
    path: String,
    cause: String,
}

impl WriteError {
    fn new(path: &Path, source: std::io::Error) -> Self {
        let cause = source.to_string();
        // Without the name of the temporary file, which tells nobody anything.
        let cause = cause.split(" at path ").next().unwrap_or_default();
        Self {
            path: path.display().to_string(),
            cause: cause.into(),
        }
    }
}

/// Whether a file could be written there, before its content is computed for minutes. `-` is the standard output.
pub(crate) fn try_out(path: &Path) -> Result<(), WriteError> {
    if path == Path::new("-") {
        return Ok(());
    }
    let there = match path.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => beside(path).map(drop),
    };
    there.map_err(|source| WriteError::new(path, source))
}

/// A new file in the folder of another; it goes when it is dropped.
fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.suffix(".part");
    let permissions = as_usual();
    if let Some(permissions) = permissions {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder)
}

/// Writes a file beside its place, flushes it to the disk and renames it: a reader meets the old
/// bytes or the new ones, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let write = || {
        let mut file = beside(path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| WriteError::new(path, source))
}

/// What a file may be used for that is made in the usual way: a temporary one is its owner's alone.
#[cfg(unix)]
fn as_usual() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn as_usual() -> Option<Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [&b"first"[..], b"second"] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_atomically(&folder.path().join("no/file"), b"").unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("no/file: cannot be written: ") && !error.contains(".part"),
            "{error}"
        );
    }

    #[test]
    fn a_place_is_tried_out_without_leaving_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        try_out(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(&path, "kept").unwrap();
        try_out(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
        for nowhere in [folder.path().join("no/file"), folder.path().into()] {
            let error = try_out(&nowhere).unwrap_err().to_string();
            assert!(error.starts_with(&nowhere.display().to_string()), "{error}");
        }
        try_out(Path::new("-")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_they_may_read_any_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, usual] = ["ours", "usual"].map(|name| folder.path().join(name));
        write_atomically(&ours, b"").unwrap();
        std::fs::write(&usual, b"").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(usual));
    }
}
