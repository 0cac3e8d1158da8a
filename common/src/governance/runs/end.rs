//! How a run ended: one type for replies, bots and jobs, in Rust and in SQL.

use serde::Serialize;

use crate::{
    dashscope::{self, Usage},
    governance::apps::App,
    platform::metrics,
};

/// How a run ended: what its row, the budget and the circuit are told. It goes to SQL as JSON, where
/// the type `run_end` has the same fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunEnd {
    /// `success`, `failed`, `timeout` or `stopped`.
    pub status: &'static str,
    /// What the app said. The text of a reply is not here but in its message.
    pub response: Option<String>,
    /// Null where DashScope did not say.
    pub tokens_in: Option<i64>,
    /// Null where DashScope did not say.
    pub tokens_out: Option<i64>,
    /// Whether a call whose tokens are unknown is charged with its reservation: it may have cost.
    pub charge_unknown: bool,
    /// The session that the service keeps from now on.
    pub session_id: Option<String>,
    /// The service had forgotten the session that was asked with.
    pub session_lost: bool,
    /// The prompt, if the row does not have it yet.
    pub prompt: Option<String>,
    /// Its version, if the row does not have it yet.
    pub prompt_version: Option<&'static str>,
    /// From the start until the first text.
    pub first_token_ms: Option<i64>,
    /// From the start until the end.
    pub latency_ms: i64,
    /// Requests that were sent to DashScope, retries included.
    pub attempts: u32,
    /// DashScope's id of the last of them.
    pub upstream_request_id: Option<String>,
    /// Why it failed, for programs.
    pub error_code: Option<&'static str>,
    /// Why it failed, for people.
    pub error_message: Option<String>,
    /// What the circuit learns: `success`, `failure` or `neither`.
    pub circuit: &'static str,
}

impl RunEnd {
    /// A call that returned a whole answer.
    pub(crate) fn answered(answer: &dashscope::Answer) -> Self {
        let mut end = Self {
            status: "success",
            response: Some(answer.text.replace('\0', "")),
            charge_unknown: true,
            session_id: answer.session_id.clone(),
            attempts: answer.attempts,
            upstream_request_id: answer.request_id.clone(),
            circuit: "success",
            ..Self::default()
        };
        end.add_usage(answer.usage);
        end
    }

    /// A call that was broken off because the job belongs to another worker.
    pub(crate) fn given_up() -> Self {
        Self {
            status: "failed",
            charge_unknown: true,
            attempts: 1,
            error_code: Some("interrupted"),
            error_message: Some("the job was lost while the app was asked".to_owned()),
            circuit: "neither",
            ..Self::default()
        }
    }

    /// A call of a job that failed.
    pub(crate) fn failed(err: &dashscope::Error) -> Self {
        let details = err.details();
        let (status, code) = match err {
            dashscope::Error::Timeout { .. } => ("timeout", "upstream_timeout"),
            err if err.is_retryable() => ("failed", "upstream_error"),
            _ => ("failed", "upstream_refused"),
        };
        let mut end = Self {
            status,
            charge_unknown: err.may_have_cost(),
            attempts: details.attempts,
            upstream_request_id: details.request_id.clone(),
            error_code: Some(code),
            error_message: Some(err.to_string()),
            // Only the service itself makes a call of a job late.
            circuit: if err.counts_for_circuit() || status == "timeout" {
                "failure"
            } else {
                "neither"
            },
            ..Self::default()
        };
        end.add_usage(details.usage);
        end
    }

    /// Turns the end into a failure, whatever the service said.
    pub(crate) fn fail(&mut self, code: &'static str, message: impl Into<String>) {
        self.status = "failed";
        self.error_code = Some(code);
        self.error_message = Some(message.into());
    }

    /// Adds the tokens of a call. One reply may take two calls, and both are paid for.
    pub(crate) fn add_usage(&mut self, usage: Option<Usage>) {
        let sum = Usage::sum(self.usage(), usage);
        self.tokens_in = sum.map(|usage| usage.input_tokens);
        self.tokens_out = sum.map(|usage| usage.output_tokens);
    }

    /// The tokens, where they are known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let (input_tokens, output_tokens) = self.tokens_in.zip(self.tokens_out)?;
        Some(Usage {
            input_tokens,
            output_tokens,
        })
    }

    /// Writes the metrics of a run that is stored. `circuit` is what the end did to the circuit.
    pub(crate) fn report(&self, app: App, reserved_tokens: i64, circuit: Option<&str>) {
        metrics::tokens(app.name(), self.charged(reserved_tokens));
        metrics::circuit(app.name(), circuit);
    }

    /// What the budget is charged with: the tokens or, where they are unknown and the call may have
    /// cost, the reservation.
    fn charged(&self, reserved_tokens: i64) -> i64 {
        let unknown = if self.charge_unknown {
            reserved_tokens
        } else {
            0
        };
        self.usage().map_or(unknown, |usage| usage.total())
    }
}
