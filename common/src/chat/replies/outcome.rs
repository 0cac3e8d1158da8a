//! How a DashScope call ended, and what follows for the message, the run, the budget and the
//! circuit.

use super::{Failure, State, checkpoint_writer::Progress};
use crate::{
    dashscope::{self, TimeoutKind},
    governance::runs::RunEnd,
    platform::metrics::EMPTY,
};

/// How the call ended.
pub(super) enum Outcome {
    Complete,
    Stopped,
    /// Another session has ended the reply. Nothing is stored.
    Lost,
    Deadline,
    /// DashScope finished without any text.
    Empty,
    /// Moderation blocked the question or the text.
    Blocked,
    Failed(dashscope::Error),
}

impl From<Progress> for Outcome {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Stop => Self::Stopped,
            Progress::Lost => Self::Lost,
            Progress::Blocked => Self::Blocked,
        }
    }
}

impl Outcome {
    /// The failure to count in the metrics, if DashScope caused one. Our own deadline does not
    /// count. An expired session does not count either, because the call is repeated with the
    /// history.
    pub fn upstream_failure(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some(EMPTY),
            Self::Complete
            | Self::Stopped
            | Self::Lost
            | Self::Deadline
            | Self::Blocked
            | Self::Failed(
                dashscope::Error::SessionExpired { .. }
                | dashscope::Error::Timeout {
                    which: TimeoutKind::Deadline,
                    ..
                },
            ) => None,
            Self::Failed(err) => Some(err.code()),
        }
    }

    /// Returns the state of the message, and fills `end` with the consequences for the run, the
    /// budget and the circuit.
    pub fn settle(&self, has_text: bool, end: &mut RunEnd) -> (State, Option<Failure>) {
        end.status = "failed";
        end.circuit = "neither";
        let (failure, message) = match self {
            Self::Complete => {
                end.status = "success";
                end.circuit = "success";
                return (State::Complete, None);
            }
            Self::Stopped | Self::Lost => {
                end.status = "stopped";
                // An application that has started to send text is healthy.
                if has_text {
                    end.circuit = "success";
                }
                return (State::Stopped, None);
            }
            Self::Deadline => {
                end.status = "timeout";
                (
                    Failure::Deadline,
                    "the function was about to reach its time limit".to_owned(),
                )
            }
            Self::Empty => {
                let failure = Failure::Upstream { retryable: true };
                (failure, "the answer has no text".to_owned())
            }
            Self::Blocked => {
                if has_text {
                    end.circuit = "success";
                }
                let message = "moderation blocked the question or the reply".to_owned();
                (Failure::ContentBlocked, message)
            }
            Self::Failed(err) => {
                if err.counts_for_circuit() {
                    end.circuit = "failure";
                }
                if matches!(err, dashscope::Error::Timeout { .. }) {
                    end.status = "timeout";
                }
                (failure_of(err), err.to_string())
            }
        };
        end.error_code = Some(failure.column());
        end.error_message = Some(message);
        let state = if has_text && failure != Failure::ContentBlocked {
            State::Interrupted
        } else {
            State::Failed
        };
        (state, Some(failure))
    }
}

fn failure_of(err: &dashscope::Error) -> Failure {
    match err {
        dashscope::Error::Timeout {
            which: TimeoutKind::Deadline,
            ..
        } => Failure::Deadline,
        dashscope::Error::Timeout { .. } => Failure::UpstreamTimeout,
        dashscope::Error::Blocked { .. } => Failure::ContentBlocked,
        err => Failure::Upstream {
            retryable: err.is_retryable(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_upstream_errors_count_as_upstream_failures() {
        let timeout = |which| {
            Outcome::Failed(dashscope::Error::Timeout {
                which,
                details: Box::default(),
            })
        };
        for (outcome, failure) in [
            (Outcome::Complete, None),
            (Outcome::Stopped, None),
            (Outcome::Lost, None),
            (Outcome::Deadline, None),
            (Outcome::Blocked, None),
            (timeout(TimeoutKind::Deadline), None),
            (timeout(TimeoutKind::Idle), Some("timeout_idle")),
            (Outcome::Empty, Some("empty")),
            (
                Outcome::Failed(dashscope::Error::SessionExpired {
                    details: Box::default(),
                }),
                None,
            ),
            (
                Outcome::Failed(dashscope::Error::Refused {
                    details: Box::default(),
                }),
                Some("refused"),
            ),
        ] {
            assert_eq!(outcome.upstream_failure(), failure);
        }
    }
}
