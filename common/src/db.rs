//! The pool, the migrations, and the bound on every statement.

use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions as _, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::Instant;

use crate::{
    config::{ConfigError, DatabaseConfig},
    error::{Error, Result},
};

/// A pool of connections; a clone is a handle to the same pool.
pub type Db = PgPool;

/// The schema, in order. Applied by `db-migrate`, by the local run and by the tests.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// How long one statement may take, connecting included. A request makes at most two
/// before it answers, so an absent database is refused within 3 s.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(1400);

/// A pool that connects at its first statement, so that a cold start waits for nothing.
///
/// # Errors
/// When the URL cannot be parsed.
pub fn connect_lazy(config: &DatabaseConfig) -> Result<Db, ConfigError> {
    let options: PgConnectOptions =
        config
            .url
            .expose_secret()
            .parse()
            .map_err(|_| ConfigError::Invalid {
                name: "DATABASE_URL".to_owned(),
                expected: "a postgres:// URL",
            })?;
    // A statement that the client has given up must not go on burning the server.
    let options = options
        .application_name("parlor")
        .options([
            ("statement_timeout", "5000"),
            ("idle_in_transaction_session_timeout", "10000"),
        ])
        .disable_statement_logging();
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(STATEMENT_TIMEOUT)
        // A frozen sandbox's connection may be long dead when it wakes; asking costs one
        // round trip only after a pause, for `before_acquire` sees how long it idled.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < Duration::from_secs(15) {
                    return Ok(true);
                }
                Ok(sqlx::Connection::ping(connection).await.is_ok())
            })
        })
        // A statement that was given up leaves its connection waiting, and the pool waits with
        // it. Where the network has fallen silent that is minutes, in which no connection of
        // the pool comes back: so a given-back connection must answer in time, or is let go. (sqlx asks
        // once more by itself, without a limit; who falls silent between the two is gone until TCP says so.)
        .after_release(|connection, _| {
            Box::pin(async move {
                let ping = sqlx::Connection::ping(connection);
                tokio::time::timeout(STATEMENT_TIMEOUT, ping)
                    .await
                    .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
                Ok(true)
            })
        })
        .idle_timeout(Duration::from_secs(300))
        .connect_lazy_with(options))
}

/// Bounds a statement and gives its failure a meaning.
pub trait Bounded<T> {
    /// Waits for the statement, but never longer than a caller may be kept waiting.
    fn bounded(self) -> impl Future<Output = Result<T>> + Send;
}

impl<T, F: Future<Output = Result<T, sqlx::Error>> + Send> Bounded<T> for F {
    async fn bounded(self) -> Result<T> {
        match tokio::time::timeout(STATEMENT_TIMEOUT, self).await {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }
}

/// Tries what must be stored again, while the database is away, until then. It must be safe to repeat: a
/// statement whose answer is lost may have been done.
pub(crate) async fn insist<T, Storing>(until: Instant, store: impl FnMut() -> Storing) -> Result<T>
where
    Storing: Future<Output = Result<T>>,
{
    store
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(2))
                .with_jitter()
                .without_max_times(),
        )
        .when(|err| matches!(err, Error::Unavailable(_)) && Instant::now() < until)
        .await
}
