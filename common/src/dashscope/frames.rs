//! Bytes → lines → frames.
//!
//! Lines end with LF (a CR before it is dropped); nothing else ends one, so U+2028 and a lone CR
//! stay in the text. A frame ends at a blank line, and also where the next one plainly starts
//! although the blank line is missing. One JSON object in place of a stream is a frame of its own.
//! No more than one line and one frame are ever held.

use std::mem;

use bytes::{Buf, Bytes};

/// The longest line or frame that is accepted. An image in base64 is one line.
const LIMIT: usize = 8 * 1024 * 1024;
/// A buffer that has grown beyond this is given back after the long line that needed it.
const KEPT_CAPACITY: usize = 64 * 1024;

/// One event of the service's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// `event:error`
    pub(super) is_error: bool,
    /// What `:HTTP_STATUS/nnn` said.
    pub(super) status: Option<u16>,
    /// What followed `data:`, as it came.
    pub(super) data: Vec<u8>,
}

/// A line or frame beyond the limit.
#[derive(Debug, thiserror::Error)]
#[error("a line or frame is longer than the limit")]
pub(super) struct TooLong;

/// Cuts frames out of a body that comes in chunks of any size.
#[derive(Debug)]
pub(super) struct FrameReader {
    limit: usize,
    chunk: Bytes,
    line: Vec<u8>,
    closed: bool,
    started: bool,
    /// The body is JSON, not an event stream.
    bare: bool,
    event: Option<bool>,
    status: Option<u16>,
    data: Held,
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
            data: Held::default(),
        }
    }

    /// Gives the next chunk of the body, once [`FrameReader::next`] has answered `None`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "frames of the last chunk are left");
        self.chunk = chunk;
    }

    /// Says that no chunk follows. A frame that is whole then counts, though no line end followed.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The next whole frame; `None` when another chunk is needed.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
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

    /// Comments are heartbeats, but for the one that carries the status.
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

    /// Ends the frame at hand. An error needs no data to be one.
    fn dispatch(&mut self) -> Option<Frame> {
        let frame = Frame {
            is_error: self.event.take().unwrap_or(false),
            status: self.status.take(),
            data: mem::take(&mut self.data).bytes,
        };
        let counts = !frame.data.is_empty()
            || frame.is_error
            || frame.status.is_some_and(|status| status >= 400);
        counts.then_some(frame)
    }
}

/// The data of the frame at hand, and how deep in its brackets the end of it is.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    opened: bool,
}

impl Held {
    fn append(&mut self, line: &[u8], limit: usize) -> Result<(), TooLong> {
        if self.bytes.len() + line.len() >= limit {
            return Err(TooLong);
        }
        if !self.bytes.is_empty() {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line);
        for byte in line {
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
        Ok(())
    }

    /// Whether every bracket that was opened is closed again.
    fn is_whole(&self) -> bool {
        self.opened && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/frames_properties.rs"]
mod properties;
