//! The connection pool, the list of migrations, and the timeout of every statement.

mod background;

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Describe, Either, Execute, Executor,
    PgConnection, PgPool, Postgres, Row as _, SqlStr,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::{runtime::Handle, sync::Semaphore, task::JoinHandle, time::Instant};

use super::{
    clock,
    env::{ConfigError, Env},
    error::{Error, Result},
    functions,
    secrets::{self, RotatingSecret},
    traces,
};

/// The configuration of the pool.
pub struct DatabaseConfig {
    /// The PostgreSQL URL.
    pub url: RotatingSecret<SecretString>,
    /// Maximum connections of one instance. An instance serves one event at a time, but a reply in
    /// progress and the next request may overlap.
    pub max_connections: u32,
    /// True if the URL is that of RDS Proxy or `PgBouncer`. Both reject settings in the startup
    /// message, so each connection applies them with a statement.
    pub behind_proxy: bool,
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL` (also an RDS secret in JSON, with `DATABASE_HOST`, `DATABASE_NAME` and
    /// `DATABASE_SSL_MODE`), `DATABASE_MAX_CONNECTIONS` and `DATABASE_BEHIND_PROXY`.
    ///
    /// # Errors
    /// The error names the variable that is missing or not valid.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let name = "DATABASE_URL";
        Ok(Self {
            url: env
                .rotating(name, REREAD_PAUSE, |env| Box::pin(database_url(env)))
                .await?,
            max_connections: env.parsed("DATABASE_MAX_CONNECTIONS", "a whole number", 4)?,
            behind_proxy: env.parsed("DATABASE_BEHIND_PROXY", "`true` or `false`", false)?,
        })
    }
}

async fn database_url(env: Env) -> Result<SecretString, ConfigError> {
    let name = "DATABASE_URL";
    let ssl_mode = env.text("DATABASE_SSL_MODE");
    if ssl_mode.is_some_and(|mode| !["verify-full", "verify-ca", "require"].contains(&mode)) {
        return Err(ConfigError::Invalid {
            name: "DATABASE_SSL_MODE".to_owned(),
            expected: "`verify-full`, `verify-ca` or `require`",
        });
    }
    let location = secrets::DatabaseLocation {
        host: env.text("DATABASE_HOST"),
        name: env.text("DATABASE_NAME"),
        ssl_mode,
    };
    let secret = env.secret(name).await?;
    secrets::database_url(secret, location).ok_or_else(|| ConfigError::Invalid {
        name: env.source_of(name),
        expected: "a postgres:// URL or an RDS secret; a secret without `host` needs DATABASE_HOST",
    })
}

/// A pool of connections. A clone is a handle to the same pool. It executes statements like a
/// [`PgPool`].
///
/// If the database rejects the password, the pool reads the secret again and retries to connect.
/// Open connections are not affected.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    url: RotatingSecret<SecretString>,
    /// The version of the URL that the pool connects with.
    applied: Arc<Mutex<Arc<SecretString>>>,
    behind_proxy: bool,
    /// One permit per connection that the pool may have.
    connecting: Arc<Semaphore>,
    /// One permit per connection for statements that no client waits for.
    background: Arc<Semaphore>,
    server_clock: Arc<ServerClock>,
}

/// The migrations, in order. `db-migrate`, the local server and the tests apply them.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../migrations");
    // A newer version may have applied more migrations. `migrations::apply` checks that all older
    // ones are known.
    migrator.set_ignore_missing(true);
    migrator
});

/// The shortest time between two reads of the database secret. Only the database can reject it, not
/// a client, so it is shorter than for other secrets.
///
/// A rotation changes the password first and the secret a moment later. An instance that read the
/// secret in between must not wait a minute.
const REREAD_PAUSE: Duration = Duration::from_secs(5);

/// The timeout of one statement, including the time to connect. A request executes at most two
/// before its response starts, so it fails within 3 s if the database is unreachable.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(1400);

/// The timeout for connecting. It is longer than a caller waits, because the next caller can use
/// the connection. While the database does not respond, the attempt occupies a place in the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One step of the sweep changes at most this number of rows of a kind.
pub(crate) const SWEEP_LIMIT: i64 = 1000;

/// An upper limit for the network time of a statement and its response.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// How old a reading of the server's clock may be when a connection returns to the pool.
const CLOCK_AGE: Duration = Duration::from_secs(10);

/// The server's clock, compared with that of this machine. The two machines may disagree, and a
/// statement must know by the server's clock until when it may begin.
#[derive(Default)]
struct ServerClock(Mutex<Option<ClockReading>>);

#[derive(Clone, Copy)]
struct ClockReading {
    /// Too small by the time that the response took, so a deadline is early and never late.
    ahead: TimeDelta,
    at: Instant,
}

impl ServerClock {
    fn last(&self) -> Option<ClockReading> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, connection: &mut PgConnection) -> Result<TimeDelta, sqlx::Error> {
        let asked_at = Instant::now();
        let row = connection
            .fetch_one(sqlx::raw_sql("select clock_timestamp()"))
            .await?;
        let ahead = row.try_get::<DateTime<Utc>, _>(0)? - clock::now();
        let at = Instant::now();
        // With the reading of a slow response, statements that are in time would seem late.
        if at - asked_at <= ROUND_TRIP {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(ClockReading { ahead, at });
        }
        Ok(ahead)
    }

    /// Tests the connection. Reads the clock at the same time if the last reading is old.
    async fn ping(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self
            .last()
            .is_some_and(|last| last.at.elapsed() < CLOCK_AGE)
        {
            return connection.ping().await;
        }
        self.read(connection).await.map(drop)
    }
}

/// A pool that connects at its first statement, so that a cold start does not wait for a
/// connection.
///
/// # Errors
/// The URL is not valid.
pub fn connect_lazy(config: &DatabaseConfig) -> Result<Db, ConfigError> {
    let url = config.url.get();
    let options = options(&url, config.behind_proxy)?;
    let server_clock = Arc::default();
    Ok(Db::over(
        pool(config, options, &server_clock),
        config.url.clone(),
        url,
        config.behind_proxy,
        server_clock,
    ))
}

/// The settings of each connection.
const SETTINGS: [(&str, &str); 4] = [
    // Function names have no schema, so that they resolve to those of this build. Tables always
    // have the schema `biz`.
    ("search_path", functions::SEARCH_PATH),
    // PostgreSQL must stop a statement whose caller has timed out.
    ("statement_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "10000"),
    // A statement is planned once per connection. Planning at each call would take longer than most
    // statements. A test checks the plans of all statements.
    ("plan_cache_mode", "force_generic_plan"),
];

/// Root certificates of RDS. With `sslmode` `verify-full` or `verify-ca`, a server is accepted if
/// one of these or of the public certificate authorities has signed its certificate. RDS Proxy has
/// a certificate of a public authority.
const RDS_ROOTS: &[u8] = include_bytes!("db/rds-roots.pem");

fn options(url: &SecretString, behind_proxy: bool) -> Result<PgConnectOptions, ConfigError> {
    let options: PgConnectOptions =
        url.expose_secret()
            .parse()
            .map_err(|_| ConfigError::Invalid {
                name: "DATABASE_URL".to_owned(),
                expected: "a postgres:// URL",
            })?;
    // The text of the options is the only way to see whether the URL or PGSSLROOTCERT sets it.
    let has_root_certificates = options
        .to_url_lossy()
        .query_pairs()
        .any(|(name, _)| name == "sslrootcert");
    let options = if has_root_certificates {
        options
    } else {
        options.ssl_root_cert_from_pem(RDS_ROOTS.to_vec())
    };
    let options = options
        // The sweep finds out by this name which schemas of functions are in use.
        .application_name(functions::SCHEMA);
    // sqlx reports statements to the log, and the log has a place for them only with traces.
    let options = if traces::are_on() {
        options
    } else {
        options.disable_statement_logging()
    };
    Ok(if behind_proxy {
        options.extra_float_digits(None)
    } else {
        options.options(SETTINGS)
    })
}

/// Applies the settings behind a proxy. This costs one more round trip per connection.
async fn apply_settings(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statements = SETTINGS.map(|(name, value)| format!("set {name} = {value};"));
    let statements = AssertSqlSafe(statements.concat());
    sqlx::raw_sql(statements)
        .execute(connection)
        .await
        .map(drop)
}

fn pool(
    config: &DatabaseConfig,
    options: PgConnectOptions,
    server_clock: &Arc<ServerClock>,
) -> PgPool {
    let behind_proxy = config.behind_proxy;
    let server_clock = Arc::clone(server_clock);
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if behind_proxy {
                    apply_settings(connection).await?;
                }
                Ok(())
            })
        })
        .acquire_timeout(CONNECT_TIMEOUT)
        // A caller that times out gets an error, which is logged once, at the boundary.
        .acquire_slow_threshold(CONNECT_TIMEOUT)
        // The connection of a frozen sandbox may be dead when the sandbox wakes. `before_acquire`
        // tests it only if it was idle for 15 s, so a busy function saves the round trip.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < Duration::from_secs(15) {
                    return Ok(true);
                }
                Ok(sqlx::Connection::ping(connection).await.is_ok())
            })
        })
        // The connection of a statement that timed out still waits for the response. If the network
        // drops packets, that takes minutes, in which the pool does not get the connection back. So
        // a returned connection must respond in time, or it is closed. sqlx then pings it again
        // without a timeout. If it fails between the two pings, it is lost until TCP times out.
        .after_release(move |connection, _| {
            let server_clock = Arc::clone(&server_clock);
            Box::pin(async move {
                let responds = async {
                    match server_clock.ping(connection).await {
                        // The statement that timed out has failed. The connection may be fine.
                        Err(sqlx::Error::Database(_)) => server_clock.ping(connection).await,
                        outcome => outcome,
                    }
                };
                tokio::time::timeout(STATEMENT_TIMEOUT, responds)
                    .await
                    .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
                Ok(true)
            })
        })
        .idle_timeout(Duration::from_secs(300))
        .connect_lazy_with(options)
}

/// A caller that waits for a returned connection.
///
/// If a connection is lost meanwhile, sqlx lets this caller open a new one. A caller that times out
/// aborts that. Then a task connects instead.
struct Waiting<'a>(Option<&'a Db>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.0.filter(|_| Handle::try_current().is_ok()) {
            db.connect();
        }
    }
}

impl Db {
    fn over(
        pool: PgPool,
        url: RotatingSecret<SecretString>,
        applied: Arc<SecretString>,
        behind_proxy: bool,
        server_clock: Arc<ServerClock>,
    ) -> Self {
        let most = pool.options().get_max_connections();
        let connecting = Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX));
        Self {
            pool,
            url,
            applied: Arc::new(Mutex::new(applied)),
            behind_proxy,
            connecting: Arc::new(connecting),
            background: Arc::new(background::share(most)),
            server_clock,
        }
    }

    /// Begins a short transaction for administration: read, decide, write, commit.
    ///
    /// Each statement in it has the usual timeout. Without a commit it is rolled back on drop.
    /// Never call the upstream service while a transaction is open.
    ///
    /// # Errors
    /// No connection is available.
    pub async fn transaction(&self) -> Result<Transaction> {
        // Boxed, because the compiler rejects the outer futures as nested too deeply otherwise.
        let begun = async { Transaction::begin(self.acquire().await?).await }.boxed();
        begun.with_statement_timeout().await
    }

    /// Begins the transaction of one step of the sweep. `None` if another sweep is running.
    ///
    /// A step changes at most [`SWEEP_LIMIT`] rows of a kind. The next sweep finds the rest.
    ///
    /// # Errors
    /// No connection is available.
    pub(crate) async fn sweep_transaction(&self) -> Result<Option<Transaction>> {
        let mut tx = self.transaction().await?;
        let is_alone = sqlx::query_scalar!(r#"select take_sweep_lock() as "is_alone!""#)
            .fetch_one(&mut *tx)
            .with_statement_timeout()
            .await?;
        Ok(is_alone.then_some(tx))
    }

    /// Takes a connection from the pool. If the password was rejected, retries with a newer one.
    ///
    /// # Errors
    /// No connection is available.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let used = self.applied();
        match self.take().await {
            Err(err) if is_login_rejected(&err) && self.renew(&used).await => self.take().await,
            outcome => outcome,
        }
    }

    async fn take(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if let Some(connecting) = self.connect() {
            return connecting.await.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        }
        let mut waiting = Waiting(Some(self));
        let outcome = self.pool.acquire().await;
        waiting.0 = None;
        outcome
    }

    /// Connects in a task, if the pool has room and no idle connection. A caller that times out
    /// does not abort it. Otherwise a process that is short of CPU could start connections
    /// repeatedly and never complete one.
    fn connect(&self) -> Option<JoinHandle<Result<PoolConnection<Postgres>, sqlx::Error>>> {
        let pool = &self.pool;
        if pool.num_idle() > 0 || pool.size() >= pool.options().get_max_connections() {
            return None;
        }
        let pool = pool.clone();
        let permit = Arc::clone(&self.connecting).try_acquire_owned().ok()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends within `CONNECT_TIMEOUT`, in a frozen sandbox after the wake-up"
        )]
        Some(tokio::spawn(async move {
            let connection = pool.acquire().await;
            drop(permit);
            connection
        }))
    }

    /// A connection for a statement that must change nothing after its caller has timed out.
    ///
    /// Also returns until when the statement may change something, by the server's clock. The
    /// server's own time of the statement does not show a timeout: if the server was stopped, it
    /// reads the statement late.
    pub(crate) async fn acquire_in_time(
        &self,
    ) -> Result<(PoolConnection<Postgres>, DateTime<Utc>), sqlx::Error> {
        let began = Instant::now();
        let mut connection = Box::pin(self.acquire()).await?;
        let ahead = match self.server_clock.last() {
            Some(reading) => reading.ahead,
            None => self.server_clock.read(&mut connection).await?,
        };
        let left = STATEMENT_TIMEOUT.saturating_sub(began.elapsed() + ROUND_TRIP);
        Ok((connection, clock::now() + ahead + left))
    }

    fn applied(&self) -> Arc<SecretString> {
        let applied = self.applied.lock();
        Arc::clone(&applied.unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the URL again after a rejection and gives it to the pool. Returns true if it is
    /// another URL than the rejected one.
    async fn renew(&self, rejected: &Arc<SecretString>) -> bool {
        let Some(url) = self.url.refresh_after_rejection(rejected).await else {
            return false;
        };
        let is_another = url.expose_secret() != rejected.expose_secret();
        let Ok(options) = options(&url, self.behind_proxy) else {
            return false;
        };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        self.pool.set_connect_options(options);
        // Stored even if the text is the same: the next rejection is about this version.
        *applied = url;
        is_another
    }
}

/// True if the server rejected the user or the password.
fn is_login_rejected(err: &sqlx::Error) -> bool {
    let error = err.as_database_error();
    let code = error.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["28P01", "28000"].contains(&&*code))
}

/// Wraps an existing pool. Its password is never read again.
impl From<PgPool> for Db {
    fn from(pool: PgPool) -> Self {
        let url = RotatingSecret::from(SecretString::default());
        let applied = url.get();
        Self::over(pool, url, applied, false, Arc::default())
    }
}

impl Deref for Db {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").finish_non_exhaustive()
    }
}

/// Like sqlx's implementation for its own pool, except that all rows are read before the first is
/// returned. No caller reads them one by one.
impl<'p> Executor<'p> for &'_ Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        let all = async move {
            let mut connection = db.acquire().await?;
            let rows: Vec<_> = connection.fetch_many(query).try_collect().await?;
            Ok(stream::iter(rows).map(Ok))
        };
        all.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        async move { db.acquire().await?.fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let db = self.clone();
        async move { db.acquire().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let db = self.clone();
        async move { db.acquire().await?.describe(sql).await }.boxed()
    }
}

/// Adds the timeout to a statement and converts its error.
pub trait StatementTimeout<T> {
    /// Waits for the statement, at most 1.4 s. A timeout is [`Error::Unavailable`].
    fn with_statement_timeout(self) -> impl Future<Output = Result<T>> + Send;
}

impl<T, F: Future<Output = Result<T, sqlx::Error>> + Send> StatementTimeout<T> for F {
    async fn with_statement_timeout(self) -> Result<T> {
        match tokio::time::timeout(STATEMENT_TIMEOUT, self).await {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }
}

/// A transaction from [`Db::transaction`]. Use it as a connection: `&mut *tx`.
pub struct Transaction(sqlx::Transaction<'static, Postgres>);

impl Transaction {
    async fn begin(connection: PoolConnection<Postgres>) -> Result<Self, sqlx::Error> {
        sqlx::Transaction::begin(connection, None).await.map(Self)
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// The database did not confirm the commit. It may have succeeded or not.
    pub async fn commit(self) -> Result<()> {
        self.0.commit().with_statement_timeout().await
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// The number of rows that a statement of the sweep changed.
pub(crate) fn swept(done: &PgQueryResult) -> i32 {
    i32::try_from(done.rows_affected()).unwrap_or(i32::MAX)
}

/// Counts of a step of the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptRows {
    /// Changed rows.
    pub done: i32,
    /// Rows that could not be changed. Each is in the log.
    pub skipped: i32,
}

impl SweptRows {
    /// Logs the rows that an SQL function skipped, each as id and SQLSTATE. The message of the
    /// database is not logged, because it may contain data.
    pub(crate) fn of_function(what: &str, done: i32, skipped: &[String]) -> Self {
        for row in skipped {
            let (row_id, sqlstate) = row.split_once(' ').unwrap_or((row, ""));
            log_skipped(what, row_id, sqlstate);
        }
        Self {
            done,
            skipped: i32::try_from(skipped.len()).unwrap_or(i32::MAX),
        }
    }
}

fn log_skipped(what: &str, row_id: &str, sqlstate: &str) {
    tracing::error!(what, row_id, sqlstate, "the sweep skipped a row");
}

/// Changes rows in a transaction of the sweep. If that fails, it tries each half of the rows, down
/// to single rows. So one bad row does not stop the others.
///
/// # Errors
/// Failures that no row caused, such as a lost connection.
pub(crate) async fn sweep_rows<Id: Copy + fmt::Display + Sync>(
    tx: &mut PgConnection,
    what: &str,
    ids: &[Id],
    change: impl for<'a> Fn(
        &'a mut PgConnection,
        &'a [Id],
    ) -> BoxFuture<'a, Result<PgQueryResult, sqlx::Error>>,
) -> Result<SweptRows> {
    let mut swept = SweptRows::default();
    let mut parts = vec![ids];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let mut savepoint = tx.begin().with_statement_timeout().await?;
        let changed = tokio::time::timeout(STATEMENT_TIMEOUT, change(&mut savepoint, part)).await;
        let err = match changed {
            Ok(Ok(done)) => {
                savepoint.commit().with_statement_timeout().await?;
                swept.done += self::swept(&done);
                continue;
            }
            Ok(Err(err)) => err,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        let Some(sqlstate) = fault_of_row(&err) else {
            return Err(err.into());
        };
        savepoint.rollback().with_statement_timeout().await?;
        if let [id] = part {
            log_skipped(what, &id.to_string(), &sqlstate);
            swept.skipped += 1;
        } else {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
        }
    }
    Ok(swept)
}

/// The SQLSTATE of an error that a row may have caused: not a lost connection (08), a deadlock
/// (40), a wrong statement (42), missing resources (53), a lock (55) or a cancellation (57).
fn fault_of_row(err: &sqlx::Error) -> Option<String> {
    let sqlstate = err.as_database_error()?.code()?;
    let is_of_server = ["08", "40", "42", "53", "55", "57"]
        .iter()
        .any(|class| sqlstate.starts_with(class));
    (!is_of_server).then(|| sqlstate.into_owned())
}

/// Retries `store` until `until`, after each error that may pass. `store` must be idempotent: a
/// statement whose response is lost may have been executed.
pub(crate) async fn retry_until<T, Storing>(
    until: Instant,
    store: impl FnMut() -> Storing,
) -> Result<T>
where
    Storing: Future<Output = Result<T>>,
{
    store
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(2))
                .with_jitter()
                .without_max_times(),
        )
        .when(|err| err.may_pass() && Instant::now() < until)
        .await
}
