//! Frames → new text.
//!
//! A frame has a *piece*, the text after that of the last frame, or a *snapshot*, all text so far.
//! Requests ask for pieces, but some applications send snapshots, and workflows send both. The form
//! is recognised as decision 21 describes.

use std::mem;

use super::piece::{Joiner, Piece};

/// A frame that repeats at least this number of characters is a snapshot. No piece begins with so
/// much of the same text by chance.
const SURE_CHARS: i64 = 8;
/// Frames that are kept back at most until the form is known.
const MAX_HELD: usize = 4;
/// Longer texts are not tested for repetition, which is quadratic.
const MAX_REPETITION: usize = 256;

/// Where the text of a frame is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// `output.text`
    #[default]
    Output,
    /// `output.workflow_message` of the node with this id.
    Node(String),
}

/// The text of a frame, and what its form depends on.
#[derive(Debug)]
pub(super) struct FrameText {
    pub(super) piece: Piece,
    pub(super) source: Source,
    /// Output tokens so far. `None` if the frame has no usage.
    pub(super) tokens: Option<i64>,
    /// True in the last frame of the answer or of a node.
    pub(super) is_last: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Unknown,
    Pieces,
    Snapshots,
}

/// Recognises the form of frames and returns each text once.
#[derive(Debug, Default)]
pub(super) struct TextReader {
    joiner: Joiner,
    /// All text so far, without frames that are kept back.
    text: String,
    /// Where the text of `source` starts in `text`.
    start: usize,
    source: Option<Source>,
    form: Form,
    /// Number of pieces since `start`.
    pieces: usize,
    /// Frames whose form is unknown. Each begins with the text of the previous one.
    held: Vec<Piece>,
    tokens: Tokens,
}

/// Output tokens at some points of the answer.
#[derive(Debug, Default)]
struct Tokens {
    /// Before the first text.
    start: Option<i64>,
    /// At the end of `TextReader::text`.
    text: Option<i64>,
    now: Option<i64>,
}

impl TextReader {
    /// The new text of a frame. It may be empty, and then come with a later frame.
    pub(super) fn push(&mut self, frame: FrameText) -> String {
        if self.text.is_empty() {
            self.tokens.start = self.tokens.now;
        }
        self.tokens.now = frame.tokens.or(self.tokens.now);
        if frame.piece.is_empty() {
            String::new()
        } else {
            self.read(frame)
        }
    }

    /// The text that is kept back, at the end of the answer or after an error. Snapshots would have
    /// been recognised by then.
    pub(super) fn finish(&mut self) -> String {
        let mut text = self.release();
        text.extend(self.joiner.finish());
        text
    }

    fn read(&mut self, frame: FrameText) -> String {
        let (mut new, is_other) = self.enter(frame.source);
        let piece = frame.piece;
        let so_far = &self.text[self.start..];
        let before = self.held.last().map_or(so_far, |piece| &piece.text);
        let repeats =
            !before.is_empty() && !piece.starts_inside() && piece.text.starts_with(before);
        let is_snapshot = match self.form {
            // The last node's text, or a snapshot that is late.
            _ if is_other && frame.is_last && so_far.ends_with(&piece.text) => Some(true),
            Form::Snapshots => Some(repeats || so_far.starts_with(&piece.text)),
            _ if !repeats => Some(false),
            Form::Unknown if is_other => Some(true),
            Form::Unknown => self.judge(before, &piece.text, frame.is_last),
            Form::Pieces => {
                let is_whole = frame.is_last
                    && self.pieces > 1
                    && !is_repetition("", &piece.text)
                    && self.is_snapshot_by_tokens(&piece.text).unwrap_or(true);
                Some(is_whole)
            }
        };
        match is_snapshot {
            Some(true) => new.push_str(&self.take_snapshot(piece)),
            Some(false) => {
                new.push_str(&self.release());
                // The first text has no form yet.
                if self.text.len() > self.start && self.form == Form::Unknown {
                    self.form = Form::Pieces;
                }
                new.push_str(&self.take_piece(&piece));
            }
            None => self.held.push(piece),
        }
        new
    }

    /// Starts to read another source. Returns the text that was kept back, and true if the new
    /// source may repeat the text so far.
    fn enter(&mut self, source: Source) -> (String, bool) {
        if self.source.as_ref() == Some(&source) {
            return (String::new(), false);
        }
        let held = self.release();
        // `output.text` may repeat the text of all nodes, but a node only its own.
        let is_whole = source == Source::Output;
        self.start = if is_whole { 0 } else { self.text.len() };
        self.source = Some(source);
        self.form = Form::Unknown;
        self.pieces = 0;
        (held, is_whole && !self.text.is_empty())
    }

    /// True if a frame that begins with the text `before` is a snapshot. `None` if the next frame
    /// must decide.
    fn judge(&self, before: &str, text: &str, is_last: bool) -> Option<bool> {
        let so_far = &self.text[self.start..];
        let is_full = self.held.len() + 1 >= MAX_HELD;
        if chars(before) >= SURE_CHARS && !is_repetition("", before) {
            return Some(true);
        }
        if is_repetition(so_far, text) {
            // 哈, 哈哈: laughter or snapshots. Pieces were requested, so only tokens that did not
            // grow show a snapshot.
            let grew = self.tokens.now > self.tokens.text;
            return (is_last || is_full).then_some(self.tokens.now.is_some() && !grew);
        }
        if is_full {
            return Some(true);
        }
        // Two frames that repeat are no chance, unless tokens show it.
        let twice = !self.held.is_empty();
        let by_tokens = self.is_snapshot_by_tokens(text);
        if is_last {
            Some(by_tokens.unwrap_or(twice))
        } else {
            (twice && by_tokens != Some(false)).then_some(true)
        }
    }

    /// Compares how many characters the tokens since the last text stand for, at the rate of the
    /// text before. `None` without usage.
    fn is_snapshot_by_tokens(&self, text: &str) -> Option<bool> {
        let so_far = chars(&self.text[self.start..]);
        let at_text = self.tokens.text?;
        let before = at_text - self.tokens.start.unwrap_or_default();
        let grown = self.tokens.now? - at_text;
        if before <= 0 || grown < 0 {
            return None;
        }
        // In characters × `before`, so that nothing is divided.
        let expected = grown.saturating_mul(so_far);
        let as_snapshot = (chars(text) - so_far).saturating_mul(before);
        let held: i64 = self.held.iter().map(|piece| chars(&piece.text)).sum();
        let as_pieces = (held + chars(text)).saturating_mul(before);
        Some(expected.abs_diff(as_snapshot) < expected.abs_diff(as_pieces))
    }

    fn take_snapshot(&mut self, snapshot: Piece) -> String {
        self.held.clear();
        self.form = Form::Snapshots;
        let so_far = &self.text[self.start..];
        let Some(new) = snapshot.text.strip_prefix(so_far) else {
            return String::new();
        };
        // The snapshot has the half that waits, too.
        self.joiner.finish();
        let new = new.to_owned();
        let piece = snapshot.with_text(new);
        self.take_piece(&piece)
    }

    fn take_piece(&mut self, piece: &Piece) -> String {
        let new = self.joiner.push(piece);
        self.text.push_str(&new);
        self.tokens.text = self.tokens.now;
        self.pieces += 1;
        new
    }

    /// The frames that are kept back were pieces.
    fn release(&mut self) -> String {
        let held = mem::take(&mut self.held);
        if !held.is_empty() {
            self.form = Form::Pieces;
        }
        held.iter().map(|piece| self.take_piece(piece)).collect()
    }
}

fn chars(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// True if `text` after `so_far` only repeats a unit, such as 哈 or 周末.
fn is_repetition(so_far: &str, text: &str) -> bool {
    if so_far.len() + text.len() > MAX_REPETITION {
        return false;
    }
    let both = [so_far, text].concat().into_bytes();
    (1..=both.len() / 2).any(|unit| both[unit..] == both[..both.len() - unit])
}

#[cfg(test)]
#[path = "tests/text.rs"]
mod tests;
