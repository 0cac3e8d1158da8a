//! A reply as server-sent events.

use std::{convert::Infallible, fmt::Write as _, io, task::Poll, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::{BufMut as _, BytesMut};
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::replies::{Event, EventId, Failure, FinishReason, ReplyHeader, ReplyStream},
    governance::notice::AiLabel,
    insights::insight::ReferenceCard,
    platform::moving_deadline::MovingDeadline,
    web::{CONTENT_BLOCKED, QueryText, Reference},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use tokio::time::Instant;
use utoipa::ToSchema;

/// After this time without an event, the stream sends a ping comment.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// Message of the `error` event of a reader that a newer one has replaced.
const REPLACED: &str = "已在新的连接中继续接收";

/// How non-ASCII characters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As UTF-8.
    Utf8,
    /// As `\uXXXX`. For phones without a `TextDecoder`: no chunk can then end inside a character.
    Ascii,
}

impl Encoding {
    /// Parses the parameter `ascii`.
    pub(crate) fn parse(query: &QueryText) -> Result<Self> {
        let encoding = query.one_of("ascii", |word| match word {
            "0" => Some(Self::Utf8),
            "1" => Some(Self::Ascii),
            _ => None,
        })?;
        Ok(encoding.unwrap_or(Self::Utf8))
    }

    fn write(self, to: impl io::Write, data: &impl Serialize) -> serde_json::Result<()> {
        match self {
            Self::Utf8 => data.serialize(&mut Serializer::new(to)),
            Self::Ascii => data.serialize(&mut Serializer::with_formatter(to, AsciiFormatter)),
        }
    }
}

/// A server-sent event of a stream.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes an event in the OpenAPI document"
)]
pub(crate) struct StreamEvent {
    /// `<messageId>-<characters so far>`: the point to resume from.
    id: String,
    /// `start`, `progress`, `message`, `references`, `done` or `error`.
    event: String,
    /// JSON. `start`: `{chatId, userMessageId, messageId, createdAt, label}`.
    /// `progress`: `{kind, name}`. `message`: `{token}`.
    /// `references`: `{items: [{index, title, url, page}]}`.
    /// `done`: `{messageId, createdAt, tokensUsed, status, label, finishReason, referenceCard?}`.
    /// `error`: `{message, code, retryable, messageId}`.
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartData<'a> {
    chat_id: i64,
    user_message_id: Option<i64>,
    message_id: i64,
    created_at: DateTime<Utc>,
    label: &'a str,
}

#[derive(Serialize)]
struct ProgressData<'a> {
    kind: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct MessageData<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct ReferencesData {
    items: Vec<Reference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneData<'a> {
    message_id: i64,
    created_at: DateTime<Utc>,
    tokens_used: Option<i64>,
    status: &'static str,
    label: &'a str,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_card: Option<ReferenceCard>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorData {
    message: &'static str,
    code: &'static str,
    retryable: bool,
    message_id: i64,
}

/// Builds the response: `start`, then the events of the reply. Each event is sent immediately.
pub(crate) fn respond(
    head: ReplyHeader,
    reply: ReplyStream,
    encoding: Encoding,
    label: AiLabel,
) -> Response {
    let mut writer = EventWriter {
        head,
        encoding,
        label,
        buffer: BytesMut::new(),
    };
    let start = stream::iter([writer.start()]);
    let events = stream::unfold((reply, writer), |(mut reply, mut writer)| async move {
        let event = reply.next().await?;
        let bytes = writer.event(event, reply.chars());
        Some((bytes, (reply, writer)))
    });
    let body = start.chain(with_pings(events));
    let mut response = Body::from_stream(body.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Proxies such as Nginx buffer a stream without this header.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Adds a comment whenever there was no event for [`PING_AFTER`].
fn with_pings(events: impl Stream<Item = Bytes>) -> impl Stream<Item = Bytes> {
    let mut events = Box::pin(events);
    let mut silence = MovingDeadline::new(Instant::now() + PING_AFTER);
    stream::poll_fn(move |cx| {
        let next = match events.as_mut().poll_next(cx) {
            Poll::Pending => silence.poll_expired(cx).map(|()| Some(PING)),
            ready @ Poll::Ready(_) => ready,
        };
        if next.is_ready() {
            silence.set(Instant::now() + PING_AFTER);
        }
        next
    })
}

/// Writes the events of a reply.
struct EventWriter {
    head: ReplyHeader,
    encoding: Encoding,
    label: AiLabel,
    /// The events that were not sent yet share its memory.
    buffer: BytesMut,
}

impl EventWriter {
    fn start(&mut self) -> Bytes {
        let head = self.head;
        let label = self.label.clone();
        let data = StartData {
            chat_id: head.conversation_id,
            user_message_id: head.user_message_id,
            message_id: head.message_id,
            created_at: head.created_at,
            label: label.as_str(),
        };
        self.write("start", 0, &data)
    }

    /// `chars` is the number of characters up to and with this event.
    fn event(&mut self, event: Event, chars: usize) -> Bytes {
        match event {
            Event::Progress(progress) => {
                let data = ProgressData {
                    kind: progress.kind.name(),
                    name: &progress.name,
                };
                self.write("progress", chars, &data)
            }
            Event::Text(token) => self.write("message", chars, &MessageData { token: &token }),
            Event::References(references) => {
                let items = Reference::all(references);
                self.write("references", chars, &ReferencesData { items })
            }
            Event::Done {
                state,
                tokens_used,
                finish_reason,
                card,
            } => {
                let label = self.label.clone();
                let data = DoneData {
                    message_id: self.head.message_id,
                    created_at: self.head.created_at,
                    tokens_used,
                    status: state.name(),
                    label: label.as_str(),
                    finish_reason: finish_reason.map(FinishReason::name),
                    reference_card: card,
                };
                self.write("done", chars, &data)
            }
            Event::Broken { failure, .. } => {
                let data = ErrorData {
                    message: match failure {
                        Failure::ContentBlocked => CONTENT_BLOCKED,
                        Failure::Deleted => "对话已删除",
                        Failure::Replaced => REPLACED,
                        _ => "AI 服务暂时不可用",
                    },
                    code: failure.code(),
                    retryable: failure.is_retryable(),
                    message_id: self.head.message_id,
                };
                self.write("error", chars, &data)
            }
        }
    }

    fn write(&mut self, name: &str, chars: usize, data: &impl Serialize) -> Bytes {
        let message_id = self.head.message_id;
        let id = EventId { message_id, chars };
        // Writing plain structs to memory cannot fail.
        write!(self.buffer, "event: {name}\nid: {id}\ndata: ").ok();
        self.encoding.write((&mut self.buffer).writer(), data).ok();
        self.buffer.put_slice(b"\n\n");
        self.buffer.split().freeze()
    }
}

/// Writes JSON in ASCII only.
struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                CompactFormatter
                    .write_string_fragment(writer, character.encode_utf8(&mut [0; 4]))?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_json_parses_to_the_same_text() {
        let token = "收到 🎱 \"引号\" \n é";
        let mut written = Vec::new();
        let data = MessageData { token };
        Encoding::Ascii.write(&mut written, &data).unwrap();
        assert!(written.is_ascii());
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(read["token"], token);
    }
}
