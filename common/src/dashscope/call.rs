//! A call of an application.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One prompt for one application. The client does not change it, so it can be sent again.
#[derive(Clone, Default)]
pub struct Call {
    /// The name of the caller's app, for traces.
    pub app: &'static str,
    /// The id of the application in the console. It may be any text: it is percent-encoded.
    pub app_id: String,
    /// The question, with the context that the caller adds.
    pub prompt: String,
    /// The session of an earlier answer, to continue it. The service then adds the history itself.
    pub session_id: Option<String>,
    /// Variables for the application, such as `user_prompt_params`, or the start variables of a
    /// workflow.
    pub biz_params: Option<Value>,
    /// Parameters of the request that the application's owner chooses.
    pub options: CallOptions,
    /// Replaces [`Timeouts::first_token`](super::Timeouts::first_token).
    pub first_token: Option<Duration>,
    /// The caller calls another application if this one throttles. So throttling is not retried.
    pub has_fallback: bool,
    /// The value of the header `X-Amzn-Trace-Id`, for tracing.
    pub trace: Option<HeaderValue>,
}

/// Members of the `parameters` of a request. What is `None` is not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallOptions {
    /// Which knowledge bases, files and tags the application searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rag_options: Option<Value>,
    /// How a workflow streams the output of its nodes, such as `message_format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_stream_mode: Option<String>,
    /// Whether the answer contains thoughts and steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_thoughts: Option<bool>,
}

/// Omits the prompt and its variables, which must not be logged.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("app_id", &self.app_id)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}
