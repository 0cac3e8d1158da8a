//! JSON of requests and answers. Answers are parsed leniently.

use std::{borrow::Cow, mem};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Usage;
use super::call::{Call, CallOptions};
use super::json::{Object, WORD_LENGTH, excerpt, is_object, members, read, string_or_number, word};
use super::piece::Piece;
use super::progress::Progress;
use super::references::{self, Reference};
use super::text::{FrameText, Source};
use super::usage::Reported;

/// Error messages of the service are cut to this number of characters.
pub(super) const MESSAGE_LENGTH: usize = 500;

#[derive(Serialize)]
struct Request<'a> {
    input: Input<'a>,
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
struct Input<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    biz_params: Option<&'a Value>,
}

#[derive(Serialize)]
struct Parameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    incremental_output: Option<bool>,
    #[serde(flatten)]
    options: &'a CallOptions,
}

/// The JSON body for `call`. Headers decide whether the answer streams. With `incremental_output`,
/// each frame has only new text. Without it, each frame has all text so far.
pub(super) fn request_body(call: &Call, streaming: bool) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Request {
        input: Input {
            prompt: &call.prompt,
            session_id: call.session_id.as_deref(),
            biz_params: call.biz_params.as_ref(),
        },
        parameters: Parameters {
            incremental_output: streaming.then_some(true),
            options: &call.options,
        },
    })
}

/// One JSON object of an answer: the data of a frame, or the whole body.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Payload {
    /// True if there is an `output`, even an empty one.
    pub(super) has_output: bool,
    /// The text from `output.text` or `output.workflow_message`.
    pub(super) text: Piece,
    pub(super) source: Source,
    /// True in the last message of a workflow node.
    pub(super) ends_node: bool,
    /// What the application does, for frames without text.
    pub(super) progress: Option<Progress>,
    pub(super) references: Vec<Reference>,
    pub(super) session_id: Option<String>,
    /// Why the answer ended; `None` before its end.
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) request_id: Option<String>,
    /// The service's error code.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Fields stay raw and are parsed one by one. So a field of an unexpected type does not affect
/// others.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    output: Object<Output<'a>>,
    #[serde(borrow, default)]
    usage: Object<Reported<'a>>,
    #[serde(borrow, default)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId")]
    camel_request_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    workflow_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thoughts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    doc_references: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WorkflowMessage<'a> {
    #[serde(borrow, default)]
    node_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    node_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    node_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    node_is_completed: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Plain(String),
    Object { text: String },
    Other(serde::de::IgnoredAny),
}

impl Payload {
    pub(super) fn parse(data: &[u8]) -> serde_json::Result<Self> {
        is_object(data)?;
        let envelope: Envelope = serde_json::from_slice(data)?;
        let error: Option<Envelope> = envelope.error.and_then(|raw| members(raw).ok());
        let within = |field: fn(&Envelope) -> Option<String>| {
            field(&envelope).or_else(|| error.as_ref().and_then(field))
        };
        let mut payload = Self {
            has_output: envelope.output.0.is_some(),
            usage: envelope.usage.0.as_ref().and_then(Usage::parse),
            request_id: within(|envelope| word(envelope.request_id, WORD_LENGTH))
                .or_else(|| within(|envelope| word(envelope.camel_request_id, WORD_LENGTH))),
            code: within(|envelope| word(envelope.code, WORD_LENGTH)),
            message: within(|envelope| word(envelope.message, MESSAGE_LENGTH)),
            ..Self::default()
        };
        if let Some(output) = &envelope.output.0 {
            payload.text = text(output.text);
            payload.progress = output.thoughts.and_then(Progress::of_thoughts);
            payload.references = output
                .doc_references
                .map(references::parse)
                .unwrap_or_default();
            if payload.text.is_empty() {
                payload.read_node(output.workflow_message);
            }
            // An id that is too long is dropped. A cut id could belong to another session.
            payload.session_id = string_or_number(output.session_id)
                .map(Cow::into_owned)
                .filter(|id| *id == excerpt(id, WORD_LENGTH) && !id.is_empty());
            payload.finish_reason =
                word(output.finish_reason, WORD_LENGTH).filter(|reason| reason != "null");
        }
        Ok(payload)
    }

    fn read_node(&mut self, raw: Option<&RawValue>) {
        let Some(node) = raw.and_then(|raw| members::<WorkflowMessage>(raw).ok()) else {
            return;
        };
        self.progress = Some(Progress::of_node(node.node_name));
        // The message of a start node has the variables of the workflow, which are no answer.
        if word(node.node_type, WORD_LENGTH).as_deref() == Some("Start") {
            return;
        }
        let message: Option<Content> = node.message.and_then(|raw| members(raw).ok());
        self.text = text(message.and_then(|message| message.content));
        self.source = Source::Node(word(node.node_id, WORD_LENGTH).unwrap_or_default());
        // The SDK declares a string, the service sends a boolean.
        let completed = node.node_is_completed.map(RawValue::get);
        self.ends_node = matches!(completed, Some("true" | "\"true\""));
    }

    /// Takes the text out of the payload.
    pub(super) fn take_text(&mut self) -> FrameText {
        FrameText {
            piece: mem::take(&mut self.text),
            source: mem::take(&mut self.source),
            tokens: self.usage.as_ref().map(Usage::output_tokens),
            is_last: self.finish_reason.is_some() || self.ends_node,
        }
    }

    /// True if this is an error, even if its frame is not marked as one.
    pub(super) fn is_error(&self) -> bool {
        self.code.is_some() && !self.has_output
    }
}

fn text(raw: Option<&RawValue>) -> Piece {
    if let Some(piece) = raw.and_then(Piece::parse) {
        return piece;
    }
    let parts: Vec<Part> = read(raw).unwrap_or_default();
    let parts = parts.into_iter().filter_map(|part| match part {
        Part::Plain(text) | Part::Object { text } => Some(text),
        Part::Other(_) => None,
    });
    parts.collect::<String>().into()
}

#[cfg(test)]
#[path = "tests/wire.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/wire_properties.rs"]
mod properties;
