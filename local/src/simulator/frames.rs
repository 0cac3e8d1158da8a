//! SSE frames and their JSON, byte for byte as recorded from the service.
//!
//! The fields of the structs are in the order of the recordings.

use bytes::Bytes;
use serde::Serialize;

use super::json;
use super::refusal::Refusal;
use super::usage::{Shape, Tokens, Usage, count};

/// Format of frames. The default is the format of the service.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent deviations that can be combined"
)]
pub(super) struct Style {
    pub crlf: bool,
    pub no_blank_lines: bool,
    pub spaces: bool,
    pub heartbeats: bool,
}

impl Style {
    pub fn frame(self, id: u64, event: &str, status: u16, data: &str) -> Bytes {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let space = if self.spaces { " " } else { "" };
        let blank = if self.no_blank_lines { "" } else { end };
        let (before, inside) = if self.heartbeats {
            (format!(":keepalive{end}{end}"), format!(":keepalive{end}"))
        } else {
            (String::new(), String::new())
        };
        let frame = format!(
            "{before}id:{space}{id}{end}event:{space}{event}{end}{inside}\
             :HTTP_STATUS/{status}{end}data:{space}{data}{end}{blank}"
        );
        frame.into()
    }
}

/// Writes the frames of one reply. It has the common fields and the text so far.
pub(super) struct Writer {
    pub style: Style,
    pub usage: Shape,
    /// True: a frame has only the new text. False: each frame repeats the text so far.
    pub incremental: bool,
    pub session_id: String,
    pub request_id: String,
    pub tokens: Tokens,
    id: u64,
    text: String,
    thought: String,
}

#[derive(Serialize)]
struct Frame<'a> {
    output: Output<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Output<'a> {
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_message: Option<WorkflowMessage<'a>>,
    finish_reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<[Reasoning<'a>; 1]>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    action: &'a str,
    thought: &'a str,
    action_type: &'a str,
    response: &'a str,
    action_name: &'a str,
}

#[derive(Serialize)]
struct WorkflowMessage<'a> {
    node_status: &'a str,
    node_type: &'a str,
    node_msg_seq_id: u64,
    node_name: &'a str,
    message: NodeMessage<'a>,
    node_is_completed: bool,
    node_id: &'a str,
}

#[derive(Serialize)]
struct NodeMessage<'a> {
    content: &'a str,
    role: &'a str,
}

impl Writer {
    pub fn new(session_id: String, request_id: String, input_tokens: usize) -> Self {
        Self {
            style: Style::default(),
            usage: Shape::Ordinary,
            incremental: true,
            session_id,
            request_id,
            tokens: Tokens {
                input: input_tokens,
                output: 1,
            },
            id: 0,
            text: String::new(),
            thought: String::new(),
        }
    }

    /// A frame without text that adds `tokens` output tokens. Some models begin with such frames.
    pub fn empty(&mut self, tokens: usize) -> Bytes {
        self.tokens.output += tokens;
        self.result("null", "", None)
    }

    /// A frame with a piece of text. `thinking` adds an empty thought, as in the recordings.
    pub fn text(&mut self, piece: &str, thinking: bool) -> Bytes {
        self.tokens.output += count(piece);
        if !self.incremental {
            self.text.push_str(piece);
        }
        let text = std::mem::take(&mut self.text);
        let shown = if self.incremental { piece } else { &text };
        let frame = self.result("null", shown, thinking.then_some(""));
        self.text = text;
        frame
    }

    /// A frame with a piece of reasoning.
    pub fn thought(&mut self, piece: &str) -> Bytes {
        self.tokens.output += count(piece);
        if !self.incremental {
            self.thought.push_str(piece);
        }
        let thought = std::mem::take(&mut self.thought);
        let shown = if self.incremental { piece } else { &thought };
        let frame = self.result("null", "", Some(shown));
        self.thought = thought;
        frame
    }

    /// The last frame. It repeats all text if the stream is not incremental.
    pub fn stop(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.text);
        self.result("stop", &text, None)
    }

    /// A message of a workflow's end node: a piece of text, or `None` for the last message.
    pub fn node(&mut self, piece: Option<&str>) -> Bytes {
        self.id += 1;
        let message = WorkflowMessage {
            node_status: if piece.is_some() {
                "executing"
            } else {
                "success"
            },
            node_type: "End",
            node_msg_seq_id: self.id,
            node_name: "结束",
            message: NodeMessage {
                content: piece.unwrap_or_default(),
                role: "assistant",
            },
            node_is_completed: piece.is_none(),
            node_id: "End_a1B2",
        };
        let frame = Frame {
            output: Output {
                session_id: &self.session_id,
                workflow_message: Some(message),
                finish_reason: if piece.is_some() { "null" } else { "stop" },
                text: None,
                thoughts: None,
            },
            usage: Some(Usage::Empty {}),
            request_id: &self.request_id,
        };
        self.style.frame(self.id, "result", 200, &json(&frame))
    }

    /// An error frame.
    pub fn error(&mut self, refusal: &Refusal) -> Bytes {
        self.id += 1;
        let data = refusal.json(&self.request_id);
        self.style.frame(self.id, "error", refusal.status, &data)
    }

    /// A frame whose data is not JSON.
    pub fn garbage(&mut self) -> Bytes {
        self.id += 1;
        let data = format!(r#"{{"output":{{"session_id":"{}","text":"#, self.session_id);
        self.style.frame(self.id, "result", 200, &data)
    }

    fn result(&mut self, finish_reason: &str, text: &str, thought: Option<&str>) -> Bytes {
        self.id += 1;
        let thoughts = thought.map(|thought| {
            let reasoning = "reasoning";
            [Reasoning {
                action: reasoning,
                thought,
                action_type: reasoning,
                response: thought,
                action_name: "思考过程",
            }]
        });
        let frame = Frame {
            output: Output {
                session_id: &self.session_id,
                workflow_message: None,
                finish_reason,
                text: Some(text),
                thoughts,
            },
            usage: self.usage.of(self.tokens, self.id, finish_reason == "stop"),
            request_id: &self.request_id,
        };
        self.style.frame(self.id, "result", 200, &json(&frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_have_the_recorded_bytes() {
        let session_id = "0f3a9c5d7e2b48c19a6d4e8f7b1c2d30".to_owned();
        let request_id = "4c1f7b52-0d0e-9a6b-8f53-2b7c9d1e0a11".to_owned();
        let mut writer = Writer::new(session_id, request_id, 31);
        writer.tokens.output = 3; // The recording has higher token counts than the simulator.
        let thought = writer.thought("用户");
        writer.tokens.output = 8;
        let written = [thought, writer.text("收到", true), writer.stop()].concat();
        let recorded = include_str!("../../tests/it/golden/stream-thoughts.sse");
        assert_eq!(String::from_utf8(written).unwrap(), recorded);
    }
}
