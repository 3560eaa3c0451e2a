//! Numbers as a field, a slider and a link have them.

/// The number that a text is, if it is one. The browser reads it: Rust's own reader has ten kilobytes of powers of five.
pub fn read(text: &str) -> Option<f64> {
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return None;
    }
    #[cfg(target_arch = "wasm32")]
    let number = wasm_bindgen::JsValue::from_str(text).unchecked_into_f64();
    #[cfg(not(target_arch = "wasm32"))]
    let number = text.parse().unwrap_or(f64::NAN);
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_no_number_is_none() {
        let numbers = [("-1.5e-3", -1.5e-3), ("7", 7.0), (".5", 0.5), ("+2.", 2.0)];
        for (text, number) in numbers {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in [
            "", " 1", "0x10", "NaN", "inf", "Infinity", "1e999", "1,5", "-", "e5",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
