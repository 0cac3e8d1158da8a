//! What can go wrong, by what the caller can do about it. No HTTP in here: `http::face`
//! renders an error once, last, in the words of the client that asked.

use std::borrow::Cow;

use super::functions;

/// A result whose error the boundary can render.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token, or one that does not hold. The reason is for the log alone.
    #[error("unauthorized: {0}")]
    Unauthorized(&'static str),
    /// The user is unknown, not approved, disabled, or of another site than the token says.
    #[error("user is not approved")]
    NotApproved,
    /// The role, or the lack of a site, does not allow this.
    #[error("forbidden")]
    Forbidden,
    /// The user may no longer use the bot.
    #[error("bot is not granted")]
    NotGranted,
    /// The object belongs to another user of the same site.
    #[error("not the owner")]
    NotOwner,
    /// No such object or path; also every object of another site.
    #[error("not found")]
    NotFound,
    /// The path exists, the method does not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is not JSON.
    #[error("body is not JSON")]
    InvalidJson,
    /// A field of the query, path or body does not fit.
    #[error("invalid {field}: {reason:?}")]
    Invalid {
        /// As the client spells it.
        field: Cow<'static, str>,
        /// What is wrong with it.
        reason: Reason,
    },
    /// The body is over the limit.
    #[error("payload too large")]
    PayloadTooLarge,
    /// The body is not declared as JSON.
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// A reply is being made in this conversation.
    #[error("conversation is busy")]
    Busy {
        /// The reply that is being made; a bot's is no message before it is done.
        message_id: Option<i64>,
    },
    /// The object's state does not allow this.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// The object was there, and its time is over.
    #[error("gone")]
    Gone,
    /// The idempotency key was sent before with another body.
    #[error("idempotency key reused")]
    KeyReused,
    /// Too many requests of one user.
    #[error("rate limited")]
    RateLimited {
        /// Seconds.
        retry_after: i32,
    },
    /// The site's token budget is used up.
    #[error("budget exceeded")]
    BudgetExceeded {
        /// Seconds until the next local midnight or month.
        retry_after: i32,
    },
    /// The app has failed too often; it is left alone for a while.
    #[error("circuit open")]
    CircuitOpen {
        /// Seconds.
        retry_after: i32,
    },
    /// The database does not answer.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A bug, or a row that must exist and does not.
    #[error("internal error: {0}")]
    Internal(
        Cow<'static, str>,
        #[source] Option<Box<dyn std::error::Error + Send + Sync>>,
    ),
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Absent, or null.
    Missing,
    /// Of another JSON type, or not a number where one is asked.
    Type,
    /// Empty after trimming.
    Empty,
    /// Longer than so many characters.
    TooLong(usize),
    /// Larger than so many bytes.
    TooLarge(usize),
    /// A list of more than so many.
    TooMany(usize),
    /// Not within these bounds.
    OutOfRange(i64, i64),
    /// None of the known values.
    Unknown,
    /// Holds a NUL character, which PostgreSQL cannot store, or bytes that are no character.
    Nul,
    /// Not a cursor of this list, user and order.
    Cursor,
    /// A page so far down that only a cursor leads there.
    TooDeep,
    /// Neither a day nor an instant.
    NotADate,
    /// Ends before it begins.
    Backwards,
    /// A range of more days than this.
    TooManyDays(i64),
    /// May not be given together with another field.
    Exclusive(&'static str),
    /// The same message id was sent before with other content.
    ContentDiffers,
    /// Given more than once.
    Repeated,
    /// Not the id of an event of this reply.
    EventId,
    /// Beyond what there is to read.
    BeyondEnd,
    /// Not a UUID.
    NotAnId,
    /// Holds something else than printable ASCII.
    NotPrintable,
    /// A conversation that is not with a bot.
    NotABot,
    /// A bot that nobody answers for.
    NoAgent,
    /// No message of this session.
    NotOfThisSession,
    /// A session that is closed.
    Closed,
    /// A session that is paused.
    Paused,
}

impl Error {
    /// A field that does not fit.
    pub fn invalid(field: impl Into<Cow<'static, str>>, reason: Reason) -> Self {
        Self::Invalid {
            field: field.into(),
            reason,
        }
    }

    /// A bug: something that must hold does not.
    pub fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(what.into(), None)
    }
}

/// True if a statement called a function that the search path does not have: this build's functions
/// were not loaded.
fn is_undefined_function(err: &sqlx::Error) -> bool {
    let code = err
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "42883")
}

/// Tells an absent database from a statement that is wrong.
impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Self {
        let unavailable = match &err {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => true,
            // 08: connection; 28: not let in, as for the moment between a new password and its secret; 53: out of resources; 57: shut down, starting up or cancelled; 55P03, 40001, 40P01: locks.
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                ["08", "28", "53", "57"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || ["55P03", "40001", "40P01", "25006"].contains(&&*code)
            }),
            _ => false,
        };
        if unavailable {
            Self::Unavailable(err)
        } else if is_undefined_function(&err) {
            let what = format!(
                "{} or a function in it is missing: run db-migrate",
                functions::SCHEMA
            );
            Self::Internal(what.into(), Some(err.into()))
        } else {
            Self::Internal("statement failed".into(), Some(err.into()))
        }
    }
}

/// An error and its sources, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
