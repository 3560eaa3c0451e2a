//! The built page as a folder for a host of static files, each file with what it is compressed beside it: hosts that
//! know `.br` and `.gz` send those to browsers that take them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use basin_shared::preview::published_at;
use flate2::{Compression, write::GzEncoder};

use crate::page;

/// What is worth it: pictures and weights are as small as they get.
const TEXTS: [&str; 9] = [
    "css",
    "html",
    "js",
    "json",
    "mjs",
    "svg",
    "txt",
    "wasm",
    "webmanifest",
];

/// Endings of the compressed, and the names of the ways in HTTP, the better first.
pub(crate) const ENCODINGS: [(&str, &str); 2] = [("br", "br"), ("gz", "gzip")];

/// Copies the page to a folder that is empty or not there yet. Where it is to be published, its files name themselves
/// by that address where they must.
pub(crate) fn release(folder: &Path, address: Option<&str>) -> Result<()> {
    let taken = fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    ensure!(
        !taken,
        "{}: has files already; expected a folder that is empty or not there yet",
        folder.display()
    );
    for file in page::files(&page::dist())? {
        let to = folder.join(&file);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let mut bytes = fs::read(page::dist().join(&file))?;
        if let Some(address) = address.filter(|_| file == "index.html") {
            let html = String::from_utf8(bytes)?;
            bytes = published_at(&html, address)
                .map_err(|fault| anyhow!(fault))?
                .into();
        }
        fs::write(&to, &bytes).with_context(|| to.display().to_string())?;
        compress(&to, &bytes)?;
    }
    println!("{}", folder.display());
    Ok(())
}

/// The file of this encoding beside another.
pub(crate) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Writes what a file is compressed, where that is smaller.
fn compress(file: &Path, bytes: &[u8]) -> Result<()> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    if !extension.is_some_and(|extension| TEXTS.contains(&extension)) {
        return Ok(());
    }
    for (ending, _) in ENCODINGS {
        let compressed = match ending {
            "br" => brotli(bytes)?,
            _ => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
                gzip.write_all(bytes)?;
                gzip.finish()?
            }
        };
        if compressed.len() < bytes.len() {
            fs::write(beside(file, ending), compressed)?;
        }
    }
    Ok(())
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 24,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters)?;
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_lies_beside_a_file_is_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = "an energy is low where the network sees what it knows; ".repeat(50);
        let file = folder.path().join("a.js");
        compress(&file, text.as_bytes()).unwrap();
        let mut found = String::new();
        let gzip = fs::File::open(beside(&file, "gz")).unwrap();
        flate2::read::GzDecoder::new(gzip)
            .read_to_string(&mut found)
            .unwrap();
        assert_eq!(found, text);
        let packed = fs::read(beside(&file, "br")).unwrap();
        assert!(packed.len() < text.len() / 10);
        let mut found = Vec::new();
        brotli::BrotliDecompress(&mut &*packed, &mut found).unwrap();
        assert_eq!(found, text.as_bytes());
        // Nothing is gained on these.
        for name in ["a.png", "b.js"] {
            let file = folder.path().join(name);
            compress(&file, b"x").unwrap();
            assert!(!beside(&file, "br").exists() && !beside(&file, "gz").exists());
        }
    }
}
