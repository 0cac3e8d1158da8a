//! The product in a test: its routers on a port, its own database, its own simulator.

pub mod child;
pub mod cloud;
pub mod collector;
pub mod database;
pub mod events;
pub mod faces;
pub mod invariants;
pub mod jobs;
pub mod moto;
pub mod node;
pub mod parlor;
pub mod pgbouncer;
pub mod python;
pub mod reader;
pub mod routes;
pub mod server;
pub mod sessions;
pub mod wire;

use std::{fmt::Display, time::Duration};

use common::{governance::runs::Retention, platform::db::Db};
use sweep::Swept;
use tokio::time::Instant;

/// Waits for a condition, for at most ten seconds.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(10), what, condition).await
}

/// Waits for a condition with another limit.
pub async fn until_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < give_up, "timeout while waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Repeats something that may fail because the machine is busy, such as a statement that times out
/// or a connection after a restart of PostgreSQL. Gives up after a minute.
pub async fn patiently<T, E: Display>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let give_up = Instant::now() + Duration::from_mins(1);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < give_up, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The number of cases for a property test. It grows in proportion if `PROPTEST_CASES` is above
/// proptest's default of 256.
pub fn cases(usual: u32) -> u32 {
    let asked = proptest::test_runner::Config::default().cases;
    asked.saturating_mul(usual) / 256
}

/// Sweeps once. Runs are kept for `run_log_days` days.
pub async fn sweep(db: &Db, run_log_days: i32) -> common::Result<Swept> {
    sweep::run(db, Retention { run_log_days }).await
}
