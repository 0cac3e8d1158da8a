//! A reply as server-sent events.

use std::{convert::Infallible, io, time::Duration};

use axum::http::{
    HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use axum::response::{
    IntoResponse, Response,
    sse::{Event as SseEvent, KeepAlive, Sse},
};
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::replies::{Event, EventId, Failure, FinishReason, ReplyHeader, ReplyStream},
    governance::notice::AiLabel,
    insights::insight::ReferenceCard,
    web::{CONTENT_BLOCKED, QueryText, Reference},
};
use futures_util::stream;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use utoipa::ToSchema;

/// After this time without an event, the stream sends a ping comment.
const PING_AFTER: Duration = Duration::from_secs(10);

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

    fn write(self, data: &impl Serialize) -> String {
        let mut json = Vec::new();
        let written = match self {
            Self::Utf8 => data.serialize(&mut Serializer::new(&mut json)),
            Self::Ascii => {
                data.serialize(&mut Serializer::with_formatter(&mut json, AsciiFormatter))
            }
        };
        // Writing plain structs to a Vec cannot fail.
        written
            .ok()
            .and_then(|()| String::from_utf8(json).ok())
            .unwrap_or_default()
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
    watch: ReplyStream,
    encoding: Encoding,
    label: AiLabel,
) -> Response {
    let state = (watch, label, false);
    let events = stream::unfold(state, move |(mut watch, label, started)| async move {
        let (name, data, chars) = if started {
            let (name, data) = render(head, watch.next().await?, encoding, &label);
            (name, data, watch.chars())
        } else {
            let data = StartData {
                chat_id: head.conversation_id,
                user_message_id: head.user_message_id,
                message_id: head.message_id,
                created_at: head.created_at,
                label: label.as_str(),
            };
            ("start", encoding.write(&data), 0)
        };
        let message_id = head.message_id;
        let id = EventId { message_id, chars }.to_string();
        let event = SseEvent::default().event(name).id(id).data(data);
        Some((Ok::<_, Infallible>(event), (watch, label, true)))
    });
    let ping = KeepAlive::new().interval(PING_AFTER).text("ping");
    let mut response = Sse::new(events).keep_alive(ping).into_response();
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

fn render(
    head: ReplyHeader,
    event: Event,
    encoding: Encoding,
    label: &AiLabel,
) -> (&'static str, String) {
    match event {
        Event::Progress(progress) => {
            let data = ProgressData {
                kind: progress.kind.name(),
                name: &progress.name,
            };
            ("progress", encoding.write(&data))
        }
        Event::Text(token) => ("message", encoding.write(&MessageData { token: &token })),
        Event::References(references) => {
            let items = Reference::all(references);
            ("references", encoding.write(&ReferencesData { items }))
        }
        Event::Done {
            state,
            tokens_used,
            finish_reason,
            card,
        } => {
            let data = DoneData {
                message_id: head.message_id,
                created_at: head.created_at,
                tokens_used,
                status: state.name(),
                label: label.as_str(),
                finish_reason: finish_reason.map(FinishReason::name),
                reference_card: card,
            };
            ("done", encoding.write(&data))
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
                message_id: head.message_id,
            };
            ("error", encoding.write(&data))
        }
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
        let written = Encoding::Ascii.write(&MessageData { token });
        assert!(written.is_ascii());
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["token"], token);
    }
}
