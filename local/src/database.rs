//! The database of a command: a private one, or the one at a given URL.

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt as _, path::Path, process::ExitCode};

use common::platform::{
    db::{self, DatabaseConfig, Db},
    env::Env,
    migrations,
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
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

/// Returns the given URL. Without one, starts a private PostgreSQL and returns its URL.
///
/// The first start is slow: it may download PostgreSQL, and it creates the cluster.
pub(crate) fn given_or_private(
    given: Option<&str>,
    data_dir: &Path,
    fresh: bool,
    env: &Env,
) -> Result<(SecretString, Option<Cluster>), AnyError> {
    if let Some(url) = given {
        return Ok((url.into(), None));
    }
    start_private(data_dir, fresh, env)
}

/// Returns the given URL, or the URL of the private PostgreSQL. Starts it if no other process runs
/// it.
pub(crate) fn given_or_shared(
    given: Option<&str>,
    data_dir: &Path,
    env: &Env,
) -> Result<(SecretString, Option<Cluster>), AnyError> {
    match given_or_running(given, data_dir)? {
        Some(url) => Ok((url, None)),
        None => start_private(data_dir, false, env),
    }
}

/// Returns the given URL, or the URL of the private PostgreSQL if another process runs it.
pub(crate) fn given_or_running(
    given: Option<&str>,
    data_dir: &Path,
) -> Result<Option<SecretString>, AnyError> {
    if let Some(url) = given {
        return Ok(Some(url.into()));
    }
    let directory = ClusterOptions::kept(data_dir, false)?.directory;
    Ok(Cluster::url_of_running(&directory, NAME).map(Into::into))
}

fn start_private(
    data_dir: &Path,
    fresh: bool,
    env: &Env,
) -> Result<(SecretString, Option<Cluster>), AnyError> {
    let cluster = Cluster::start(
        &find_postgres(data_dir, env)?,
        &ClusterOptions::kept(data_dir, fresh)?,
    )?;
    Ok((cluster.url(NAME).into(), Some(cluster)))
}

/// Connects to the database of the URL. Creates it if it is missing, applies the migrations and
/// loads the demo data.
pub(crate) async fn prepare(url: &SecretString, max_connections: u32) -> Result<Db, AnyError> {
    create(url).await.map_err(|err| cannot_open(url, &err))?;
    let db = db::connect_lazy(&DatabaseConfig {
        url: url.clone().into(),
        max_connections,
        behind_proxy: false,
    })?;
    migrations::apply(&db).await.map_err(with_advice)?;
    demo::load(&db).await?;
    demo::load_business(&db).await?;
    Ok(db)
}

/// Opens one connection and closes it. A pool retries a refused connection until its timeout, and
/// its error does not name the cause.
pub(crate) async fn check(url: &SecretString) -> Result<(), AnyError> {
    let connected = PgConnection::connect(url.expose_secret()).await;
    let connection = connected.map_err(|err| cannot_open(url, &err))?;
    Ok(connection.close().await?)
}

fn cannot_open(url: &SecretString, err: &sqlx::Error) -> AnyError {
    let reason = match err {
        sqlx::Error::Io(err) => err.to_string(),
        sqlx::Error::Database(err) => err.message().to_owned(),
        err => err.to_string(),
    };
    format!("cannot open {}: {reason}", name_of(url)).into()
}

/// The name and host of a database, without user and password.
pub(crate) fn name_of(url: &SecretString) -> String {
    match url.expose_secret().parse::<PgConnectOptions>() {
        Ok(options) => format!(
            "the database {} at {}:{}",
            options.get_database().unwrap_or(options.get_username()),
            options.get_host(),
            options.get_port()
        ),
        Err(_) => "the database at DATABASE_URL".to_owned(),
    }
}

/// The URL of a database without its password.
pub(crate) fn without_password(url: &SecretString) -> String {
    match url.expose_secret().parse::<PgConnectOptions>() {
        Ok(options) => format!(
            "postgres://{}@{}:{}/{}",
            options.get_username(),
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or(options.get_username())
        ),
        Err(_) => String::new(),
    }
}

/// Adds advice to the error if the schema is of another version and cannot be upgraded.
fn with_advice(err: MigrateError) -> AnyError {
    match err {
        MigrateError::VersionMismatch(_) | MigrateError::VersionMissing(_) => format!(
            "the data was created by another version and cannot be upgraded ({err}): \
             start with `serve --fresh`, or set another --home or DATABASE_URL"
        )
        .into(),
        err => err.into(),
    }
}

/// Creates the database of the URL if the server does not have it.
async fn create(url: &SecretString) -> Result<(), sqlx::Error> {
    use sqlx::migrate::MigrateDatabase as _;
    if !sqlx::Postgres::database_exists(url.expose_secret()).await? {
        sqlx::Postgres::create_database(url.expose_secret()).await?;
    }
    Ok(())
}

/// `with-database`: runs a command with `DATABASE_URL` set to a temporary database, and returns
/// the command's exit code. The database has the schema and the demo data.
pub(crate) fn run_with_database(
    command: &[OsString],
    data_dir: &Path,
    env: &Env,
) -> Result<ExitCode, AnyError> {
    let binaries = find_postgres(data_dir, env)?;
    // The directory is open to all, because the server of root runs as another user. The data
    // directory in it is not.
    let scratch = tempfile::Builder::new()
        .prefix("parlor-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()?;
    let cluster = Cluster::start(&binaries, &ClusterOptions::scratch(scratch.path()))?;
    let url = cluster.url(NAME).into();
    command::block_on(async {
        let db = prepare(&url, 1).await?;
        apply_sources(&db).await?;
        db.close().await;
        run(command, &url).await
    })
}

/// The schema for the functions that are loaded from their sources.
const SOURCES: &str = "parlor_sources";

/// Applies the migrations and loads the functions of the source tree, which can be newer than this
/// program. A statement that is missing in `.sqlx` prevents compilation, so the program of the
/// previous build must provide the database that checks it.
async fn apply_sources(db: &Db) -> Result<(), AnyError> {
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
    // Ctrl-C also reaches the command and ends it. This process must stay to clean up.
    let _interrupt = signal(SignalKind::interrupt())?;
    let (program, arguments) = command.split_first().ok_or("no command is given")?;
    let mut child = tokio::process::Command::new(program);
    // The command can be cargo.
    binaries::remove_cargo_variables(&mut child);
    let status = child
        .args(arguments)
        .env("DATABASE_URL", url.expose_secret())
        .status()
        .await
        .map_err(|err| format!("cannot run {}: {err}", program.display()))?;
    // A process that a signal ended has no exit code. As in a shell, it is 128 plus the signal.
    let ended_by = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(ended_by.map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn find_postgres(data_dir: &Path, env: &Env) -> Result<Binaries, AnyError> {
    Ok(Binaries::find_or_fetch(
        data_dir,
        env.text("PARLOR_PG_BIN").map(Path::new),
    )?)
}
