//! The run log's partitions: one a month, made ahead and dropped when all of it is old.

use crate::platform::{
    db::{Db, StatementTimeout},
    env::{ConfigError, Env},
    error::Result,
};

/// How long runs are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Days that a run stays in the log at least.
    pub run_log_days: i32,
}

impl Retention {
    /// Reads `RUN_LOG_RETENTION_DAYS`. This month's runs are counted and charged: 31 days is the least.
    ///
    /// # Errors
    /// Names the variable when it cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (name, expected) = ("RUN_LOG_RETENTION_DAYS", "a whole number from 31 to 36500");
        let run_log_days = env.parsed(name, expected, 90)?;
        if !(31..=36_500).contains(&run_log_days) {
            return Err(ConfigError::Invalid {
                name: name.to_owned(),
                expected,
            });
        }
        Ok(Self { run_log_days })
    }
}

/// Makes the partitions of the months ahead; returns how many were missing.
pub async fn make_partitions(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select make_run_log_partitions() as "partitions!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

/// Drops the months of which every run is older than this; returns how many.
pub async fn drop_partitions(db: &Db, retention: Retention) -> Result<i32> {
    sqlx::query_scalar!(
        r#"select drop_run_log_partitions($1) as "partitions!""#,
        retention.run_log_days
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
