//! Replies: stores a message, calls DashScope, then streams the answer and stores it.
//!
//! - `begin` is the round trip before the call, `finish` the one after it.
//! - `relay` is the work between them. `driver` polls it, also after the client has left.
//! - `progress` limits how often a client is notified before the first text.
//! - `channel` passes its text to the client on the same instance.
//! - `stream` is the client's view: from memory while the client is fast enough, else from the
//!   database.
//! - `resume` and `stop` work on any instance. `readers` limits how many requests read a reply.

mod begin;
mod channel;
mod checkpoint_writer;
mod driver;
mod finish;
mod outcome;
mod page;
mod progress;
mod readers;
mod relay;
mod resume;
mod stop;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use begin::BeginOutcome;
pub use begin::{Asked, NewMessage, Start};
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
    moderation::Moderation,
    platform::{
        db::{self, DatabaseConfig, Db, StatementTimeout, SweptRows},
        env::{ConfigError, Env},
        error::Result,
        time_limit::TimeLimit,
        words::words,
    },
};

/// The lease of a reply, counted from its last checkpoint.
const LEASE: Duration = Duration::from_secs(30);
/// Interval of checkpoints. Each stores the new text, renews the lease and reads the stop flag.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(1500);
/// A reply ends this long before its function does, so that the end can be stored.
pub const DEADLINE_MARGIN: Duration = Duration::from_secs(10);
/// Time limit of a reply if the function does not end earlier.
const LONGEST_REPLY: Duration = Duration::from_secs(300);

/// Ends a limited number of replies whose lease has expired because their function was killed.
/// Does nothing if another sweep is running.
pub async fn sweep(db: &Db) -> Result<SweptRows> {
    let swept =
        sqlx::query!(r#"select done as "done!", skipped as "skipped!" from sweep_replies()"#)
            .fetch_one(db)
            .with_statement_timeout()
            .await?;
    Ok(SweptRows::of_function(
        "replies",
        swept.done,
        &swept.skipped,
    ))
}

words! {
    /// State of a reply, as in the API and the column `state`.
    pub enum State {
        Streaming = "streaming",
        Complete = "complete",
        /// Ended at the client's request. The text so far is kept.
        Stopped = "stopped",
        /// Ended by a failure. The text so far is kept.
        Interrupted = "interrupted",
        /// Ended by a failure before there was any text.
        Failed = "failed",
    }
}

words! {
    /// Why a complete reply ended, as in the API.
    pub enum FinishReason {
        Stop = "stop",
        /// At the length limit of the model. The column `is_cut` is true.
        Length = "length",
    }
}

impl FinishReason {
    const fn is_cut(self) -> bool {
        matches!(self, Self::Length)
    }

    const fn of_column(is_cut: bool) -> Self {
        if is_cut { Self::Length } else { Self::Stop }
    }
}

/// Cause of an early end, for the `error` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// DashScope sent nothing for too long.
    UpstreamTimeout,
    /// DashScope failed or rejected the call.
    Upstream {
        /// Whether a retry may succeed.
        retryable: bool,
    },
    /// The content inspection of DashScope, or moderation, blocked the question or the reply.
    ContentBlocked,
    /// The function was about to reach its time limit.
    Deadline,
    /// A newer reader of the same user has replaced this one. The reply is still being made.
    Replaced,
    /// The database could not store the end, or the function that made the reply was killed.
    Unavailable,
    /// The conversation was deleted while the reply was read.
    Deleted,
}

impl Failure {
    /// The code in the API.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Upstream { .. } => "upstream_error",
            Self::ContentBlocked => "content_blocked",
            Self::Deadline => "deadline",
            Self::Replaced => "replaced",
            Self::Unavailable => "unavailable",
            Self::Deleted => "gone",
        }
    }

    /// Whether a retry may succeed.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Upstream { retryable } => retryable,
            Self::ContentBlocked | Self::Replaced | Self::Deleted => false,
            Self::UpstreamTimeout | Self::Deadline | Self::Unavailable => true,
        }
    }

    /// The value of the column `error_code`. It also distinguishes errors that are not retryable,
    /// so that a resumed stream ends with the same event.
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
            Some("content_blocked") => Self::ContentBlocked,
            Some("deadline") => Self::Deadline,
            // `interrupted`, written by the sweep, or nothing yet: the function was killed.
            _ => Self::Unavailable,
        }
    }
}

/// Makes replies. Clones share one state.
#[derive(Clone)]
pub struct Replies(Arc<ReplyContext>);

struct ReplyContext {
    db: Db,
    dashscope: DashScope,
    app_ids: AppIds,
    limits: ChatLimits,
    moderation: Moderation,
}

impl Replies {
    /// Does not connect to anything yet.
    pub fn new(
        db: Db,
        dashscope: DashScope,
        app_ids: AppIds,
        limits: ChatLimits,
        moderation: Moderation,
    ) -> Self {
        Self(Arc::new(ReplyContext {
            db,
            dashscope,
            app_ids,
            limits,
            moderation,
        }))
    }

    /// Builds everything that a chat function needs from the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<(Db, Callers, Self), ConfigError> {
        // Boxed, because the futures of the AWS SDK are large and used only once.
        let (database, secrets, dashscope) = tokio::try_join!(
            Box::pin(DatabaseConfig::from_env(env)),
            Box::pin(JwtSecrets::from_env(env)),
            Box::pin(apps::dashscope_from_env(env))
        )?;
        let db = db::connect_lazy(&database)?;
        let (dashscope, app_ids) = dashscope;
        let moderation = Box::pin(Moderation::from_env(env, &db)).await?;
        let limits = ChatLimits::from_env(env)?;
        let replies = Self::new(db.clone(), dashscope, app_ids, limits, moderation);
        Ok((db.clone(), Callers::new(secrets, db), replies))
    }

    /// Begins to connect to DashScope, for a process whose first request is probably a message.
    pub fn prepare_connection(&self) {
        self.0.dashscope.prepare_connection();
    }

    /// Stores a message and starts its reply. For a repeated message, follows the existing reply.
    ///
    /// `limit` is the end of the function or the server. `patience` is the longest time that the
    /// caller waits.
    ///
    /// # Errors
    /// The refusal that applies. Then the message is not stored.
    pub async fn send(
        &self,
        caller: &Caller,
        message: NewMessage,
        limit: impl Into<TimeLimit>,
        patience: Option<Duration>,
    ) -> Result<(Start, ReplyStream)> {
        let limit = limit.into();
        let longest = Instant::now() + patience.unwrap_or(LONGEST_REPLY);
        let until = limit.clone().earlier_by(DEADLINE_MARGIN);
        let until = until.no_later_than(longest);
        let (context, owner) = (Arc::clone(&self.0), caller.clone());
        let (start, receiver) = relay::run_detached(async move {
            let mut page = Page::of(message.page.as_ref(), &context, &owner);
            if let Some(content) = message.asked.content() {
                let moderation = &context.moderation;
                moderation.check_words(owner.site_id, content).await?;
            }
            context.dashscope.prepare_connection();
            let app_id = context.app_ids.find(App::Chat);
            let storing = begin::begin(&context.db, &owner, &message, app_id, context.limits);
            match page.fetch_during(storing).await? {
                BeginOutcome::New {
                    start,
                    prepared,
                    connection,
                } => {
                    let (sender, receiver) = channel::channel();
                    let mut driver = relay::start(context, owner, page, *prepared, sender, until);
                    // The call is sent before the head of the response is written.
                    driver.poll_once().await;
                    drop(connection);
                    Ok((start, Some(receiver.driving(driver))))
                }
                BeginOutcome::Repeat(start) => Ok((start, None)),
            }
        })
        .await?;
        let (db, message_id) = (self.0.db.clone(), start.message_id);
        let stream = if let Some(receiver) = receiver {
            ReplyStream::live(db, caller, message_id, limit, receiver)
        } else {
            let reader = self.open_reader(caller, message_id, start.is_ended).await?;
            ReplyStream::stored(db, caller, message_id, limit, 0, reader)
        };
        Ok((start, stream))
    }

    /// Finds a reply of the caller and follows it from `place`. `limit` is the end of the function
    /// or the server.
    ///
    /// # Errors
    /// The refusal that applies.
    pub async fn resume(
        &self,
        caller: &Caller,
        place: ResumePoint,
        limit: impl Into<TimeLimit>,
    ) -> Result<(ReplyHeader, ReplyStream)> {
        let (header, chars) = resume::find(&self.0.db, caller, place).await?;
        let reader = self
            .open_reader(caller, header.message_id, header.is_ended)
            .await?;
        let db = self.0.db.clone();
        let limit = limit.into();
        let stream = ReplyStream::stored(db, caller, header.message_id, limit, chars, reader);
        Ok((header, stream))
    }

    /// `None` for a reply that has ended: it is read at once.
    async fn open_reader(
        &self,
        caller: &Caller,
        message_id: i64,
        is_ended: bool,
    ) -> Result<Option<i64>> {
        if is_ended {
            return Ok(None);
        }
        readers::open(&self.0.db, caller, message_id)
            .await
            .map(Some)
    }

    /// Requests that a reply of the caller stops. The text so far is kept.
    ///
    /// # Errors
    /// The refusal that applies.
    pub async fn stop(&self, caller: &Caller, message_id: i64) -> Result<Stop> {
        stop::stop(&self.0.db, caller, message_id).await
    }
}

/// Limits of a user's chat.
#[derive(Clone, Copy, Debug)]
pub struct ChatLimits {
    /// Messages per minute. 0 disables the limit.
    pub rate_per_minute: i32,
    /// Replies in progress at once.
    pub max_streams: i32,
    /// Tokens reserved for a reply besides those of its prompt, until the app has an average.
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
