//! The database that a command works on: a private one, or the one it is told.

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt as _, path::Path, process::ExitCode};

use common::platform::{
    db::{self, DatabaseConfig, Db},
    env::Env,
    migrations,
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _,
    migrate::{MigrateError, Migrator},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    command::{self, AnyError},
    demo,
    emulator::binaries,
    postgres::{Binaries, Cluster, ClusterOptions},
};

#[path = "../../common/build/function_script.rs"]
mod function_script;

/// The name of the database in a private cluster.
const NAME: &str = "parlor";

/// The URL that was given, else a private PostgreSQL and the URL of its database.
///
/// Takes a while the first time: PostgreSQL may have to be fetched, and the cluster is made.
pub(crate) fn given_or_private(
    given: Option<&str>,
    home: &Path,
    fresh: bool,
    env: &Env,
) -> Result<(SecretString, Option<Cluster>), AnyError> {
    if let Some(url) = given {
        return Ok((url.into(), None));
    }
    let cluster = Cluster::start(
        &find_postgres(home, env)?,
        &ClusterOptions::kept(home, fresh)?,
    )?;
    Ok((cluster.url(NAME).into(), Some(cluster)))
}

/// The database of the URL, made where it is missing, with the schema and the demo data in it.
pub(crate) async fn prepare(url: &SecretString, max_connections: u32) -> Result<Db, AnyError> {
    create(url).await?;
    let db = db::connect_lazy(&DatabaseConfig {
        url: url.clone().into(),
        max_connections,
        behind_proxy: false,
    })?;
    migrations::apply(&db).await.map_err(explained)?;
    demo::load(&db).await?;
    demo::load_business(&db).await?;
    Ok(db)
}

/// Says what to do about data whose schema this version cannot bring up to date.
fn explained(err: MigrateError) -> AnyError {
    match err {
        MigrateError::VersionMismatch(_) | MigrateError::VersionMissing(_) => format!(
            "the data was made by another version, and cannot be upgraded ({err}): \
             start with `serve --fresh`, or give another --home or DATABASE_URL"
        )
        .into(),
        err => err.into(),
    }
}

/// Makes the database of the URL where the server does not have it yet.
async fn create(url: &SecretString) -> Result<(), AnyError> {
    use sqlx::migrate::MigrateDatabase as _;
    if !sqlx::Postgres::database_exists(url.expose_secret()).await? {
        sqlx::Postgres::create_database(url.expose_secret()).await?;
    }
    Ok(())
}

/// `with-database`: runs a command with `DATABASE_URL` naming a migrated database that holds the
/// demo data and is gone afterwards, and passes its exit code on.
pub(crate) fn lend(command: &[OsString], home: &Path, env: &Env) -> Result<ExitCode, AnyError> {
    let binaries = find_postgres(home, env)?;
    // Open to all, since root's server runs as somebody else; the data in it is not.
    let scratch = tempfile::Builder::new()
        .prefix("parlor-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()?;
    let cluster = Cluster::start(&binaries, &ClusterOptions::scratch(scratch.path()))?;
    let url = cluster.url(NAME).into();
    command::block_on(async {
        let db = prepare(&url, 1).await?;
        catch_up(&db).await?;
        db.close().await;
        run(command, &url).await
    })
}

/// The schema that functions are loaded into from their sources.
const SOURCES: &str = "parlor_sources";

/// Applies the migrations and loads the functions of the source tree, which may be newer than this
/// program. A statement that is not in `.sqlx` yet keeps everything from compiling, so the program of
/// the last build lends the database to check it with.
async fn catch_up(db: &Db) -> Result<(), AnyError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let migrations = root.join("migrations");
    if !migrations.is_dir() {
        return Ok(());
    }
    let mut connection = db.acquire().await?.detach();
    connection
        .execute("set search_path = \"$user\", public")
        .await?;
    Migrator::new(migrations)
        .await?
        .run(&mut connection)
        .await?;
    let functions = function_script::sources(&root.join("common/src"))?;
    let script = function_script::script(SOURCES, &functions);
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut *tx)
        .await?;
    let search = format!("alter database {NAME} set search_path = {SOURCES}, biz");
    tx.execute(AssertSqlSafe(search)).await?;
    tx.commit().await?;
    Ok(())
}

async fn run(command: &[OsString], url: &SecretString) -> Result<ExitCode, AnyError> {
    // Ctrl-C reaches the command, too, and ends it; we must stay to clear away.
    let _interrupt = signal(SignalKind::interrupt())?;
    let (program, arguments) = command.split_first().ok_or("no command is given")?;
    let mut child = tokio::process::Command::new(program);
    // The command may well be cargo.
    binaries::forget_cargo(&mut child);
    let status = child
        .args(arguments)
        .env("DATABASE_URL", url.expose_secret())
        .status()
        .await
        .map_err(|err| format!("cannot run {}: {err}", program.display()))?;
    // What a signal ended has no code. A shell adds 128 to the signal; so do we.
    let ended_by = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(ended_by.map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn find_postgres(home: &Path, env: &Env) -> Result<Binaries, AnyError> {
    Ok(Binaries::find_or_fetch(
        home,
        env.text("PARLOR_PG_BIN").map(Path::new),
    )?)
}
