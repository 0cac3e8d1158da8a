//! The JSON response to a call without streaming. Its order of fields differs from that of frames.

use serde::Serialize;
use serde_json::Value;

use super::json;
use super::usage::{Shape, Tokens};

#[derive(Serialize)]
struct Body<'a> {
    output: Output<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Output<'a> {
    finish_reason: &'a str,
    session_id: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts: Option<Value>,
}

/// One model as recorded, or an unusual shape.
#[derive(Serialize)]
#[serde(untagged)]
enum Usage {
    Models { models: [ModelUsage; 1] },
    Odd(super::usage::Usage),
}

#[derive(Serialize)]
struct ModelUsage {
    output_tokens: usize,
    model_id: &'static str,
    input_tokens: usize,
}

/// The content of a response without streaming.
pub(super) struct Plain<'a> {
    pub text: &'a str,
    pub thought: Option<&'a str>,
    pub finish_reason: &'a str,
    pub session_id: &'a str,
    pub request_id: &'a str,
    pub tokens: Tokens,
    pub usage: Shape,
}

impl Plain<'_> {
    pub fn json(&self) -> String {
        let usage = match &self.usage {
            Shape::Ordinary => {
                let Tokens {
                    input: input_tokens,
                    output: output_tokens,
                } = self.tokens;
                let models = [ModelUsage {
                    output_tokens,
                    model_id: "qwen-plus",
                    input_tokens,
                }];
                Some(Usage::Models { models })
            }
            other => other.of(self.tokens, 1, true).map(Usage::Odd),
        };
        let thoughts = self.thought.map(|thought| {
            serde_json::json!([{
                "action": "reasoning", "action_type": "reasoning", "action_name": "思考过程",
                "thought": thought, "response": thought,
            }])
        });
        let output = Output {
            finish_reason: self.finish_reason,
            session_id: self.session_id,
            text: self.text,
            thoughts,
        };
        json(&Body {
            output,
            usage,
            request_id: self.request_id,
        })
    }
}
