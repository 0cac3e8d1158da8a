//! How asking DashScope can end, and what each end means for the message, the run, the
//! budget and the circuit.

use super::{Failure, State, checkpoint_writer::Progress};
use crate::{
    dashscope::{self, TimeoutKind},
    governance::apps::App,
    platform::metrics::EMPTY,
};

/// How the conversation with DashScope ended.
pub(super) enum Outcome {
    Complete,
    Stopped,
    /// Somebody else has ended the reply; there is nothing left to store.
    Lost,
    Deadline,
    /// The application id is not configured.
    Disabled,
    /// DashScope finished without a word.
    Empty,
    Failed(dashscope::Error),
}

impl From<Progress> for Outcome {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Stop => Self::Stopped,
            Progress::Lost => Self::Lost,
        }
    }
}

impl Outcome {
    /// How DashScope failed the call, if it did: not by our own end, and not by having forgotten a session, for then it is
    /// asked once more.
    pub fn upstream_failure(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some(EMPTY),
            Self::Complete
            | Self::Stopped
            | Self::Lost
            | Self::Deadline
            | Self::Disabled
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
}

/// What an outcome means for the message, the run, the budget and the circuit.
pub(super) struct Ending {
    pub state: State,
    pub run_status: &'static str,
    pub failure: Option<Failure>,
    pub message: Option<String>,
    pub charge_unknown: bool,
    pub circuit: &'static str,
}

impl Ending {
    pub fn of(outcome: &Outcome, has_text: bool) -> Self {
        let broken = if has_text {
            State::Interrupted
        } else {
            State::Failed
        };
        let failed = |failure, message: String| Self {
            state: broken,
            run_status: "failed",
            failure: Some(failure),
            message: Some(message),
            charge_unknown: has_text,
            circuit: "neither",
        };
        match outcome {
            Outcome::Complete => Self {
                state: State::Complete,
                run_status: "success",
                failure: None,
                message: None,
                charge_unknown: true,
                circuit: "success",
            },
            Outcome::Stopped | Outcome::Lost => Self {
                state: State::Stopped,
                run_status: "stopped",
                failure: None,
                message: None,
                charge_unknown: true,
                // Whoever has begun to speak is well.
                circuit: if has_text { "success" } else { "neither" },
            },
            Outcome::Deadline => Self {
                run_status: "timeout",
                charge_unknown: true,
                ..failed(Failure::Deadline, "the function neared its end".into())
            },
            Outcome::Disabled => failed(
                Failure::Upstream { retryable: false },
                format!("{} is not set: the app is disabled", App::Chat.variable()),
            ),
            Outcome::Empty => Self {
                // It was asked, and said that it was done.
                charge_unknown: true,
                ..failed(
                    Failure::Upstream { retryable: true },
                    "the answer has no text".into(),
                )
            },
            Outcome::Failed(err) => {
                let (failure, run_status) = match err {
                    dashscope::Error::Timeout {
                        which: TimeoutKind::Deadline,
                        ..
                    } => (Failure::Deadline, "timeout"),
                    dashscope::Error::Timeout { .. } => (Failure::UpstreamTimeout, "timeout"),
                    err => (
                        Failure::Upstream {
                            retryable: err.is_retryable(),
                        },
                        "failed",
                    ),
                };
                Self {
                    run_status,
                    charge_unknown: err.may_have_cost() || has_text,
                    circuit: if err.counts_for_circuit() {
                        "failure"
                    } else {
                        "neither"
                    },
                    ..failed(failure, err.to_string())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dashscope_fails_is_its_failure() {
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
            (Outcome::Disabled, None),
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
