//! The schema, brought up to date. Only `db-migrate` does this in the cloud: at start-up it
//! would be a race at each scale-out.

use sqlx::{
    PgConnection,
    migrate::{Migrate as _, MigrateError},
};

use crate::platform::db::{Db, MIGRATOR};

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
/// A schema that is ahead is fine: migrations keep older code working, and a deployment that is
/// rolled back asks that older code for it.
///
/// # Errors
/// When a migration fails, or one that was applied has been changed or taken away since.
pub async fn apply(db: &Db) -> Result<Migrated, MigrateError> {
    // A connection that is closed afterwards, and the lock with it, whatever happens.
    let mut connection = db.acquire().await?.detach();
    // The bound of a request's statements is none of a migration's, nor of the wait for another.
    sqlx::query("set statement_timeout = 0")
        .execute(&mut connection)
        .await?;
    connection.lock().await?;
    let newest = MIGRATOR.iter().map(|migration| migration.version).max();
    let before = applied(&mut connection).await?;
    let gone = before
        .iter()
        .find(|version| Some(**version) < newest && !MIGRATOR.version_exists(**version));
    if let Some(version) = gone {
        return Err(MigrateError::VersionMissing(*version));
    }
    MIGRATOR.run(&mut connection).await?;
    let partitions = sqlx::query_scalar!(r#"select biz.make_run_log_partitions() as "made!""#)
        .fetch_one(&mut connection)
        .await?;
    let after = applied(&mut connection).await?;
    connection.unlock().await?;
    Ok(Migrated {
        applied: after.len().saturating_sub(before.len()),
        version: after.into_iter().max().unwrap_or_default(),
        partitions,
    })
}

/// The versions that the schema has.
async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, MigrateError> {
    connection
        .ensure_migrations_table("_sqlx_migrations")
        .await?;
    let applied = connection
        .list_applied_migrations("_sqlx_migrations")
        .await?;
    Ok(applied
        .into_iter()
        .map(|migration| migration.version)
        .collect())
}
