//! The SQL functions of this build, in a schema named by their hash.
//!
//! Each function is a file beside the Rust that calls it. `build.rs` puts all of them into one
//! script. `db-migrate` loads the script before a deployment changes any other function, so an old
//! build keeps its own functions while a new one is rolled out, and a rollback brings them back.

use sqlx::{Connection as _, PgConnection};

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// Loads the functions unless they are there; returns whether they were loaded now. The caller holds
/// the lock of the migrations, and has applied them.
///
/// # Errors
/// When a function cannot be created. Then none is.
pub(super) async fn load(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query!(
        "insert into biz.function_schemas (name) values ($1)
         on conflict on constraint function_schemas_pkey do update set loaded_at = excluded.loaded_at",
        SCHEMA
    )
    .execute(&mut *tx)
    .await?;
    let is_there = sqlx::query_scalar!(
        r#"select to_regnamespace($1) is not null as "is_there!""#,
        SCHEMA
    )
    .fetch_one(&mut *tx)
    .await?;
    if !is_there {
        sqlx::raw_sql(SCRIPT).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(!is_there)
}
