//! Replies: a message is stored, DashScope is asked, what it says is relayed and stored.
//!
//! `begin` is the one round trip before the call and `finish` the one after it; `relay` is
//! the task between them, which no client can stop by leaving; `live` hands on what it says; `watch` is what a
//! client sees of it, from memory while it keeps up and from the database when it does not; `resume`
//! and `stop` reach a reply from any other instance.

mod begin;
mod channel;
mod checkpoint_writer;
mod finish;
mod outcome;
mod page;
mod relay;
mod resume;
mod stop;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use begin::BeginOutcome;
pub use begin::{NewMessage, Start};
use page::Page;
pub use resume::{EventId, ReplyHeader, ResumePoint};
pub use stop::Stop;
pub use stream::{Event, Reply, ReplyStream};

use crate::{
    chat::messages::SendLimits,
    dashscope::DashScope,
    governance::{
        apps::{self, App, AppIds},
        auth::{Caller, Callers, JwtSecrets},
    },
    platform::{
        db::{self, DatabaseConfig, Db, StatementTimeout},
        env::{ConfigError, Env},
        error::Result,
        words::words,
    },
};

/// How long a reply belongs to whoever makes it, counted from its last checkpoint.
const LEASE: Duration = Duration::from_secs(30);
/// How often the text so far is stored, the lease renewed and the stop flag read.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(1500);
/// How long before a function's own end its reply is ended, so that the end can be stored.
const DEADLINE_MARGIN: Duration = Duration::from_secs(10);
/// The longest a reply may take where no function's end is nearer.
const LONGEST_REPLY: Duration = Duration::from_secs(300);

/// Ends a bounded number of replies whose lease has run out, and returns how many: their function
/// was killed. Returns 0 where another sweep is running.
pub async fn sweep(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select sweep_replies() as "replies!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

words! {
    /// State of a reply, as clients and the column `state` spell it.
    pub enum State {
        Streaming = "streaming",
        Complete = "complete",
        /// Ended by the reader; the text so far is kept.
        Stopped = "stopped",
        /// Broken off; the text so far is kept.
        Interrupted = "interrupted",
        /// Ended before there was any text.
        Failed = "failed",
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
    /// The database could not store the end, or whoever made the reply died.
    Unavailable,
}

impl Failure {
    /// As clients spell it.
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

    /// As the column `error_code` spells it: so that a resumed stream ends as the first one did,
    /// it also tells a refusal that will be the same next time.
    const fn column(self) -> &'static str {
        match self {
            Self::Upstream { retryable: false } => "upstream_refused",
            other => other.code(),
        }
    }

    fn from_column(code: Option<&str>) -> Self {
        match code {
            Some("upstream_timeout") => Self::UpstreamTimeout,
            Some("upstream_refused") => Self::Upstream { retryable: false },
            Some("upstream_error") => Self::Upstream { retryable: true },
            Some("deadline") => Self::Deadline,
            // Its maker could not say: the sweep did, or will.
            _ => Self::Unavailable,
        }
    }
}

/// Makes replies. A clone shares everything.
#[derive(Clone)]
pub struct Replies(Arc<ReplyContext>);

struct ReplyContext {
    db: Db,
    dashscope: DashScope,
    app_ids: AppIds,
    limits: ChatLimits,
}

impl Replies {
    /// Takes its tools; asks and connects to nothing yet.
    pub fn new(db: Db, dashscope: DashScope, app_ids: AppIds, limits: ChatLimits) -> Self {
        Self(Arc::new(ReplyContext {
            db,
            dashscope,
            app_ids,
            limits,
        }))
    }

    /// The same with a pool and what tells who calls: all that a chat function needs.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<(Db, Callers, Self), ConfigError> {
        // Boxed, for the SDK's futures are large and are needed once.
        let (database, secrets, dashscope) = tokio::try_join!(
            Box::pin(DatabaseConfig::from_env(env)),
            Box::pin(JwtSecrets::from_env(env)),
            Box::pin(apps::dashscope_from_env(env))
        )?;
        let db = db::connect_lazy(&database)?;
        let (dashscope, app_ids) = dashscope;
        let replies = Self::new(db.clone(), dashscope, app_ids, ChatLimits::from_env(env)?);
        Ok((db.clone(), Callers::new(secrets, db), replies))
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
    ) -> Result<(Start, ReplyStream)> {
        let began = Instant::now();
        let until = [
            killed_at.map(|at| at.checked_sub(DEADLINE_MARGIN).unwrap_or(began)),
            Some(began + patience.unwrap_or(LONGEST_REPLY)),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(began);
        let (context, maker) = (Arc::clone(&self.0), caller.clone());
        let (start, receiver) = relay::run_detached(async move {
            let mut page = Page::of(message.page.as_ref(), &context.db, &maker);
            let storing = begin::begin(&context.db, &maker, &message, App::Chat, context.limits);
            match page.meanwhile(storing).await? {
                BeginOutcome::New(start, prepared) => {
                    let (sender, receiver) = channel::channel();
                    relay::spawn(context, maker, message, page, prepared, sender, until);
                    Ok((start, Some(receiver)))
                }
                BeginOutcome::Repeat(start) => Ok((start, None)),
            }
        })
        .await?;
        let (db, message_id) = (self.0.db.clone(), start.message_id);
        let watch = match receiver {
            Some(receiver) => ReplyStream::live(db, caller, message_id, killed_at, receiver),
            None => ReplyStream::stored(db, caller, message_id, killed_at, 0),
        };
        Ok((start, watch))
    }

    /// Finds a reply of the caller, to read it on from there. `killed_at` is when the function
    /// ends, if it does.
    ///
    /// # Errors
    /// The refusal that applies.
    pub async fn resume(
        &self,
        caller: &Caller,
        place: ResumePoint,
        killed_at: Option<Instant>,
    ) -> Result<(ReplyHeader, ReplyStream)> {
        let head = resume::find(&self.0.db, caller, place).await?;
        let db = self.0.db.clone();
        let watch = ReplyStream::stored(db, caller, head.message_id, killed_at, place.chars());
        Ok((head, watch))
    }

    /// Asks whoever makes a reply of the caller to stop; what was said is kept.
    ///
    /// # Errors
    /// The refusal that applies.
    pub async fn stop(&self, caller: &Caller, message_id: i64) -> Result<Stop> {
        stop::stop(&self.0.db, caller, message_id).await
    }
}

/// What a user may ask for.
#[derive(Clone, Copy, Debug)]
pub struct ChatLimits {
    /// Messages in a minute.
    pub rate_per_minute: i32,
    /// Replies being made at once.
    pub max_streams: i32,
    /// Tokens held against the site's budget while a reply is made.
    pub reserved_tokens: i64,
}

impl ChatLimits {
    /// Reads the `CHAT_…` variables.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let SendLimits {
            rate_per_minute,
            reserved_tokens,
        } = SendLimits::from_env(env)?;
        Ok(Self {
            rate_per_minute,
            max_streams: env.parsed("CHAT_MAX_STREAMS", "a whole number", 2)?,
            reserved_tokens,
        })
    }
}
