//! Halves of characters in JSON.
//!
//! JSON escapes a character outside the basic plane, such as an emoji, as two surrogates:
//! `\ud83c\udfb1`. A sender that cuts a text between the two leaves a half, which is not valid
//! Unicode, and `serde_json` rejects the whole document.

use std::borrow::Cow;

const LENGTH: usize = r"\ud83c".len();
const REPLACEMENT: &[u8] = br"\ufffd";

/// The JSON with each half replaced by an escaped U+FFFD. Whole pairs stay.
pub(crate) fn without_halves(json: &[u8]) -> Cow<'_, [u8]> {
    let mut repaired: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        let here = surrogate(&json[at..]);
        let next = json.get(at + LENGTH..).and_then(surrogate);
        at += match (here, next) {
            (Some(Half::High(_)), Some(Half::Low(_))) => 2 * LENGTH,
            (Some(_), _) => {
                let repaired = repaired.get_or_insert_with(|| json.to_vec());
                // Of the same length, so that positions stay valid.
                repaired[at..at + LENGTH].copy_from_slice(REPLACEMENT);
                LENGTH
            }
            // An escape of two bytes at least; also `\\`, which does not start another escape.
            (None, _) => 2.min(json.len() - at),
        };
    }
    repaired.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// One of the two surrogates of a character.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Half {
    /// The first, D800 to DBFF.
    High(u16),
    /// The second, DC00 to DFFF.
    Low(u16),
}

/// The surrogate whose escape starts here.
pub(crate) fn surrogate(json: &[u8]) -> Option<Half> {
    let digits = json.strip_prefix(br"\u")?.get(..4)?;
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    match code {
        0xD800..=0xDBFF => Some(Half::High(code)),
        0xDC00..=0xDFFF => Some(Half::Low(code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::properties::cases;

    fn repaired(json: &str) -> String {
        String::from_utf8(without_halves(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn only_halves_are_replaced() {
        assert_eq!(repaired(r#""\ud83c\udfb1""#), r#""\ud83c\udfb1""#);
        assert_eq!(repaired(r#""a\uD83C""#), r#""a\ufffd""#);
        assert_eq!(repaired(r#""\udfb1b""#), r#""\ufffdb""#);
        assert_eq!(
            repaired(r#""\ud83c\ud83c\udfb1""#),
            r#""\ufffd\ud83c\udfb1""#
        );
        assert_eq!(repaired(r#""\\ud83c""#), r#""\\ud83c""#);
        assert_eq!(repaired(r"\u"), r"\u");
    }

    proptest! {
        #![proptest_config(cases(256))]

        /// Any sequence of escapes becomes a valid JSON string, and a valid one is not changed.
        #[test]
        fn any_string_becomes_valid(
            parts in vec(select(vec![r"\ud83c", r"\udfb1", r"\\", r"\n", "ud83c", "字", r"\u0041"]), 0..8)
        ) {
            let json = format!("\"{}\"", parts.concat());
            let repaired = repaired(&json);
            prop_assert!(serde_json::from_str::<String>(&repaired).is_ok(), "{}", repaired);
            if serde_json::from_str::<String>(&json).is_ok() {
                prop_assert_eq!(repaired, json);
            }
        }
    }
}
