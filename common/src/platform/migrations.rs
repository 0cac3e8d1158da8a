//! Updates the schema and the SQL functions.
//!
//! In the cloud only `db-migrate` does this. If each function did it at its start, instances would
//! race whenever Lambda scales out.

use sqlx::{
    PgConnection,
    migrate::{Migrate as _, MigrateError},
};

use super::{
    db::{Db, MIGRATOR, StatementTimeout},
    error::Result,
    functions,
};

/// The newest schemas are kept regardless of age: this many.
const KEPT: i32 = 3;
/// The minimum age in days before a schema is dropped.
const KEPT_DAYS: i32 = 7;

/// The result of [`apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Number of migrations that this call applied.
    pub applied: usize,
    /// The newest applied version.
    pub version: i64,
    /// True if this call loaded the functions of this build.
    pub functions_loaded: bool,
    /// Number of partitions of the run log that this call created.
    pub partitions: i32,
}

/// Applies the missing migrations, loads the functions of this build, and creates the partitions of
/// the coming months.
///
/// All of it runs under sqlx's advisory lock. A second caller waits and then finds nothing to do.
///
/// A schema that is newer than this build is accepted. Migrations keep older code working, and a
/// rollback runs this function from the older build.
///
/// # Errors
/// A migration fails, or an applied migration was changed or removed since.
pub async fn apply(db: &Db) -> Result<Migrated, MigrateError> {
    // Detached, so that the connection is always closed at the end. That also releases the lock.
    let mut connection = db.acquire().await?.detach();
    // Migrations may take longer than the statements of a request. sqlx's table is in the default
    // search path, because it was created before connections set their own.
    sqlx::raw_sql("set statement_timeout = 0; set search_path = \"$user\", public")
        .execute(&mut connection)
        .await?;
    connection.lock().await?;
    let newest = MIGRATOR.iter().map(|migration| migration.version).max();
    let before = applied(&mut connection).await?;
    let missing = before
        .iter()
        .find(|version| Some(**version) < newest && !MIGRATOR.version_exists(**version));
    if let Some(version) = missing {
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

/// The versions that the database has.
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

/// True if the SQL functions of this build are there, so that its statements can succeed. They are
/// loaded after all its migrations.
///
/// # Errors
/// The database is not reachable.
pub async fn is_ready(db: &Db) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select to_regnamespace($1) is not null as "is_ready!""#,
        functions::SCHEMA
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// Grants a role the rights that the Lambda functions need. It gets no right to create, alter or
/// drop anything.
///
/// Call it after each [`apply`], because new tables and functions need new grants.
///
/// # Errors
/// The role does not exist.
pub async fn grant_to_app_role(db: &Db, role: &str) -> Result<()> {
    sqlx::query!(r#"select grant_to_app_role($1)::text as "granted!""#, role)
        .fetch_one(db)
        .with_statement_timeout()
        .await?;
    Ok(())
}

/// Drops schemas of other builds, and returns how many.
///
/// A schema is dropped if no connection uses it, it was loaded more than 7 days ago, and it is not
/// among the newest three.
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
