//! The schema, brought up to date. Only `db-migrate` does this in the cloud: at start-up it
//! would be a race at each scale-out.

use sqlx::migrate::{Migrate as _, MigrateError};

use crate::db::{Db, MIGRATOR};

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations applied now.
    pub applied: usize,
    /// The newest version.
    pub version: i64,
    /// Partitions made ahead.
    pub partitions: i32,
}

/// Applies what is missing, one at a time under sqlx's advisory lock, and makes the
/// partitions of the months ahead.
///
/// # Errors
/// When a migration fails, or one that was applied has been changed since.
pub async fn apply(db: &Db) -> Result<Migrated, MigrateError> {
    let before = applied(db).await?;
    MIGRATOR.run(db).await?;
    let partitions = sqlx::query_scalar!(r#"select biz.make_run_log_partitions() as "made!""#)
        .fetch_one(db)
        .await
        .map_err(MigrateError::Execute)?;
    let version = MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default();
    Ok(Migrated {
        applied: MIGRATOR.iter().count().saturating_sub(before),
        version,
        partitions,
    })
}

async fn applied(db: &Db) -> Result<usize, MigrateError> {
    let mut connection = db.acquire().await?;
    connection
        .ensure_migrations_table("_sqlx_migrations")
        .await?;
    Ok(connection
        .list_applied_migrations("_sqlx_migrations")
        .await?
        .len())
}
