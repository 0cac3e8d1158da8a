//! The schema and the functions, brought up to date. Only `db-migrate` does this in the cloud: at
//! the start of each function it would be a race whenever Lambda scales out.

use sqlx::{
    PgConnection,
    migrate::{Migrate as _, MigrateError},
};

use super::{
    db::{Db, MIGRATOR, StatementTimeout},
    error::Result,
    functions,
};

/// How many of the newest schemas stay, whatever their age.
const KEPT: i32 = 3;
/// How long a schema stays at least, in days.
const KEPT_DAYS: i32 = 7;

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations applied now.
    pub applied: usize,
    /// The newest version.
    pub version: i64,
    /// Whether the functions of this build were loaded now.
    pub functions_loaded: bool,
    /// Partitions of the run log made ahead.
    pub partitions: i32,
}

/// Applies the missing migrations one at a time, loads the functions of this build, and makes the
/// partitions of the months ahead. All of it under sqlx's advisory lock: a second caller waits, and
/// finds nothing to do.
///
/// A schema that is ahead is fine: migrations keep older code working, and a deployment that is
/// rolled back asks older code for its own version.
///
/// # Errors
/// When a migration fails, or one that was applied has been changed or removed since.
pub async fn apply(db: &Db) -> Result<Migrated, MigrateError> {
    // A connection that is closed afterwards, and the lock with it, whatever happens.
    let mut connection = db.acquire().await?.detach();
    // Migrations may take longer than a request's statements. sqlx's own table is where it was before
    // connections had a search path.
    sqlx::raw_sql("set statement_timeout = 0; set search_path = \"$user\", public")
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
    let after = applied(&mut connection).await?;
    let functions_loaded = functions::load(&mut connection).await?;
    let partitions = make_partitions(&mut connection).await?;
    connection.unlock().await?;
    Ok(Migrated {
        applied: after.len().saturating_sub(before.len()),
        version: after.into_iter().max().unwrap_or_default(),
        functions_loaded,
        partitions,
    })
}

async fn make_partitions(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query!(
        "select set_config('search_path', $1, false)",
        functions::SEARCH_PATH
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query_scalar!(r#"select make_run_log_partitions() as "made!""#)
        .fetch_one(connection)
        .await
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

/// Drops the schemas of other builds that no connection uses, that were loaded more than 7 days ago,
/// and that are not among the newest three; returns how many.
pub async fn drop_unused_functions(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(
        r#"select drop_unused_functions($1, $2, $3) as "dropped!""#,
        functions::SCHEMA,
        KEPT,
        KEPT_DAYS
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
