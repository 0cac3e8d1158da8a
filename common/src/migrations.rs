//! The schema, brought up to date. Only `db-migrate` does this in the cloud: at start-up it
//! would be a race at each scale-out.

use sqlx::{
    PgConnection,
    migrate::{Migrate as _, MigrateError},
};

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
/// partitions of the months ahead. Whoever comes second waits, and finds nothing to do.
///
/// # Errors
/// When a migration fails, or one that was applied has been changed since.
pub async fn apply(db: &Db) -> Result<Migrated, MigrateError> {
    // A connection that is closed afterwards, and the lock with it, whatever happens.
    let mut connection = db.acquire().await?.detach();
    // The bound of a request's statements is none of a migration's, nor of the wait for another.
    sqlx::query("set statement_timeout = 0")
        .execute(&mut connection)
        .await?;
    connection.lock().await?;
    let before = applied(&mut connection).await?;
    MIGRATOR.run(&mut connection).await?;
    let partitions = sqlx::query_scalar!(r#"select biz.make_run_log_partitions() as "made!""#)
        .fetch_one(&mut connection)
        .await?;
    connection.unlock().await?;
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

async fn applied(connection: &mut PgConnection) -> Result<usize, MigrateError> {
    connection
        .ensure_migrations_table("_sqlx_migrations")
        .await?;
    Ok(connection
        .list_applied_migrations("_sqlx_migrations")
        .await?
        .len())
}
