//! Pieces of text, which the service may cut inside a character.

use serde_json::value::RawValue;

use super::json::plain_string;
use crate::platform::surrogates::{Half, surrogate, without_halves};

/// The text of a frame.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Piece {
    /// The second half of a character whose first half was in an earlier frame.
    low: Option<u16>,
    pub(super) text: String,
    /// The first half of a character whose second half comes in a later frame.
    high: Option<u16>,
}

impl Piece {
    /// Parses a JSON string; `None` for other JSON.
    pub(super) fn parse(raw: &RawValue) -> Option<Self> {
        if let Some(text) = plain_string(raw) {
            return Some(Self::from(text.to_owned()));
        }
        let mut inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
        let mut piece = Self::default();
        if let Some(Half::Low(low)) = surrogate(inner.as_bytes()) {
            piece.low = Some(low);
            inner = &inner[ESCAPE..];
        }
        if let Some(high) = high_at_end(inner) {
            piece.high = Some(high);
            inner = &inner[..inner.len() - ESCAPE];
        }
        let json = format!("\"{inner}\"");
        piece.text = serde_json::from_slice(&without_halves(json.as_bytes())).ok()?;
        Some(piece)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.low.is_none() && self.text.is_empty() && self.high.is_none()
    }

    /// True if it starts with the second half of a character.
    pub(super) fn starts_inside(&self) -> bool {
        self.low.is_some()
    }

    pub(super) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

/// Bytes of an escape such as `\ud83c`.
const ESCAPE: usize = r"\ud83c".len();

/// The first half of a character that ends a JSON string without its quotes.
fn high_at_end(inner: &str) -> Option<u16> {
    let start = inner.len().checked_sub(ESCAPE)?;
    let Some(Half::High(high)) = surrogate(&inner.as_bytes()[start..]) else {
        return None;
    };
    // After an odd number of backslashes, this one is part of another escape.
    let before = inner[..start].bytes().rev();
    let backslashes = before.take_while(|byte| *byte == b'\\').count();
    backslashes.is_multiple_of(2).then_some(high)
}

/// Joins the halves of characters that were cut. A half without the other becomes U+FFFD.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    high: Option<u16>,
}

impl Joiner {
    /// The text of the next piece. Keeps the first half of a character for the next call.
    pub(super) fn push(&mut self, piece: &Piece) -> String {
        if piece.is_empty() {
            return String::new();
        }
        let halves = self.high.take().into_iter().chain(piece.low);
        let mut text: String = char::decode_utf16(halves)
            .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        text.push_str(&piece.text);
        self.high = piece.high;
        text
    }

    /// The replacement of a half that is left at the end of the answer.
    pub(super) fn finish(&mut self) -> Option<char> {
        self.high.take().map(|_| char::REPLACEMENT_CHARACTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The joined text of these JSON strings.
    fn joined(pieces: &[&str]) -> String {
        let mut joiner = Joiner::default();
        let mut text = String::new();
        for piece in pieces {
            let raw = RawValue::from_string(format!("\"{piece}\"")).unwrap();
            text.push_str(&joiner.push(&Piece::parse(&raw).unwrap()));
        }
        text.extend(joiner.finish());
        text
    }

    #[test]
    fn halves_in_two_frames_are_one_character() {
        assert_eq!(joined(&[r"第一\ud83c", r"\udfb1，好"]), "第一🎱，好");
        assert_eq!(joined(&[r"\ud83c", "", r"\udfb1"]), "🎱");
        assert_eq!(joined(&[r"\ud83c\udfb1\ud83c", r"\udfb1"]), "🎱🎱");
    }

    #[test]
    fn a_half_without_the_other_is_replaced_and_no_other_text_is_lost() {
        assert_eq!(joined(&[r"一\ud83c"]), "一\u{fffd}");
        assert_eq!(joined(&[r"一\ud83c", "二"]), "一\u{fffd}二");
        assert_eq!(joined(&["一", r"\udfb1二"]), "一\u{fffd}二");
        assert_eq!(joined(&[r"一\udfb1二\ud83c三"]), "一\u{fffd}二\u{fffd}三");
    }

    #[test]
    fn an_escaped_backslash_is_not_a_half() {
        assert_eq!(joined(&[r"\\ud83c", "x"]), r"\ud83cx");
    }
}
