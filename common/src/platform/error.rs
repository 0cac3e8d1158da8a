//! The error type, with one variant for each reaction of the caller.
//!
//! It does not know HTTP: `web::error_response` renders each error for the API of the request.

use std::borrow::Cow;

use serde::Deserialize;
use sqlx::types::Json;

use super::functions;

/// A result with [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was rejected or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token, or a token that is not valid. The reason is only logged.
    #[error("unauthorized: {0}")]
    Unauthorized(&'static str),
    /// The user is unknown, not approved, disabled, or not of the site in the token.
    #[error("user is not approved")]
    NotApproved,
    /// The role does not allow this, or the user has no site.
    #[error("forbidden")]
    Forbidden,
    /// The user may no longer use the bot.
    #[error("bot is not granted")]
    NotGranted,
    /// The object belongs to another user of the same site.
    #[error("not the owner")]
    NotOwner,
    /// The object or path does not exist, or the object belongs to another site.
    #[error("not found")]
    NotFound,
    /// The path exists, but not with this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is not JSON.
    #[error("body is not JSON")]
    InvalidJson,
    /// A field of the query, path or body is not valid.
    #[error("invalid {field}: {reason:?}")]
    Invalid {
        /// The name as the client spells it.
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
    /// The conversation has a reply in progress.
    #[error("conversation is busy")]
    Busy {
        /// The reply in progress. `None` for a bot, whose reply becomes a message only at its end.
        message_id: Option<i64>,
    },
    /// The state of the object does not allow this.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// Another number of objects matches than the caller expected.
    #[error("{matching} objects match")]
    OtherNumber {
        /// The actual number.
        matching: i64,
    },
    /// The client changes another version of the object than the stored one.
    #[error("outdated")]
    Outdated,
    /// The object existed and has expired.
    #[error("gone")]
    Gone,
    /// The idempotency key was sent before with another body.
    #[error("idempotency key reused")]
    KeyReused,
    /// The user sent too many requests.
    #[error("rate limited")]
    RateLimited {
        /// Seconds.
        retry_after: i32,
    },
    /// The text contains a word that is blocked.
    #[error("content blocked")]
    ContentBlocked,
    /// The site's token budget is used up.
    #[error("budget exceeded")]
    BudgetExceeded {
        /// Seconds until the next local midnight or month.
        retry_after: i32,
    },
    /// A quota of the user, of its role or of the bot is used up.
    #[error("quota exceeded")]
    QuotaExceeded {
        /// Seconds until the next local midnight or month.
        retry_after: i32,
        /// The quota.
        quota: ExceededQuota,
    },
    /// The app failed too often, so calls to it are paused.
    #[error("circuit open")]
    CircuitOpen {
        /// Seconds.
        retry_after: i32,
    },
    /// The app has no application at the site. The reason is only logged.
    #[error("{0}")]
    AppDisabled(String),
    /// The database is unreachable or cannot run the statement now.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A bug, or a required row is missing.
    #[error("internal error: {0}")]
    Internal(
        Cow<'static, str>,
        #[source] Option<Box<dyn std::error::Error + Send + Sync>>,
    ),
}

/// A quota that is used up.
#[derive(Clone, Debug, Deserialize)]
pub struct ExceededQuota {
    /// `user`, `role` or `bot`.
    pub subject_type: String,
    /// The id of the user or bot, or the role.
    pub subject_id: String,
    /// `day` or `month`.
    pub period: String,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Absent or null.
    Missing,
    /// The wrong JSON type, or not a number.
    Type,
    /// Empty after trimming.
    Empty,
    /// Longer than this number of characters.
    TooLong(usize),
    /// Larger than this number of bytes.
    TooLarge(usize),
    /// A list with more items than this.
    TooMany(usize),
    /// Not within these bounds, both inclusive.
    OutOfRange(i64, i64),
    /// Not one of the known values.
    Unknown,
    /// Contains NUL, which PostgreSQL cannot store, or is not valid UTF-8.
    Nul,
    /// Not a cursor for this list, user and order.
    Cursor,
    /// A page so far down that only a cursor can reach it.
    TooDeep,
    /// Neither a day nor an instant.
    NotADate,
    /// A time that is not in the future.
    Past,
    /// A range that ends before it starts.
    Backwards,
    /// A range with more days than this.
    TooManyDays(i64),
    /// Cannot be combined with this other field.
    Exclusive(&'static str),
    /// The same message id was sent before with other content.
    ContentDiffers,
    /// Given more than once.
    Repeated,
    /// Not the id of an event of this reply.
    EventId,
    /// Past the end of the content.
    BeyondEnd,
    /// Not a UUID.
    NotAnId,
    /// Contains characters other than printable ASCII.
    NotPrintable,
    /// The conversation is not with a bot.
    NotABot,
    /// The bot has no agent.
    NoAgent,
    /// Not a message of this session.
    NotOfThisSession,
    /// Not HTTPS, or with a port or credentials.
    NotHttps,
    /// Another host than those of the service.
    NotOfService,
    /// Not an address of the public internet, or a name that cannot be resolved.
    NotPublic,
    /// The session is closed.
    Closed,
    /// The session is paused.
    Paused,
    /// Not a decimal number without sign, with at most 6 decimals.
    NotAnAmount,
    /// The bounds of tiers do not ascend, or not exactly the last one is open.
    Tiers,
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(field: impl Into<Cow<'static, str>>, reason: Reason) -> Self {
        Self::Invalid {
            field: field.into(),
            reason,
        }
    }

    /// Fails if another number of objects matches than the caller expects. `None`: any number.
    pub(crate) fn unless_expected(matching: i64, expected: Option<i64>) -> Result<()> {
        match expected {
            Some(expected) if expected != matching => Err(Self::OtherNumber { matching }),
            _ => Ok(()),
        }
    }

    /// An [`Error::QuotaExceeded`] with the quota that a statement returned.
    pub(crate) fn quota_exceeded(retry_after: i32, quota: Option<Json<ExceededQuota>>) -> Self {
        match quota {
            Some(Json(quota)) => Self::QuotaExceeded { retry_after, quota },
            None => Self::internal("a refusal by quota without the quota"),
        }
    }

    /// An [`Error::Internal`] without a source.
    pub fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(what.into(), None)
    }
}

impl Error {
    /// True if the same statement may succeed later. Only errors in the statement or its data never
    /// pass: 22 invalid data, 23 violated constraint, 42 wrong syntax or missing object.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Internal(_, Some(cause)) => cause
                .downcast_ref::<sqlx::Error>()
                .and_then(sqlx::Error::as_database_error)
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| {
                    !["22", "23", "42"]
                        .iter()
                        .any(|class| code.starts_with(class))
                }),
            _ => false,
        }
    }
}

/// True if a statement called a function that is not in the search path. Then the functions of this
/// build are not loaded.
fn is_undefined_function(err: &sqlx::Error) -> bool {
    let code = err
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "42883")
}

/// Separates an unavailable database from a wrong statement.
impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Self {
        let unavailable = match &err {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => true,
            // Classes: 08 connection error; 28 login rejected, as between a password change and the
            // update of its secret; 53 out of resources; 57 shutting down, starting or cancelled;
            // 58 system error, such as an I/O error.
            // Codes: 55P03 lock timeout; 40001 serialization failure; 40P01 deadlock; 25006
            // read-only transaction, as on a server that is no longer the primary.
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                ["08", "28", "53", "57", "58"]
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

/// The texts of an error and its sources, outermost first, separated by `: `.
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
