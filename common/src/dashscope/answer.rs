//! An answer while it comes, and when it is there.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::end::End;
use super::error::{Error, ErrorDetails, TimeoutKind};
use super::frames::{Frame, FrameReader};
use super::wire::{Payload, WORD_LENGTH, excerpt};
use super::{Usage, retry};

/// How long after its end an answer's connection may take to close, so that it can be used again.
const CLOSING: Duration = Duration::from_millis(500);

/// What an [`AnswerStream`] brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next piece of text, never empty.
    Text(String),
    /// The answer is finished: all of its text has been brought.
    Done,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All text, perhaps none.
    pub text: String,
    /// The session to continue with.
    pub session_id: Option<String>,
    /// The tokens used, where the service says.
    pub usage: Option<Usage>,
    /// The service's id of the request.
    pub request_id: Option<String>,
    /// Why the answer ended: `stop`, or for instance `length` when it was cut.
    pub finish_reason: Option<String>,
    /// How many requests it took.
    pub attempts: u32,
}

/// An answer that is coming in. What is known of it stays readable after its end and after an
/// error.
#[derive(Debug)]
pub struct AnswerStream {
    response: Response,
    frames: FrameReader,
    /// How the connection was cut.
    cut: Option<reqwest::Error>,
    /// Text that was read but not yet brought.
    pending: Option<String>,
    state: State,
    known: Known,
    end: End,
    idle: Duration,
    /// Since when there is nothing to read. Kept over calls of [`AnswerStream::next`], which may be
    /// given up and made anew.
    silent_since: Option<Instant>,
    pub(super) attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Closing(Instant),
    Done,
    Failed,
}

/// As last said by the service.
#[derive(Debug, Default)]
struct Known {
    /// Whether any part of an answer has come.
    began: bool,
    session_id: Option<String>,
    usage: Option<Usage>,
    request_id: Option<String>,
    finish_reason: Option<String>,
}

impl AnswerStream {
    /// Reads `response` up to its first text or its end; for a stream, no longer than
    /// `first_token`. An answer in another session than the one asked for lacks the history.
    pub(super) async fn begin(
        response: Response,
        session_id: Option<&str>,
        first_token: Option<Instant>,
        end: End,
        idle: Duration,
    ) -> Result<Self, Error> {
        let request_id = header(&response, "x-request-id");
        let mut answer = Self {
            response,
            frames: FrameReader::new(),
            cut: None,
            pending: None,
            state: State::Reading,
            known: Known {
                request_id,
                ..Known::default()
            },
            end,
            idle,
            silent_since: None,
            attempts: 1,
        };
        let text = answer.read_text(first_token, session_id).await;
        answer.pending = text.map_err(|error| {
            if session_id.is_some() {
                error.or_session_expired()
            } else {
                error
            }
        })?;
        Ok(answer)
    }

    /// The next piece of text, or the end. May be given up at any await and called again; nothing
    /// is lost.
    ///
    /// After [`Event::Done`] it answers that again; after an error, [`Error::Truncated`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        if let Some(text) = self.pending.take() {
            return Ok(Event::Text(text));
        }
        if self.state == State::Failed {
            return Err(Error::Truncated {
                details: self.details().into(),
                source: None,
            });
        }
        if self.state == State::Reading {
            match self.read_text(None, None).await {
                Ok(Some(text)) => return Ok(Event::Text(text)),
                Ok(None) => {}
                Err(mut error) => {
                    self.state = State::Failed;
                    error.details_mut().attempts = self.attempts;
                    return Err(error);
                }
            }
        }
        self.read_closing().await;
        self.state = State::Done;
        Ok(Event::Done)
    }

    /// The session to continue with.
    pub fn session_id(&self) -> Option<&str> {
        self.known.session_id.as_deref()
    }

    /// The tokens used so far, as the service last said.
    pub fn usage(&self) -> Option<Usage> {
        self.known.usage
    }

    /// The service's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.known.request_id.as_deref()
    }

    /// Why the answer ended: `stop`, or for instance `length` when it was cut. `None` before.
    pub fn finish_reason(&self) -> Option<&str> {
        self.known.finish_reason.as_deref()
    }

    /// How many requests it took to get a first text.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Reads all that is left.
    pub(super) async fn collect(mut self) -> Result<Answer, Error> {
        let mut text = String::new();
        while let Event::Text(piece) = self.next().await? {
            text.push_str(&piece);
        }
        Ok(Answer {
            text,
            session_id: self.known.session_id,
            usage: self.known.usage,
            request_id: self.known.request_id,
            finish_reason: self.known.finish_reason,
            attempts: self.attempts,
        })
    }

    /// The next text that is not empty; `None` at the end.
    async fn read_text(
        &mut self,
        first_token: Option<Instant>,
        asked: Option<&str>,
    ) -> Result<Option<String>, Error> {
        loop {
            while let Some(frame) = self.frame()? {
                let payload = self.take_in(&frame)?;
                if let (Some(asked), Some(got)) = (asked, &payload.session_id)
                    && asked != got
                {
                    return Err(Error::SessionExpired {
                        details: self.details().into(),
                    });
                }
                if payload.finish_reason.is_some() {
                    self.state = State::Closing(Instant::now() + CLOSING);
                }
                if !payload.text.is_empty() {
                    self.silent_since = None;
                    return Ok(Some(payload.text));
                }
                if payload.finish_reason.is_some() {
                    return Ok(None);
                }
            }
            self.read_chunk(first_token).await?;
        }
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

    /// Notes what a frame says; an error frame is an error.
    fn take_in(&mut self, frame: &Frame) -> Result<Payload, Error> {
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
            let retry_after = retry::retry_after(self.response.headers());
            return Err(Error::named(
                details.with_frame(frame, parsed.ok()),
                retry_after,
            ));
        }
        let payload = match parsed {
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
        known.usage = payload.usage.or(known.usage);
        for (known, said) in [
            (&mut known.session_id, &payload.session_id),
            (&mut known.request_id, &payload.request_id),
            (&mut known.finish_reason, &payload.finish_reason),
        ] {
            if said.is_some() && known != said {
                known.clone_from(said);
            }
        }
        Ok(payload)
    }

    /// Brings the next bytes to the frames, or says that there are no more.
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
        let mut wait = self.end;
        if let Some(first_token) = first_token {
            wait = wait.or_sooner(first_token, TimeoutKind::FirstToken);
        }
        // Asked first, since a body that always has another heartbeat ready would never let the
        // timer speak.
        if Instant::now() >= wait.at {
            return Err(Error::Timeout {
                which: wait.which,
                details: self.details().into(),
            });
        }
        let silent_since = *self.silent_since.get_or_insert_with(Instant::now);
        wait = wait.or_sooner(silent_since + self.idle, TimeoutKind::Idle);
        match timeout_at(wait.at, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => self.push(chunk),
            Ok(Ok(None)) => self.frames.close(),
            Ok(Err(cut)) => {
                // What had come whole before the cut still counts.
                self.frames.close();
                self.cut = Some(cut);
            }
            Err(_) => {
                return Err(Error::Timeout {
                    which: wait.which,
                    details: self.details().into(),
                });
            }
        }
        Ok(())
    }

    fn push(&mut self, chunk: Bytes) {
        self.silent_since = None;
        self.frames.push(chunk);
    }

    /// Reads the body to its end, for a last word on usage and for the connection's next use. The
    /// answer is whole already, so nothing here is an error.
    async fn read_closing(&mut self) {
        let State::Closing(until) = self.state else {
            return;
        };
        loop {
            loop {
                match self.frames.next() {
                    Ok(Some(frame)) => {
                        let payload = Payload::parse(&frame.data).unwrap_or_default();
                        self.known.usage = payload.usage.or(self.known.usage);
                    }
                    Ok(None) => break,
                    // Beyond a line without an end nothing can be read.
                    Err(_) => return,
                }
            }
            let until = until.min(self.end.at);
            if self.frames.is_closed() || Instant::now() >= until {
                return;
            }
            match timeout_at(until, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.push(chunk),
                Ok(_) => self.frames.close(),
                Err(_) => return,
            }
        }
    }

    fn details(&self) -> ErrorDetails {
        ErrorDetails {
            status: Some(self.response.status().as_u16()).filter(|status| *status >= 400),
            request_id: self.known.request_id.clone(),
            usage: self.known.usage,
            may_have_cost: true,
            attempts: self.attempts,
            ..ErrorDetails::default()
        }
    }
}

pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(excerpt(value, WORD_LENGTH)).filter(|value| !value.is_empty())
}
