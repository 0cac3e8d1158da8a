//! Property tests: contents and client message ids are valid exactly by the documented rules.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

/// The characters of Unicode's `White_Space`, listed.
fn is_space(character: char) -> bool {
    matches!(
        character,
        '\u{9}'..='\u{d}'
            | '\u{20}'
            | '\u{85}'
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
    )
}

/// `text` without leading and trailing white space, found in a different way than `str::trim`.
fn trimmed(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let first = characters
        .iter()
        .position(|character| !is_space(*character));
    let last = characters
        .iter()
        .rposition(|character| !is_space(*character));
    match (first, last) {
        (Some(first), Some(last)) => characters[first..=last].iter().collect(),
        _ => String::new(),
    }
}

fn spaces() -> impl Strategy<Value = String> {
    let space = select(vec![
        ' ', '\t', '\n', '\r', '\u{b}', '\u{85}', '\u{a0}', '\u{1680}', '\u{2003}', '\u{2028}',
        '\u{2029}', '\u{202f}', '\u{205f}', '\u{3000}',
        // These look like spaces but are not `White_Space`.
        '\u{200b}', '\u{feff}', '\u{180e}', '\u{2060}', '\u{1f}',
    ]);
    vec(space, 0..5).prop_map(String::from_iter)
}

/// Text with `least` to `most` characters of one to four bytes, plus an optional end.
fn long(least: usize, most: usize) -> impl Strategy<Value = String> {
    let character = select(vec!["a", "é", "收", "🎱", " ", "\0"]);
    (
        character,
        least..most,
        prop_oneof![3 => Just(""), 1 => Just("\0"), 1 => Just(".")],
    )
        .prop_map(|(character, length, end)| character.repeat(length) + end)
}

fn reason(error: Error) -> Result<(String, Reason), TestCaseError> {
    match error {
        Error::Invalid { field, reason } => Ok((field.into_owned(), reason)),
        other => Err(TestCaseError::fail(other.to_string())),
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn content_is_valid_exactly_by_the_documented_rule(
        before in spaces(),
        inner in prop_oneof![4 => text(), 1 => long(7_996, 8_004), 1 => "(?s).{0,40}"],
        after in spaces(),
    ) {
        let text = format!("{before}{inner}{after}");
        let expected = trimmed(&text);
        let length = expected.chars().count();
        match Content::parse(Some(&text)) {
            Ok(content) => {
                prop_assert!((1..=8_000).contains(&length) && !expected.contains('\0'));
                prop_assert_eq!(content.as_str(), &expected);
                // Parsing is idempotent, so a repeat has the same content.
                prop_assert_eq!(Content::parse(Some(content.as_str())).unwrap(), content);
            }
            Err(error) => {
                let (field, reason) = reason(error)?;
                prop_assert_eq!(field, "content");
                let right = match reason {
                    Reason::Empty => length == 0,
                    Reason::TooLong(most) => most == 8_000 && length > most,
                    Reason::Nul => expected.contains('\0'),
                    _ => false,
                };
                prop_assert!(right, "{:?}", reason);
            }
        }
    }

    #[test]
    fn a_client_message_id_is_valid_exactly_by_the_documented_rule(
        text in prop_oneof![3 => text(), 2 => long(60, 68), 1 => spaces(), 1 => "(?s).{0,70}"],
    ) {
        let length = text.chars().count();
        let fits = (1..=64).contains(&length) && !text.contains('\0');
        match ClientMessageId::parse(Some(text.clone())) {
            Ok(id) => {
                prop_assert!(fits);
                prop_assert_eq!(id.map(|id| id.0), Some(text));
            }
            Err(error) => {
                prop_assert!(!fits);
                prop_assert_eq!(reason(error)?.0, "clientMessageId");
            }
        }
    }
}
