//! The end of a run: one type for replies, bots and jobs, in Rust and in SQL.

use serde::Serialize;

use crate::{
    dashscope::{self, ModelUsage, Reference, Spent, Usage},
    governance::apps::App,
    platform::metrics,
};

/// The end of a run: the values for its row, the budget and the circuit.
///
/// It is passed to SQL as JSON. The SQL type `run_end` has the same fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunEnd {
    /// `success`, `failed`, `timeout` or `stopped`.
    pub status: &'static str,
    /// The response of the app. The text of a reply is stored in its message instead.
    pub response: Option<String>,
    /// `None` if DashScope did not report it.
    pub tokens_in: Option<i64>,
    /// `None` if DashScope did not report it.
    pub tokens_out: Option<i64>,
    /// The tokens of each model, most tokens first.
    pub models: Vec<ModelUsage>,
    /// Number of tries whose tokens are unknown. Each is charged the reservation, because it may
    /// have cost tokens.
    pub unknown_tries: u32,
    /// DashScope reported more tokens than a model can use.
    pub usage_implausible: bool,
    /// The DashScope session to continue with.
    pub session_id: Option<String>,
    /// The conversation must not continue its session: DashScope no longer had it, or the fallback
    /// application was called.
    pub session_lost: bool,
    /// The prompt, if the row does not have it yet.
    pub prompt: Option<String>,
    /// The version of the prompt template, if the row does not have it yet.
    pub prompt_version: Option<&'static str>,
    /// From the start until the first text.
    pub first_token_ms: Option<i64>,
    /// From the start until the end.
    pub latency_ms: i64,
    /// Requests sent to DashScope, including retries.
    pub attempts: u32,
    /// Why DashScope ended the answer, such as `stop`. `None` if it did not end.
    pub finish_reason: Option<String>,
    /// DashScope's id of the last request.
    pub upstream_request_id: Option<String>,
    /// The error for programs.
    pub error_code: Option<&'static str>,
    /// The error for people.
    pub error_message: Option<String>,
    /// How the circuit counts the run: `success`, `failure` or `neither`.
    pub circuit: &'static str,
    /// The documents that the answer cites. Stored with the message.
    pub doc_references: Vec<Reference>,
    /// The sum over all calls, from which the fields above are set.
    #[serde(skip)]
    spent: Spent,
}

impl RunEnd {
    /// A call that returned a complete response.
    pub(crate) fn answered(answer: &dashscope::Answer) -> Self {
        let mut end = Self {
            status: "success",
            response: Some(answer.text.replace('\0', "")),
            session_id: answer.session_id.clone(),
            attempts: answer.attempts,
            finish_reason: answer.finish_reason.clone(),
            upstream_request_id: answer.request_id.clone(),
            circuit: "success",
            doc_references: answer.references.clone(),
            ..Self::default()
        };
        end.add_spent(answer.spent.clone());
        end
    }

    /// A call that was cancelled because another worker took over the job.
    pub(crate) fn given_up() -> Self {
        let mut end = Self {
            status: "failed",
            attempts: 1,
            error_code: Some("interrupted"),
            error_message: Some("another worker took over the job during the call".to_owned()),
            circuit: "neither",
            ..Self::default()
        };
        end.add_spent(Spent::CANCELLED);
        end
    }

    /// A call of a job that failed.
    pub(crate) fn failed(err: &dashscope::Error) -> Self {
        let details = err.details();
        let (status, code) = match err {
            dashscope::Error::Timeout { .. } => ("timeout", "upstream_timeout"),
            dashscope::Error::Blocked { .. } => ("failed", "content_blocked"),
            err if err.is_retryable() => ("failed", "upstream_error"),
            _ => ("failed", "upstream_refused"),
        };
        let mut end = Self {
            status,
            attempts: details.attempts,
            upstream_request_id: details.request_id.clone(),
            error_code: Some(code),
            error_message: Some(err.to_string()),
            // A call of a job times out only if DashScope is slow.
            circuit: if err.counts_for_circuit() || status == "timeout" {
                "failure"
            } else {
                "neither"
            },
            ..Self::default()
        };
        end.add_spent(err.spent());
        end
    }

    /// Turns the end into a failure, even if the call succeeded.
    pub(crate) fn fail(&mut self, code: &'static str, message: impl Into<String>) {
        self.status = "failed";
        self.error_code = Some(code);
        self.error_message = Some(message.into());
    }

    /// Adds the tokens of a call. A reply may need two calls, and both are charged.
    pub(crate) fn add_spent(&mut self, spent: Spent) {
        self.spent.add(spent);
        let usage = self.spent.usage.as_ref();
        self.tokens_in = usage.map(Usage::input_tokens);
        self.tokens_out = usage.map(Usage::output_tokens);
        self.models = usage.map_or_else(Vec::new, |usage| usage.models().to_vec());
        self.unknown_tries = self.spent.unknown;
        self.usage_implausible = self.spent.is_implausible;
    }

    /// Input and output tokens, if known.
    pub(crate) fn tokens(&self) -> Option<i64> {
        self.spent.usage.as_ref().map(Usage::total)
    }

    /// Writes the metrics of a run after it is stored. `circuit` is `opened` or `closed` if this
    /// run changed the circuit.
    pub(crate) fn report(&self, app: App, reserved_tokens: i64, circuit: Option<&str>) {
        metrics::tokens(app.name(), self.charged(reserved_tokens));
        metrics::circuit(app.name(), circuit);
    }

    /// The tokens charged to the budget, as in `finish_run`.
    fn charged(&self, reserved_tokens: i64) -> i64 {
        let known = self.tokens().unwrap_or_default();
        known + i64::from(self.unknown_tries) * reserved_tokens
    }
}
