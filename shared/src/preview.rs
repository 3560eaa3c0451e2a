//! What other sites show of a link to the page (<https://ogp.me>): its picture must be named by its whole address,
//! which nobody knows before the page is published.

/// The picture, beside `index.html`.
pub const PICTURE: &str = "card.png";
/// Before it, what says where the page is.
const BEFORE: &str = "<meta property=\"og:image\" ";

/// `index.html` of a page that is published at this address, a folder's.
///
/// # Errors
/// If the address is none, or the page does not name its picture as the build leaves it.
pub fn published_at(html: &str, address: &str) -> Result<String, String> {
    let name = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/%[]".contains(c);
    let sound = name
        .is_some_and(|name| !name.starts_with('/') && !name.is_empty() && name.chars().all(plain));
    if !sound {
        return Err(format!(
            "the address is {address}, expected one of a folder, such as https://example.org/basin/"
        ));
    }
    let folder = address.trim_end_matches('/');
    let named = format!("{BEFORE}content=\"{PICTURE}\"");
    if html.matches(&named).count() != 1 {
        return Err(format!(
            "index.html: expected one `{named}`, as the build leaves it"
        ));
    }
    let page = format!("<meta property=\"og:url\" content=\"{folder}/\">");
    let picture = format!("{page}{BEFORE}content=\"{folder}/{PICTURE}\"");
    Ok(html.replace(&named, &picture))
}

#[cfg(test)]
mod tests {
    use super::published_at;

    #[test]
    fn the_picture_is_named_by_its_whole_address() {
        let html = "<head><meta property=\"og:image\" content=\"card.png\"></head>";
        for address in ["https://example.org/basin", "https://example.org/basin/"] {
            assert_eq!(
                published_at(html, address).unwrap(),
                "<head><meta property=\"og:url\" content=\"https://example.org/basin/\">\
                 <meta property=\"og:image\" content=\"https://example.org/basin/card.png\"></head>"
            );
        }
        for wrong in [
            "example.org",
            "ftp://example.org/",
            "https://",
            "https:///a",
            "https://a.org/\">",
            "https://a.org/?b",
        ] {
            let fault = published_at(html, wrong).unwrap_err();
            assert!(fault.contains("expected one of a folder"), "{fault}");
        }
        let fault = published_at("<head></head>", "https://example.org/").unwrap_err();
        assert!(fault.contains("as the build leaves it"), "{fault}");
    }
}
