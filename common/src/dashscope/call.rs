//! What is asked.

use std::fmt;

use http::HeaderValue;
use serde_json::Value;

/// One question to one application. It is never changed by asking, so it can be asked again.
#[derive(Clone, Default)]
pub struct Call {
    /// The application's id in the console. Any text: it is percent-encoded.
    pub app_id: String,
    /// The question, with whatever context the caller puts around it.
    pub prompt: String,
    /// The session an earlier answer named, to continue it. Sent, the service adds the history
    /// itself.
    pub session_id: Option<String>,
    /// Variables for the application: `user_prompt_params` and its kin, or a workflow's start
    /// variables.
    pub biz_params: Option<Value>,
    /// What `X-Amzn-Trace-Id` is to say, for whoever follows a request through the machines.
    pub trace: Option<HeaderValue>,
}

/// Without the prompt and its variables, which must not reach a log.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("app_id", &self.app_id)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}
