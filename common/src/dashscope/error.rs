//! What can go wrong, by what the caller can do about it.

use std::time::Duration;

use super::Usage;
use super::codes::{self, Kind, is_late};
use super::frames::Frame;
use super::wire::{MESSAGE_LENGTH, Payload, excerpt};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many requests. Ask again later; not before `retry_after`, where the service said so.
    #[error("DashScope is throttling{details}")]
    Throttled {
        /// How long the service wants to be left alone.
        retry_after: Option<Duration>,
        /// What the service said.
        details: Box<ErrorDetails>,
    },
    /// Not reached, or broken (5xx). Ask again later.
    #[error("DashScope is unavailable{details}")]
    Unavailable {
        /// What the service said.
        details: Box<ErrorDetails>,
        /// What broke, where it was the connection.
        source: Option<Source>,
    },
    /// This request will never be answered: malformed, too long, or stopped by content inspection.
    #[error("DashScope refused the request{details}")]
    Refused {
        /// What the service said.
        details: Box<ErrorDetails>,
    },
    /// No request will be answered until an operator acts: key, application id, workspace, unpaid
    /// bill, base URL.
    #[error("DashScope refuses this key, application or account{details}")]
    Misconfigured {
        /// What the service said.
        details: Box<ErrorDetails>,
    },
    /// The session of the call is gone. Ask again without it, with the history in the prompt.
    #[error("the DashScope session has expired{details}")]
    SessionExpired {
        /// What the service said.
        details: Box<ErrorDetails>,
    },
    /// Nothing came, or not all, in time.
    #[error("DashScope was too slow: {which}{details}")]
    Timeout {
        /// Which wait was too long.
        which: TimeoutKind,
        /// What was known by then.
        details: Box<ErrorDetails>,
    },
    /// The answer broke off: the connection was cut, or ended before the service said that the
    /// answer had.
    #[error("the answer of DashScope broke off{details}")]
    Truncated {
        /// What was known by then.
        details: Box<ErrorDetails>,
        /// How the connection was cut; `None` when it was closed in good order.
        source: Option<Source>,
    },
    /// The answer is not what the service is known to send.
    #[error("the answer of DashScope cannot be read{details}")]
    Protocol {
        /// What was known by then.
        details: Box<ErrorDetails>,
        /// What could not be read.
        source: Option<Source>,
    },
}

/// The wait that was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutKind {
    /// [`Timeouts::first_token`](super::Timeouts::first_token)
    FirstToken,
    /// [`Timeouts::idle`](super::Timeouts::idle)
    Idle,
    /// [`Timeouts::overall`](super::Timeouts::overall)
    Overall,
    /// The caller's own deadline, which says nothing about the service.
    Deadline,
}

impl std::fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FirstToken => "no text in time",
            Self::Idle => "the connection went silent",
            Self::Overall => "the answer took too long",
            Self::Deadline => "the deadline passed",
        })
    }
}

/// What was known when the call failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// The HTTP status that counts: an error frame's own before the response's.
    pub status: Option<u16>,
    /// The service's code, such as `DataInspectionFailed`.
    pub code: Option<String>,
    /// The service's message, cut to a length fit for a log.
    pub message: Option<String>,
    /// The service's id of the request, to ask its support with.
    pub request_id: Option<String>,
    /// The tokens reported before the failure.
    pub usage: Option<Usage>,
    /// Whether any of the tries may have used tokens.
    pub may_have_cost: bool,
    /// How many requests were made.
    pub attempts: u32,
}

/// `: code: message (HTTP status)`, as far as known.
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
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Truncated { .. } => true,
            Self::Refused { .. }
            | Self::Misconfigured { .. }
            | Self::SessionExpired { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// Whether this says that the service is not well: all that is retryable but a deadline of the
    /// caller's own.
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

    /// Whether to ask again at once, while there is no text. After a timeout there is no time left
    /// for that.
    pub(super) fn is_worth_another_try(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. } | Self::Unavailable { .. } | Self::Truncated { .. }
        )
    }

    /// Whether the service does not take the key. It says so with the code, some of its gateways with the
    /// status alone.
    pub(super) fn is_about_the_key(&self) -> bool {
        match self {
            Self::Misconfigured { details } => match &details.code {
                Some(code) => code == "InvalidApiKey",
                None => details.status == Some(401),
            },
            _ => false,
        }
    }

    /// The kind of failure, short and stable, for a run log. The service's own code is in
    /// [`Error::details`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
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
            Self::Protocol { .. } => "protocol",
        }
    }

    /// The service's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.details().request_id.as_deref()
    }

    /// How long the service wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether tokens may have been used: false when every try was refused or not even made, true
    /// when an answer had begun or a request was left without one.
    pub fn may_have_cost(&self) -> bool {
        self.details().may_have_cost
    }

    /// What was known when the call failed.
    pub fn details(&self) -> &ErrorDetails {
        match self {
            Self::Throttled { details, .. }
            | Self::Unavailable { details, .. }
            | Self::Refused { details }
            | Self::Misconfigured { details }
            | Self::SessionExpired { details }
            | Self::Timeout { details, .. }
            | Self::Truncated { details, .. }
            | Self::Protocol { details, .. } => details,
        }
    }

    pub(super) fn details_mut(&mut self) -> &mut ErrorDetails {
        match self {
            Self::Throttled { details, .. }
            | Self::Unavailable { details, .. }
            | Self::Refused { details }
            | Self::Misconfigured { details }
            | Self::SessionExpired { details }
            | Self::Timeout { details, .. }
            | Self::Truncated { details, .. }
            | Self::Protocol { details, .. } => details,
        }
    }

    /// The error that the service names itself.
    pub(super) fn named(mut details: ErrorDetails, retry_after: Option<Duration>) -> Self {
        details.may_have_cost |= details.code.as_deref().is_some_and(is_late);
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
            Kind::Misconfigured => Self::Misconfigured { details },
        }
    }

    /// A call that continued a session, refused as malformed, is taken to have outlived it: the
    /// service has no code for that.
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
    /// Adds what an error frame says, or what is left of it when it is not JSON.
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
