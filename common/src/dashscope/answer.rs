//! Streamed and whole answers.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::connections::Connections;
use super::end::End;
use super::error::{Error, ErrorDetails, TimeoutKind};
use super::frames::{Frame, FrameReader};
use super::json::{WORD_LENGTH, excerpt};
use super::marks::Marks;
use super::progress::ProgressSender;
use super::references::{Reference, References};
use super::span::{CallSpan, Ending};
use super::text::TextReader;
use super::wire::Payload;
use super::{Spent, Usage, retry};
use crate::platform::moving_deadline::MovingDeadline;

/// How long to keep reading after the end of an answer, so that its connection can be used again.
const CLOSING: Duration = Duration::from_millis(500);

/// An item of an [`AnswerStream`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next piece of text, never empty.
    Text(String),
    /// The answer is complete.
    Done,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole text, may be empty.
    pub text: String,
    /// The session to pass in the next call.
    pub session_id: Option<String>,
    /// The tokens that all tries used.
    pub spent: Spent,
    /// The request id of the service.
    pub request_id: Option<String>,
    /// Why the answer ended: `stop`, or for example `length` if it was cut.
    pub finish_reason: Option<String>,
    /// The cited documents, sorted by index.
    pub references: Vec<Reference>,
    /// Number of requests sent.
    pub attempts: u32,
}

/// The body of a response. Its connection is idle after the end.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) response: Response,
    pub(super) connections: Connections,
}

impl Body {
    async fn chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        let chunk = self.response.chunk().await;
        if let Ok(None) = chunk {
            self.connections.call_ended();
        }
        chunk
    }
}

/// An answer that is being received. Its details stay available after the end and after an error.
#[derive(Debug)]
pub struct AnswerStream {
    body: Body,
    frames: FrameReader,
    /// The error that cut the connection.
    cut: Option<reqwest::Error>,
    /// Text that was read but not yet returned.
    pending: Option<String>,
    state: State,
    known: Known,
    limits: Limits,
    /// Bytes of text that were returned.
    bytes: usize,
    /// Since when no bytes came. It is a field because the caller may drop the future of
    /// [`AnswerStream::next`] and call it again.
    silent_since: Option<Instant>,
    /// The time limit of the current wait.
    wait_limit: MovingDeadline,
    text: TextReader,
    marks: Marks,
    /// An error to return after the text before it.
    failure: Option<Error>,
    pub(super) attempts: u32,
    /// What earlier tries used.
    pub(super) earlier: Spent,
    pub(super) span: CallSpan,
}

/// Limits of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until the first text, for a stream.
    pub(super) first_token: Option<Instant>,
    pub(super) end: End,
    /// Longest time without bytes.
    pub(super) idle: Duration,
    /// Longest text in bytes.
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Closing(Instant),
    Done,
    Failed,
}

/// The latest values that the service sent.
#[derive(Debug, Default)]
struct Known {
    /// True if any part of the answer was received.
    began: bool,
    session_id: Option<String>,
    usage: Option<Usage>,
    request_id: Option<String>,
    finish_reason: Option<String>,
    references: References,
}

impl AnswerStream {
    /// Reads `body` up to its first text or its end. Sends what the application does meanwhile
    /// to `progress`.
    ///
    /// If the answer has another session than `session_id`, it lacks the history. Then this returns
    /// [`Error::SessionExpired`].
    pub(super) async fn begin(
        body: Body,
        session_id: Option<&str>,
        limits: Limits,
        progress: Option<&ProgressSender>,
    ) -> Result<Self, Error> {
        let request_id = header(&body.response, "x-request-id");
        let mut answer = Self {
            body,
            frames: FrameReader::new(),
            cut: None,
            pending: None,
            state: State::Reading,
            known: Known {
                request_id,
                ..Known::default()
            },
            limits,
            bytes: 0,
            silent_since: None,
            wait_limit: MovingDeadline::new(limits.end.at),
            text: TextReader::default(),
            marks: Marks::default(),
            failure: None,
            attempts: 1,
            earlier: Spent::default(),
            span: CallSpan::default(),
        };
        let text = answer
            .read_text(limits.first_token, session_id, progress)
            .await;
        answer.pending = text.map_err(|error| {
            if session_id.is_some() {
                error.or_session_expired()
            } else {
                error
            }
        })?;
        Ok(answer)
    }

    /// The next piece of text, or the end. It is cancel safe: if the future is dropped, no text is
    /// lost.
    ///
    /// After [`Event::Done`] it returns that again. After an error it returns [`Error::Truncated`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        if let Some(text) = self.pending.take() {
            return Ok(Event::Text(text));
        }
        if self.state == State::Failed {
            return Err(self.failure.take().unwrap_or_else(|| Error::Truncated {
                details: self.details().into(),
                source: None,
            }));
        }
        if self.state == State::Reading {
            match self.read_text(None, None, None).await {
                Ok(Some(text)) => return Ok(Event::Text(text)),
                Ok(None) => {}
                Err(mut error) => {
                    self.state = State::Failed;
                    error.details_mut().attempts = self.attempts;
                    self.span.failed(&error);
                    let text = self.finish_text();
                    if text.is_empty() {
                        return Err(error);
                    }
                    self.failure = Some(error);
                    return Ok(Event::Text(text));
                }
            }
        }
        self.read_closing().await;
        self.state = State::Done;
        self.end_span();
        Ok(Event::Done)
    }

    /// The text that was received but not returned. Call it if the rest of the answer is not read.
    pub fn take_text(&mut self) -> String {
        let mut text = self.pending.take().unwrap_or_default();
        text.push_str(&self.finish_text());
        text
    }

    /// The session to pass in the next call.
    pub fn session_id(&self) -> Option<&str> {
        self.known.session_id.as_deref()
    }

    /// The tokens that all tries used so far.
    pub fn spent(&self) -> Spent {
        let mut spent = self.earlier.clone();
        spent.add(Spent::of_try(self.known.usage.clone(), true));
        spent
    }

    /// The request id of the service.
    pub fn request_id(&self) -> Option<&str> {
        self.known.request_id.as_deref()
    }

    /// Why the answer ended: `stop`, or for example `length` if it was cut. `None` before the end.
    pub fn finish_reason(&self) -> Option<&str> {
        self.known.finish_reason.as_deref()
    }

    /// The cited documents so far, sorted by index.
    pub fn references(&self) -> &[Reference] {
        self.known.references.as_slice()
    }

    /// Number of requests sent until the first text.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Reads the rest of the answer.
    pub(super) async fn collect(mut self) -> Result<Answer, Error> {
        let mut text = String::new();
        while let Event::Text(piece) = self.next().await? {
            text.push_str(&piece);
        }
        let spent = self.spent();
        let known = mem::take(&mut self.known);
        Ok(Answer {
            text,
            spent,
            session_id: known.session_id,
            request_id: known.request_id,
            finish_reason: known.finish_reason,
            references: known.references.into_vec(),
            attempts: self.attempts,
        })
    }

    /// The next non-empty text, or `None` at the end. `session_id` is the requested session.
    async fn read_text(
        &mut self,
        first_token: Option<Instant>,
        session_id: Option<&str>,
        progress: Option<&ProgressSender>,
    ) -> Result<Option<String>, Error> {
        loop {
            while let Some(frame) = self.frame()? {
                let mut payload = self.apply(&frame)?;
                self.frames.reuse(frame);
                if let (Some(requested), Some(received)) = (session_id, &payload.session_id)
                    && requested != received
                {
                    return Err(Error::SessionExpired {
                        details: self.details().into(),
                    });
                }
                if payload.finish_reason.is_some() {
                    self.state = State::Closing(Instant::now() + CLOSING);
                }
                let new = self.text.push(payload.take_text());
                let mut text = self.marks.push(new);
                if payload.finish_reason.is_some() {
                    text.push_str(&self.finish_text());
                }
                self.bytes += text.len();
                if self.bytes > self.limits.bytes {
                    return Err(Error::TooLong {
                        limit: self.limits.bytes,
                        details: self.details().into(),
                    });
                }
                if !text.is_empty() {
                    self.silent_since = None;
                    return Ok(Some(text));
                }
                if payload.finish_reason.is_some() {
                    return Ok(None);
                }
                if let (Some(progress), Some(now)) = (progress, payload.progress) {
                    progress.send_replace(Some(now));
                }
            }
            self.read_chunk(first_token).await?;
        }
    }

    /// The text that is kept back, at the end.
    fn finish_text(&mut self) -> String {
        let text = self.marks.push(self.text.finish());
        text + &self.marks.finish()
    }

    fn frame(&mut self) -> Result<Option<Frame>, Error> {
        match self.frames.next() {
            Ok(frame) => Ok(frame),
            Err(source) => Err(Error::Protocol {
                details: self.details().into(),
                source: Some(Box::new(source)),
            }),
        }
    }

    /// Parses a frame and stores its values. Returns an error for an error frame.
    fn apply(&mut self, frame: &Frame) -> Result<Payload, Error> {
        if frame.data.trim_ascii() == b"[DONE]" {
            return Ok(Payload::default());
        }
        let parsed = Payload::parse(&frame.data);
        let is_error = frame.is_error
            || frame.status.is_some_and(|status| status >= 400)
            || parsed.as_ref().is_ok_and(Payload::is_error);
        if is_error {
            let details = ErrorDetails {
                may_have_cost: self.known.began,
                ..self.details()
            };
            let retry_after = retry::retry_after(self.body.response.headers());
            return Err(Error::named(
                details.with_frame(frame, parsed.ok()),
                retry_after,
            ));
        }
        let mut payload = match parsed {
            Ok(payload) => payload,
            Err(source) => {
                return Err(Error::Protocol {
                    details: self.details().into(),
                    source: Some(Box::new(source)),
                });
            }
        };
        let known = &mut self.known;
        known.began = true;
        if let Some(usage) = payload.usage.take() {
            known.usage = Some(usage);
        }
        known.references.add(mem::take(&mut payload.references));
        for (known, received) in [
            (&mut known.session_id, &payload.session_id),
            (&mut known.request_id, &payload.request_id),
            (&mut known.finish_reason, &payload.finish_reason),
        ] {
            if received.is_some() && known != received {
                known.clone_from(received);
            }
        }
        Ok(payload)
    }

    /// Reads the next bytes, or closes the frame reader at the end of the body.
    async fn read_chunk(&mut self, first_token: Option<Instant>) -> Result<(), Error> {
        if self.frames.is_closed() {
            let source = self
                .cut
                .take()
                .map(|source| Box::new(source.without_url()).into());
            return Err(Error::Truncated {
                details: self.details().into(),
                source,
            });
        }
        let mut wait = self.limits.end;
        if let Some(first_token) = first_token {
            wait = wait.or_sooner(first_token, TimeoutKind::FirstToken);
        }
        // Checked before reading: if heartbeats are always ready, `timeout_at` never sees the
        // timeout.
        if Instant::now() >= wait.at {
            return Err(Error::Timeout {
                which: wait.which,
                details: self.details().into(),
            });
        }
        let silent_since = *self.silent_since.get_or_insert_with(Instant::now);
        wait = wait.or_sooner(silent_since + self.limits.idle, TimeoutKind::Idle);
        self.wait_limit.set(wait.at);
        let chunk = tokio::select! {
            biased;
            chunk = self.body.chunk() => chunk,
            () = self.wait_limit.expired() => {
                return Err(Error::Timeout {
                    which: wait.which,
                    details: self.details().into(),
                });
            }
        };
        match chunk {
            Ok(Some(chunk)) => self.push(chunk),
            Ok(None) => self.frames.close(),
            Err(cut) => {
                // Frames that are complete before the cut still count.
                self.frames.close();
                self.cut = Some(cut);
            }
        }
        Ok(())
    }

    fn push(&mut self, chunk: Bytes) {
        self.silent_since = None;
        self.frames.push(chunk);
    }

    /// Reads the body to its end, for the final usage and so that the connection can be used again.
    ///
    /// The answer is already complete, so errors are ignored.
    async fn read_closing(&mut self) {
        let State::Closing(until) = self.state else {
            return;
        };
        loop {
            loop {
                match self.frames.next() {
                    Ok(Some(frame)) => {
                        let payload = Payload::parse(&frame.data).unwrap_or_default();
                        if let Some(usage) = payload.usage {
                            self.known.usage = Some(usage);
                        }
                    }
                    Ok(None) => break,
                    // The line is too long. The rest of the body cannot be parsed.
                    Err(_) => return,
                }
            }
            let until = until.min(self.limits.end.at);
            if self.frames.is_closed() || Instant::now() >= until {
                return;
            }
            match timeout_at(until, self.body.chunk()).await {
                Ok(Ok(Some(chunk))) => self.push(chunk),
                Ok(_) => self.frames.close(),
                Err(_) => return,
            }
        }
    }

    fn end_span(&mut self) {
        if !self.span.is_open() {
            return;
        }
        let ending = Ending {
            spent: &self.spent(),
            request_id: self.known.request_id.as_deref(),
            attempts: self.attempts,
        };
        if self.state != State::Done {
            self.span.cancel();
        }
        self.span
            .answered(self.known.finish_reason.as_deref(), &ending);
    }

    fn details(&self) -> ErrorDetails {
        ErrorDetails {
            status: Some(self.body.response.status().as_u16()).filter(|status| *status >= 400),
            request_id: self.known.request_id.clone(),
            usage: self.known.usage.clone(),
            may_have_cost: true,
            earlier: self.earlier.clone(),
            attempts: self.attempts,
            ..ErrorDetails::default()
        }
    }
}

/// A caller may drop the stream before its end. The span then ends here.
impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.end_span();
    }
}

pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(excerpt(value, WORD_LENGTH)).filter(|value| !value.is_empty())
}
