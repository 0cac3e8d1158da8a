//! The monthly partitions of the run log. They are created in advance and dropped when all their
//! runs are past retention.

use crate::platform::{
    db::{Db, StatementTimeout},
    env::{ConfigError, Env},
    error::Result,
};

/// The shortest retention of logs in days that meets the Cybersecurity Law of China: six months
/// (`docs/compliance.md`).
pub const SIX_MONTHS: i32 = 180;

/// How long runs are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Minimum number of days that a run stays in the log.
    pub run_log_days: i32,
}

impl Retention {
    /// Reads `RUN_LOG_RETENTION_DAYS`; default 180. The minimum is 31, because the runs of the
    /// current month are still counted and charged. Warns if this or `LOG_RETENTION_DAYS`, the
    /// retention of the CloudWatch logs, is shorter than `SIX_MONTHS`.
    ///
    /// # Errors
    /// Names the variable if its value is invalid.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (name, expected) = ("RUN_LOG_RETENTION_DAYS", "a whole number from 31 to 36500");
        let run_log_days = env.parsed(name, expected, SIX_MONTHS)?;
        if !(31..=36_500).contains(&run_log_days) {
            return Err(ConfigError::Invalid {
                name: name.to_owned(),
                expected,
            });
        }
        warn_if_short(name, run_log_days);
        let (name, expected) = ("LOG_RETENTION_DAYS", "a number of days");
        warn_if_short(name, env.parsed(name, expected, SIX_MONTHS)?);
        Ok(Self { run_log_days })
    }
}

fn warn_if_short(variable: &str, days: i32) {
    if days < SIX_MONTHS {
        tracing::warn!(
            variable,
            days,
            "logs are kept for less than 180 days, see docs/compliance.md"
        );
    }
}

/// Creates the partitions of this month and the next two. Returns how many were missing.
pub async fn make_partitions(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select make_run_log_partitions() as "partitions!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

/// Drops the oldest partition if all its runs are older than the retention. Returns how many
/// partitions it dropped: 0 or 1.
pub async fn drop_partitions(db: &Db, retention: Retention) -> Result<i32> {
    sqlx::query_scalar!(
        r#"select drop_run_log_partitions($1) as "partitions!""#,
        retention.run_log_days
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
