//! The span of a call, with the attributes that OpenTelemetry defines for generative AI.
//!
//! It has counts and codes of the service, and neither the prompt nor the text.

use opentelemetry::{Array, StringValue, Value};
use reqwest::Url;

use super::{Call, Error, Spent};
use crate::platform::{
    request_context::start_span,
    traces::{Kind, Span},
};

/// The span. If no end was recorded, the caller has cancelled the call.
#[derive(Debug, Default)]
pub(super) struct CallSpan {
    span: Span,
    has_ended: bool,
}

/// Values of an answer for its span.
pub(super) struct Ending<'a> {
    pub spent: &'a Spent,
    pub request_id: Option<&'a str>,
    pub attempts: u32,
}

impl CallSpan {
    pub fn start(call: &Call, url: &Url, streaming: bool) -> Self {
        let span = start_span(Kind::Client, || format!("invoke_agent {}", call.app));
        if !span.is_none() {
            span.set("gen_ai.operation.name", "invoke_agent");
            span.set("gen_ai.provider.name", "dashscope");
            span.set("gen_ai.agent.name", call.app);
            span.set("parlor.app", call.app);
            span.set("parlor.call.is_stream", streaming);
            span.set_some("server.address", url.host_str().map(str::to_owned));
            span.set_some("server.port", url.port_or_known_default().map(i64::from));
        }
        Self {
            span,
            has_ended: false,
        }
    }

    /// True until an end is recorded. False if traces are off.
    pub fn is_open(&self) -> bool {
        !self.has_ended && !self.span.is_none()
    }

    /// Marks a call whose caller has left.
    pub fn cancel(&self) {
        self.span.set("parlor.call.is_cancelled", true);
    }

    /// Records the end of an answer. The caller may have read only a part of it.
    pub fn answered(&mut self, finish_reason: Option<&str>, ending: &Ending<'_>) {
        if let Some(reason) = finish_reason {
            let reasons = vec![StringValue::from(reason.to_owned())];
            let reasons = Value::Array(Array::String(reasons));
            self.span.set("gen_ai.response.finish_reasons", reasons);
        }
        self.end(ending);
    }

    pub fn failed(&mut self, error: &Error) {
        if !self.is_open() {
            return;
        }
        let details = error.details();
        self.span.fail(error.code());
        self.span
            .set_some("http.response.status_code", details.status.map(i64::from));
        self.end(&Ending {
            spent: &error.spent(),
            request_id: error.request_id(),
            attempts: details.attempts,
        });
    }

    fn end(&mut self, ending: &Ending<'_>) {
        self.has_ended = true;
        let span = &self.span;
        if let Some(usage) = &ending.spent.usage {
            span.set("gen_ai.usage.input_tokens", usage.input_tokens());
            span.set("gen_ai.usage.output_tokens", usage.output_tokens());
            let model = usage.models().first();
            let model = model.and_then(|model| model.model_id.clone());
            span.set_some("gen_ai.response.model", model);
        }
        span.set_some("gen_ai.response.id", ending.request_id.map(str::to_owned));
        span.set("parlor.call.attempts", i64::from(ending.attempts));
        span.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if self.is_open() {
            self.cancel();
            self.span.end();
        }
    }
}
