//! Bytes → lines → frames.
//!
//! A line ends only with LF. A CR before LF is dropped; U+2028 and a lone CR stay in the text.
//!
//! A frame ends at a blank line. If the blank line is missing, it ends where the next frame clearly
//! starts. If the body is one JSON object instead of a stream, it is one frame.
//!
//! The reader buffers at most one line and one frame.

use std::mem;

use bytes::{Buf, Bytes};
use memchr::memchr;

/// The longest accepted line or frame, in bytes. An image in base64 is one line.
const LIMIT: usize = 8 * 1024 * 1024;
/// After a long line, the buffer shrinks to this capacity, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// True after `event:error`.
    pub(super) is_error: bool,
    /// The status of `:HTTP_STATUS/nnn`.
    pub(super) status: Option<u16>,
    /// The data, unparsed.
    pub(super) data: Vec<u8>,
}

/// A line or frame beyond the limit.
#[derive(Debug, thiserror::Error)]
#[error("a line or frame is longer than the limit")]
pub(super) struct TooLong;

/// Splits a body, received in chunks of any size, into frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    limit: usize,
    chunk: Bytes,
    line: Vec<u8>,
    closed: bool,
    started: bool,
    /// True if the body is JSON instead of an event stream.
    bare: bool,
    event: Option<bool>,
    status: Option<u16>,
    data: Data,
    /// The memory of a frame that was read.
    spare: Vec<u8>,
}

impl FrameReader {
    pub(super) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            line: Vec::new(),
            closed: false,
            started: false,
            bare: false,
            event: None,
            status: None,
            data: Data::default(),
            spare: Vec::new(),
        }
    }

    /// Takes back a frame that was read. The next frame uses its memory.
    pub(super) fn reuse(&mut self, frame: Frame) {
        self.spare = frame.data;
        self.spare.clear();
        self.spare.shrink_to(KEPT_CAPACITY);
    }

    /// Adds the next chunk of the body. Call it only after [`FrameReader::next`] returned `None`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "frames of the previous chunk were not read"
        );
        self.chunk = chunk;
    }

    /// Marks the end of the body. A complete last frame then counts even without a line end.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The next complete frame, or `None` if it needs another chunk.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(end) = memchr(b'\n', &self.chunk) {
            let head = self.chunk.split_to(end);
            self.chunk.advance(1);
            if let Some(frame) = self.end_line(&head)? {
                return Ok(Some(frame));
            }
        }
        let rest = mem::take(&mut self.chunk);
        if self.line.len() + rest.len() > self.limit {
            return Err(TooLong);
        }
        self.line.extend_from_slice(&rest);
        if !self.closed {
            return Ok(None);
        }
        if !self.line.is_empty()
            && let Some(frame) = self.end_line(&[])?
        {
            return Ok(Some(frame));
        }
        Ok(if self.data.is_whole() {
            self.dispatch()
        } else {
            None
        })
    }

    fn end_line(&mut self, tail: &[u8]) -> Result<Option<Frame>, TooLong> {
        if self.line.is_empty() {
            return self.on_line(tail);
        }
        let mut line = mem::take(&mut self.line);
        line.extend_from_slice(tail);
        let frame = self.on_line(&line);
        line.clear();
        line.shrink_to(KEPT_CAPACITY);
        self.line = line;
        frame
    }

    fn on_line(&mut self, line: &[u8]) -> Result<Option<Frame>, TooLong> {
        if line.len() > self.limit {
            return Err(TooLong);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if self.started {
            line
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if !self.started && !line.trim_ascii().is_empty() {
            self.started = true;
            self.bare = line.trim_ascii_start().starts_with(b"{");
        }
        if self.bare {
            self.data.append(line, self.limit)?;
            return Ok(if self.data.is_whole() {
                self.dispatch()
            } else {
                None
            });
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        if let Some(comment) = line.strip_prefix(b":") {
            return Ok(self.on_comment(comment));
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        self.on_field(name, value.strip_prefix(b" ").unwrap_or(value))
    }

    /// Comments are heartbeats, except the one with the status.
    fn on_comment(&mut self, comment: &[u8]) -> Option<Frame> {
        let status = comment.trim_ascii().strip_prefix(b"HTTP_STATUS/")?;
        let status = str::from_utf8(status).ok()?.parse().ok()?;
        let before = if self.status.is_some() {
            self.dispatch_whole()
        } else {
            None
        };
        self.status = Some(status);
        before
    }

    fn on_field(&mut self, name: &[u8], value: &[u8]) -> Result<Option<Frame>, TooLong> {
        let mut before = None;
        match name {
            b"id" => before = self.dispatch_whole(),
            b"event" => {
                if self.event.is_some() {
                    before = self.dispatch_whole();
                }
                self.event = Some(value.trim_ascii() == b"error");
            }
            b"data" => {
                before = self.dispatch_whole();
                self.data.append(value, self.limit)?;
            }
            _ => {}
        }
        Ok(before)
    }

    fn dispatch_whole(&mut self) -> Option<Frame> {
        if self.data.is_whole() {
            self.dispatch()
        } else {
            None
        }
    }

    /// Ends the current frame. An error counts even without data.
    fn dispatch(&mut self) -> Option<Frame> {
        let next = Data {
            bytes: mem::take(&mut self.spare),
            ..Data::default()
        };
        let frame = Frame {
            is_error: self.event.take().unwrap_or(false),
            status: self.status.take(),
            data: mem::replace(&mut self.data, next).bytes,
        };
        let counts = !frame.data.is_empty()
            || frame.is_error
            || frame.status.is_some_and(|status| status >= 400);
        counts.then_some(frame)
    }
}

/// The data of the current frame.
#[derive(Debug, Default)]
struct Data {
    bytes: Vec<u8>,
    /// Brackets were counted up to here. Most frames end at a blank line, and are never counted.
    counted: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    opened: bool,
}

impl Data {
    fn append(&mut self, line: &[u8], limit: usize) -> Result<(), TooLong> {
        if self.bytes.len() + line.len() >= limit {
            return Err(TooLong);
        }
        if !self.bytes.is_empty() {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line);
        Ok(())
    }

    /// True if all opened brackets are closed.
    fn is_whole(&mut self) -> bool {
        for byte in &self.bytes[self.counted..] {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.opened = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.counted = self.bytes.len();
        self.opened && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/frames_properties.rs"]
mod properties;
