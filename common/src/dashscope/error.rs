//! The error type, with one variant for each reaction of the caller.

use std::time::Duration;

use super::codes::{self, Kind, is_service_timeout};
use super::frames::Frame;
use super::json::excerpt;
use super::wire::{MESSAGE_LENGTH, Payload};
use super::{Spent, Usage};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an answer is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many requests. Retry later, and not before `retry_after` if the service sent it.
    #[error("DashScope is throttling{details}")]
    Throttled {
        /// The pause that the service requested.
        retry_after: Option<Duration>,
        /// Details from the service.
        details: Box<ErrorDetails>,
    },
    /// Unreachable, or a server error (5xx). Retry later.
    #[error("DashScope is unavailable{details}")]
    Unavailable {
        /// Details from the service.
        details: Box<ErrorDetails>,
        /// The cause, if the connection failed.
        source: Option<Source>,
    },
    /// The request can never succeed: malformed, or too long.
    #[error("DashScope refused the request{details}")]
    Refused {
        /// Details from the service.
        details: Box<ErrorDetails>,
    },
    /// The content inspection of the service blocked the question, or the answer. The same question
    /// would be blocked again.
    #[error("DashScope blocked the content{details}")]
    Blocked {
        /// Details from the service.
        details: Box<ErrorDetails>,
    },
    /// No request can succeed until an operator acts: key, application id, workspace, unpaid bill,
    /// base URL.
    #[error("DashScope rejects the key, the application or the account{details}")]
    Misconfigured {
        /// Details from the service.
        details: Box<ErrorDetails>,
    },
    /// The session has expired. Retry without it, with the history in the prompt.
    #[error("the DashScope session has expired{details}")]
    SessionExpired {
        /// Details from the service.
        details: Box<ErrorDetails>,
    },
    /// No answer, or only a part of it, before a timeout.
    #[error("DashScope was too slow: {which}{details}")]
    Timeout {
        /// The timeout that ended the call.
        which: TimeoutKind,
        /// Details known at the time of the error.
        details: Box<ErrorDetails>,
    },
    /// The answer is incomplete: the connection ended before the service sent `finish_reason`.
    #[error("the DashScope answer is incomplete{details}")]
    Truncated {
        /// Details known at the time of the error.
        details: Box<ErrorDetails>,
        /// The error that cut the connection; `None` if it was closed normally.
        source: Option<Source>,
    },
    /// The answer is longer than [`Config::max_answer`](super::Config::max_answer).
    #[error("the DashScope answer is longer than {limit} bytes{details}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// Details known at the time of the error.
        details: Box<ErrorDetails>,
    },
    /// The answer has an unknown format.
    #[error("the DashScope answer cannot be parsed{details}")]
    Protocol {
        /// Details known at the time of the error.
        details: Box<ErrorDetails>,
        /// The parse error.
        source: Option<Source>,
    },
}

/// The timeout that ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutKind {
    /// [`Timeouts::first_token`](super::Timeouts::first_token)
    FirstToken,
    /// [`Timeouts::idle`](super::Timeouts::idle)
    Idle,
    /// [`Timeouts::overall`](super::Timeouts::overall)
    Overall,
    /// The deadline of the caller. It does not show a problem of the service.
    Deadline,
}

impl std::fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FirstToken => "no text before the timeout",
            Self::Idle => "the connection was idle for too long",
            Self::Overall => "the answer took too long",
            Self::Deadline => "the deadline passed",
        })
    }
}

/// Details known when the call failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// The HTTP status: that of the error frame if it has one, else that of the response.
    pub status: Option<u16>,
    /// The error code of the service, such as `DataInspectionFailed`.
    pub code: Option<String>,
    /// The message of the service, cut for the log.
    pub message: Option<String>,
    /// The request id of the service. Its support needs this id.
    pub request_id: Option<String>,
    /// The tokens that the last try reported before the failure.
    pub usage: Option<Usage>,
    /// True if the last try may have used tokens.
    pub may_have_cost: bool,
    /// True if the connection was closed before a response, as the service does with a connection
    /// that was idle for too long.
    pub is_closed: bool,
    /// What the tries before it used.
    pub earlier: Spent,
    /// Number of requests sent.
    pub attempts: u32,
}

/// Formats `: code: message (HTTP status)`. Unknown parts are omitted.
impl std::fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.code, &self.message].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        match self.status {
            Some(status) => write!(f, " (HTTP {status})"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// True if the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Truncated { .. } => true,
            Self::Refused { .. }
            | Self::Blocked { .. }
            | Self::Misconfigured { .. }
            | Self::SessionExpired { .. }
            | Self::TooLong { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// True if the error counts for the circuit breaker: all retryable errors except
    /// [`TimeoutKind::Deadline`].
    pub fn counts_for_circuit(&self) -> bool {
        self.is_retryable()
            && !matches!(
                self,
                Self::Timeout {
                    which: TimeoutKind::Deadline,
                    ..
                }
            )
    }

    /// True if the application receives too many requests.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// True if the client itself retries, before the first text. After a timeout there is no time
    /// left.
    pub(super) fn is_retried_by_client(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. } | Self::Unavailable { .. } | Self::Truncated { .. }
        )
    }

    /// True if the service rejects the key. The service sends a code, some of its gateways only the
    /// status 401.
    pub(super) fn is_rejected_key(&self) -> bool {
        match self {
            Self::Misconfigured { details } => match &details.code {
                Some(code) => code == "InvalidApiKey",
                None => details.status == Some(401),
            },
            _ => false,
        }
    }

    /// A short, stable code for the run log. The service's own code is in [`Error::details`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Blocked { .. } => "content_blocked",
            Self::Misconfigured { .. } => "misconfigured",
            Self::SessionExpired { .. } => "session_expired",
            Self::Timeout {
                which: TimeoutKind::FirstToken,
                ..
            } => "timeout_first_token",
            Self::Timeout {
                which: TimeoutKind::Idle,
                ..
            } => "timeout_idle",
            Self::Timeout {
                which: TimeoutKind::Overall,
                ..
            } => "timeout_overall",
            Self::Timeout {
                which: TimeoutKind::Deadline,
                ..
            } => "deadline",
            Self::Truncated { .. } => "truncated",
            Self::TooLong { .. } => "too_long",
            Self::Protocol { .. } => "protocol",
        }
    }

    /// The request id of the service.
    pub fn request_id(&self) -> Option<&str> {
        self.details().request_id.as_deref()
    }

    /// The pause that the service requested, if any.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What all tries used. A try may have used tokens if its answer had started, or if it got no
    /// response; not if it was refused or not sent.
    pub fn spent(&self) -> Spent {
        let details = self.details();
        let mut spent = details.earlier.clone();
        spent.add(Spent::of_try(details.usage.clone(), details.may_have_cost));
        spent
    }

    /// Details known when the call failed.
    pub fn details(&self) -> &ErrorDetails {
        match self {
            Self::Throttled { details, .. }
            | Self::Unavailable { details, .. }
            | Self::Refused { details }
            | Self::Blocked { details }
            | Self::Misconfigured { details }
            | Self::SessionExpired { details }
            | Self::Timeout { details, .. }
            | Self::Truncated { details, .. }
            | Self::TooLong { details, .. }
            | Self::Protocol { details, .. } => details,
        }
    }

    pub(super) fn details_mut(&mut self) -> &mut ErrorDetails {
        match self {
            Self::Throttled { details, .. }
            | Self::Unavailable { details, .. }
            | Self::Refused { details }
            | Self::Blocked { details }
            | Self::Misconfigured { details }
            | Self::SessionExpired { details }
            | Self::Timeout { details, .. }
            | Self::Truncated { details, .. }
            | Self::TooLong { details, .. }
            | Self::Protocol { details, .. } => details,
        }
    }

    /// The error for the status, code and message that the service sent.
    pub(super) fn named(mut details: ErrorDetails, retry_after: Option<Duration>) -> Self {
        details.may_have_cost |= details.code.as_deref().is_some_and(is_service_timeout);
        let kind = codes::kind(
            details.status,
            details.code.as_deref(),
            details.message.as_deref(),
        );
        let details = Box::new(details);
        match kind {
            Kind::Throttled => Self::Throttled {
                retry_after,
                details,
            },
            Kind::Unavailable => Self::Unavailable {
                details,
                source: None,
            },
            Kind::Refused => Self::Refused { details },
            Kind::Blocked => Self::Blocked { details },
            Kind::Misconfigured => Self::Misconfigured { details },
        }
    }

    /// Turns `InvalidParameter` into [`Self::SessionExpired`], for calls that continue a session.
    /// The service has no code of its own for an expired session.
    pub(super) fn or_session_expired(self) -> Self {
        match self {
            Self::Refused { details }
                if details.code.as_deref() == Some("InvalidParameter")
                    && matches!(details.status, None | Some(400)) =>
            {
                Self::SessionExpired { details }
            }
            other => other,
        }
    }
}

impl ErrorDetails {
    /// Adds the values of an error frame. If it is not JSON, adds its text as the message.
    pub(super) fn with_frame(mut self, frame: &Frame, payload: Option<Payload>) -> Self {
        if let Some(status) = frame.status.filter(|status| *status >= 400) {
            self.status = Some(status);
        }
        match payload {
            Some(payload) => {
                self.code = payload.code;
                self.message = payload.message;
                self.request_id = payload.request_id.or(self.request_id);
                self.usage = payload.usage.or(self.usage);
            }
            None if frame.data.is_empty() => {}
            None => {
                let page = String::from_utf8_lossy(&frame.data);
                self.message = Some(excerpt(&page, MESSAGE_LENGTH));
            }
        }
        self
    }
}
