//! Words in a PNG file (Portable Network Graphics, third edition, 11.3.3): beside what it shows, it says what it shows,
//! and the link that draws it again.

/// The keyword of the link.
pub const LINK: &str = "Basin-Link";

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Signature and header chunk, which come first.
const HEAD: usize = 8 + 25;
/// Length, type and checksum of a chunk.
const FRAME: usize = 12;

/// The file with texts in it, each a keyword and words in any script.
pub fn with_texts(png: &[u8], texts: &[(&str, &str)]) -> Vec<u8> {
    if !png.starts_with(SIGNATURE) || png.len() < HEAD {
        return png.to_vec();
    }
    let (head, rest) = png.split_at(HEAD);
    let mut whole = head.to_vec();
    for (keyword, text) in texts {
        // Not compressed, in no named language.
        let content = [keyword.as_bytes(), b"\0\0\0\0\0", text.as_bytes()].concat();
        let chunk = [b"iTXt", &content[..]].concat();
        whole.extend((content.len() as u32).to_be_bytes());
        whole.extend(&chunk);
        whole.extend(crc32fast::hash(&chunk).to_be_bytes());
    }
    whole.extend(rest);
    whole
}

/// The text of this keyword in the beginning of a file, if it is there and right.
pub fn text(png: &[u8], keyword: &str) -> Option<String> {
    let mut rest = png.strip_prefix(SIGNATURE)?;
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let whole = rest.get(..length.checked_add(FRAME)?)?;
        let (chunk, sum) = whole[4..].split_last_chunk::<4>()?;
        let content = chunk.strip_prefix(b"iTXt");
        let named = content.and_then(|content| content.strip_prefix(keyword.as_bytes()));
        if let Some(text) = named.and_then(|content| content.strip_prefix(b"\0\0\0\0\0")) {
            let right = crc32fast::hash(chunk) == u32::from_be_bytes(*sum);
            return String::from_utf8(text.to_vec()).ok().filter(|_| right);
        }
        rest = &rest[whole.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_changes() {
        let png: &[u8] = include_bytes!("../../static/samples/cifar-10/dream.png");
        let written = with_texts(png, &[("Title", "a horse, “dreamt”"), (LINK, "#class=7")]);
        assert_eq!(text(&written, LINK).as_deref(), Some("#class=7"));
        assert_eq!(
            text(&written, "Title").as_deref(),
            Some("a horse, “dreamt”")
        );
        assert_eq!(text(png, LINK), None);
        assert!(written.starts_with(&png[..HEAD]) && written.ends_with(&png[HEAD..]));
        // Cut short or altered anywhere, it is not read wrong.
        for end in 0..written.len().min(200) {
            let found = text(&written[..end], LINK);
            assert!(found.is_none() || found.as_deref() == Some("#class=7"));
        }
        for place in HEAD..200 {
            let mut altered = written.clone();
            altered[place] ^= 1;
            let found = text(&altered, LINK);
            assert!(
                found.is_none() || found.as_deref() == Some("#class=7"),
                "{place}"
            );
        }
    }
}
