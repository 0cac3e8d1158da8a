//! Replies: a message is stored, DashScope is asked, what it says is relayed and stored.
//!
//! `begin` is the one round trip before the call and `finish` the one after it; `relay` is
//! the task between them, which no client can stop by leaving; `watch` is what a client
//! sees of it, from memory while it keeps up and from the database when it does not.

mod begin;
mod finish;
mod keeper;
mod outcome;
mod relay;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use begin::Begun;
pub use begin::{NewMessage, Start};
pub use watch::{Event, Reply, Watch};

use crate::{
    apps::{App, AppIds},
    auth::Caller,
    config::{ChatLimits, ConfigError, DashScopeConfig},
    dashscope::DashScope,
    db::Db,
    error::{Error, Result},
};

/// How long a reply belongs to whoever makes it, counted from its last checkpoint.
const LEASE: Duration = Duration::from_secs(30);
/// How often the text so far is stored, the lease renewed and the stop flag read.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(1500);
/// How long before a function's own end its reply is ended, so that the end can be stored.
const DEADLINE_MARGIN: Duration = Duration::from_secs(10);
/// The longest a reply may take where no function's end is nearer.
const LONGEST_REPLY: Duration = Duration::from_secs(300);

/// How a reply stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being made.
    Streaming,
    /// Said to the end.
    Complete,
    /// Ended by its reader's wish; what was said is kept.
    Stopped,
    /// Broken off; what was said is kept.
    Interrupted,
    /// Nothing was said.
    Failed,
}

impl State {
    /// As clients and the column `state` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        [
            Self::Streaming,
            Self::Complete,
            Self::Stopped,
            Self::Interrupted,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.name() == name)
        .ok_or_else(|| Error::internal("unknown state in biz.ai_messages"))
    }
}

/// Why a reply ended before its end, as the `error` event says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// DashScope was silent for too long.
    UpstreamTimeout,
    /// DashScope failed or refused.
    Upstream {
        /// Whether asking again may help.
        retryable: bool,
    },
    /// The function neared its end.
    Deadline,
    /// The database could not store the end.
    Unavailable,
}

impl Failure {
    /// As clients and the column `error_code` spell it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Upstream { .. } => "upstream_error",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether asking again may help.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Upstream { retryable } => retryable,
            Self::UpstreamTimeout | Self::Deadline | Self::Unavailable => true,
        }
    }

    /// What the database remembers of it. Whether a refusal was final is not stored.
    fn from_code(code: Option<&str>) -> Self {
        match code {
            Some("upstream_timeout") => Self::UpstreamTimeout,
            Some("deadline") => Self::Deadline,
            Some("unavailable") => Self::Unavailable,
            _ => Self::Upstream { retryable: true },
        }
    }
}

/// Makes replies. A clone shares everything.
#[derive(Clone)]
pub struct Replies(Arc<Desk>);

struct Desk {
    db: Db,
    dashscope: DashScope,
    app_ids: AppIds,
    limits: ChatLimits,
}

impl Replies {
    /// Takes its tools; asks and connects to nothing yet.
    pub fn new(db: Db, dashscope: DashScope, app_ids: AppIds, limits: ChatLimits) -> Self {
        Self(Arc::new(Desk {
            db,
            dashscope,
            app_ids,
            limits,
        }))
    }

    /// The same, from what the environment says.
    ///
    /// # Errors
    /// Names the variable that DashScope's client cannot work with.
    pub fn from_config(
        db: Db,
        config: DashScopeConfig,
        limits: ChatLimits,
    ) -> Result<Self, ConfigError> {
        let dashscope = DashScope::new(config.client).map_err(|_| ConfigError::Invalid {
            name: "DASHSCOPE_BASE_URL".to_owned(),
            expected: "an http(s) URL",
        })?;
        Ok(Self::new(db, dashscope, config.app_ids, limits))
    }

    /// Stores a message and begins its reply, or finds the reply that a repeat of the same
    /// message has already got.
    ///
    /// `killed_at` is when the function ends, if it does; `patience` how long the caller
    /// waits at most.
    ///
    /// # Errors
    /// The refusal that applies; then nothing is stored.
    pub async fn send(
        &self,
        caller: &Caller,
        message: NewMessage,
        killed_at: Option<Instant>,
        patience: Option<Duration>,
    ) -> Result<(Start, Watch)> {
        let began = Instant::now();
        let until = [
            killed_at.map(|at| at.checked_sub(DEADLINE_MARGIN).unwrap_or(began)),
            Some(began + patience.unwrap_or(LONGEST_REPLY)),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(began);
        match begin::begin(&self.0.db, caller, &message, App::Chat, self.0.limits).await? {
            Begun::New(start, ticket) => {
                let (sender, receiver) = relay::channel();
                relay::spawn(
                    Arc::clone(&self.0),
                    caller.clone(),
                    message,
                    ticket,
                    sender,
                    until,
                );
                let watch = Watch::live(self.0.db.clone(), caller, start.message_id, receiver);
                Ok((start, watch))
            }
            Begun::Repeat(start) => {
                let watch = Watch::stored(self.0.db.clone(), caller, start.message_id, 0);
                Ok((start, watch))
            }
        }
    }
}
