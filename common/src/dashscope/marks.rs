//! Marks of citations in the text. The service sends `<ref>[1]</ref>`, and readers see `[1]`.

use std::mem;

const OPEN: &str = "<ref>";
const CLOSE: &str = "</ref>";
/// Bytes between the two tags at most. Longer text is no mark, so that it is not kept back.
const MAX_NUMBERS: usize = 32;

/// Removes the tags of marks from a text that comes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The beginning of a possible mark.
    held: String,
}

/// The beginning of a text that starts with `<`.
enum Begin<'a> {
    Mark {
        shown: &'a str,
        rest: &'a str,
    },
    /// The next piece must decide.
    Incomplete,
    Other,
}

impl Marks {
    /// The text without tags. Keeps an incomplete mark at the end for the next call.
    pub(super) fn push(&mut self, piece: String) -> String {
        if self.held.is_empty() && !piece.contains('<') {
            return piece;
        }
        let text = mem::take(&mut self.held) + &piece;
        let mut shown = String::with_capacity(text.len());
        let mut rest = &*text;
        while let Some(at) = rest.find('<') {
            shown.push_str(&rest[..at]);
            rest = &rest[at..];
            match read(rest) {
                Begin::Mark {
                    shown: mark,
                    rest: after,
                } => {
                    shown.push_str(mark);
                    rest = after;
                }
                Begin::Incomplete => {
                    rest.clone_into(&mut self.held);
                    return shown;
                }
                Begin::Other => {
                    shown.push('<');
                    rest = &rest[1..];
                }
            }
        }
        shown.push_str(rest);
        shown
    }

    /// The text that is kept back, at the end of the answer.
    pub(super) fn finish(&mut self) -> String {
        mem::take(&mut self.held)
    }
}

fn read(text: &str) -> Begin<'_> {
    let Some(inner) = text.strip_prefix(OPEN) else {
        return incomplete_if(OPEN.starts_with(text));
    };
    let is_number = |character| matches!(character, '[' | ']' | ',' | ' ' | '0'..='9');
    let end = inner.find(|character| !is_number(character));
    let (numbers, close) = inner.split_at(end.unwrap_or(inner.len()));
    let fits = numbers.starts_with('[') && numbers.len() <= MAX_NUMBERS;
    if close.is_empty() {
        return incomplete_if(fits || numbers.is_empty());
    }
    if !fits || !numbers.ends_with(']') {
        return Begin::Other;
    }
    match close.strip_prefix(CLOSE) {
        Some(rest) => Begin::Mark {
            shown: numbers,
            rest,
        },
        None => incomplete_if(CLOSE.starts_with(close)),
    }
}

fn incomplete_if<'a>(may_be_mark: bool) -> Begin<'a> {
    if may_be_mark {
        Begin::Incomplete
    } else {
        Begin::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut marks = Marks::default();
        marks.push(text.to_owned()) + &marks.finish()
    }

    #[test]
    fn marks_lose_their_tags() {
        for (text, expected) in [
            ("会员日在每月八号<ref>[1]</ref>。", "会员日在每月八号[1]。"),
            ("<ref>[1][2]</ref><ref>[3, 14]</ref>", "[1][2][3, 14]"),
            ("<<ref>[1]</ref>", "<[1]"),
            ("<ref><ref>[1]</ref>", "<ref>[1]"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "1 < 2",
            "<",
            "<ref>",
            "<ref>[1]</re",
            "<ref></ref>",
            "<ref>[x]</ref>",
            "<ref>1]</ref>",
            "<ref>[1</ref>",
            "<ref>[1]<b>",
            "<reference>[1]</reference>",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn text_that_cannot_become_a_mark_is_not_kept_back() {
        let mut marks = Marks::default();
        assert_eq!(marks.push("a <".to_owned()), "a ");
        assert_eq!(marks.push("b".to_owned()), "<b");
        assert_eq!(marks.push("<ref>[".to_owned()), "");
        let digits = "1".repeat(MAX_NUMBERS);
        assert_eq!(marks.push(digits.clone()), format!("<ref>[{digits}"));
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{CLOSE, Marks};
    use crate::properties::cases;

    /// Text with many beginnings of marks.
    fn text() -> impl Strategy<Value = String> {
        let parts = vec![
            "<ref>[1]</ref>",
            "<ref>",
            CLOSE,
            "[2]",
            "<",
            "<re",
            "</",
            "ref>",
            "12,",
            "🎱",
            "好",
        ];
        vec(select(parts), 0..12).prop_map(|parts| parts.concat())
    }

    fn shown<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut marks = Marks::default();
        let text: String = pieces
            .into_iter()
            .map(|piece| marks.push(piece.to_owned()))
            .collect();
        text + &marks.finish()
    }

    proptest! {
        #![proptest_config(cases(512))]

        #[test]
        fn cuts_between_frames_change_nothing(text in text(), cuts in vec(0..64_usize, 0..8)) {
            let in_text = |at: usize| text.floor_char_boundary(at.min(text.len()));
            let mut cuts: Vec<_> = cuts.into_iter().map(in_text).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
            prop_assert_eq!(shown(pieces), shown([&*text]));
        }

        #[test]
        fn text_without_a_closing_tag_stays(text in text()) {
            let mut text = text;
            // The text around a removed tag may form another one.
            while text.contains(CLOSE) {
                text = text.replace(CLOSE, "");
            }
            prop_assert_eq!(shown([&*text]), text);
        }
    }
}
