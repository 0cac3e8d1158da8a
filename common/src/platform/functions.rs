//! The SQL functions of this build, in a schema named by their hash.
//!
//! Each function is a file next to the Rust code that calls it. `build.rs` joins them into one
//! script. `db-migrate` loads the script before a deployment updates any Lambda function. So an old
//! build keeps its SQL functions during a rollout, and a rollback finds them again.

use sqlx::{Connection as _, PgConnection};

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// Loads the functions if their schema is missing. Returns true if it loaded them.
///
/// The caller must hold the migration lock and must have applied the migrations.
///
/// # Errors
/// A function cannot be created. The transaction is then rolled back.
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
