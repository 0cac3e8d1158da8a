//! Databases for tests. One PostgreSQL server is shared by the whole run, and each test has its own
//! database. A test that kills the server starts its own with [`OwnServer`].

use std::{
    fs, iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use chrono::{FixedOffset, NaiveDate};
use common::platform::{clock, db::Db, functions::SEARCH_PATH, migrations};
use local::{
    demo,
    postgres::{Binaries, Cluster, ClusterOptions},
};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions,
};
use tokio::sync::OnceCell;

use super::child;

/// The template database with the schema.
const TEMPLATE: &str = "parlor_template";
/// A template database with the schema and the demo's sites, users and bots.
const DEMO: &str = "parlor_demo";
/// A template database with the demo's business data, too. Copying it is much faster than inserting
/// the data.
const BUSINESS: &str = "parlor_business";

/// A test's database with the schema. It is dropped when this value is dropped.
pub struct TestDatabase {
    name: String,
    url: String,
    /// True if [`demo::load`] need not be called.
    pub has_demo_data: bool,
    /// Sends the name to the thread that drops databases. `None` on an [`OwnServer`], whose data is
    /// deleted as a whole.
    finished: Option<mpsc::Sender<String>>,
}

struct Server {
    cluster: Cluster,
    finished: mpsc::Sender<String>,
}

/// A PostgreSQL server for one test, which can be killed and restarted on the same data.
pub struct OwnServer {
    options: ClusterOptions,
    cluster: Option<Cluster>,
}

impl TestDatabase {
    pub async fn new() -> Self {
        let server = server();
        Self::copied_from(server, TEMPLATE).await
    }

    /// A database with the demo's sites, users and bots.
    pub async fn with_demo() -> Self {
        let mut database = Self::copied_from(server(), DEMO).await;
        database.has_demo_data = true;
        database
    }

    /// A database with all demo data.
    pub async fn with_business() -> Self {
        static MADE_ON: OnceCell<NaiveDate> = OnceCell::const_new();
        let server = server();
        let made_on = MADE_ON.get_or_init(async || {
            let today = today();
            make_business_template(&server.cluster).await;
            today
        });
        let made_on = *made_on.await;
        let mut database = Self::copied_from(server, BUSINESS).await;
        database.has_demo_data = true;
        // Tests expect data of today and yesterday, also if a new day has begun since.
        if made_on != today() {
            let db = Db::from(database.pool().await);
            demo::load_business(&db).await.unwrap();
            db.close().await;
        }
        database
    }

    /// A database without the schema.
    pub async fn empty() -> Self {
        Self::copied_from(server(), "template0").await
    }

    async fn copied_from(server: &Server, template: &str) -> Self {
        let mut database = Self::copied(&server.cluster, template).await;
        database.finished = Some(server.finished.clone());
        database
    }

    async fn copied(cluster: &Cluster, template: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let mut admin = PgConnection::connect(&cluster.url("postgres"))
            .await
            .unwrap();
        // Copying files is about ten times faster than writing every page to the WAL.
        let create = format!("create database {name} template {template} strategy file_copy");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        Self {
            url: cluster.url(&name),
            name,
            has_demo_data: false,
            finished: None,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A pool with the `search_path` of the functions, but without their other connection settings.
    pub async fn pool(&self) -> PgPool {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let options = options.options([("search_path", SEARCH_PATH)]);
        PgPool::connect_with(options).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(finished) = &self.finished {
            finished.send(self.name.clone()).ok();
        }
    }
}

impl OwnServer {
    pub async fn start() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let directory = fast_directory(&format!("own-server-{number}"));
        remove_after_us(&directory);
        let mut server = Self {
            options: options(directory),
            cluster: None,
        };
        server.start_again().await;
        server.options.fresh = false;
        let cluster = server.cluster();
        make_template(&cluster.url("postgres"), &cluster.url(TEMPLATE)).await;
        server
    }

    pub async fn database(&self) -> TestDatabase {
        TestDatabase::copied(self.cluster(), TEMPLATE).await
    }

    /// Kills the server and all its processes with SIGKILL and waits until they are gone.
    pub async fn kill(&mut self) {
        let server = Pid::from_raw(self.cluster().pid().cast_signed()).unwrap();
        let mut processes = vec![server];
        processes.extend(child::children_of(server));
        for process in &processes {
            // The process may have ended by itself already.
            kill_process(*process, Signal::KILL).ok();
        }
        for process in processes {
            child::gone(process).await;
        }
        self.cluster = None;
    }

    /// Stops all its processes with SIGSTOP. Clients stay connected and get no response.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues a frozen server.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = Pid::from_raw(self.cluster().pid().cast_signed()).unwrap();
        for process in iter::once(server).chain(child::children_of(server)) {
            kill_process(process, signal).unwrap();
        }
    }

    /// Starts on the same data and the same port.
    pub async fn start_again(&mut self) {
        let options = self.options.clone();
        let start = move || Cluster::start(&binaries(), &options).unwrap();
        self.cluster = Some(tokio::task::spawn_blocking(start).await.unwrap());
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.cluster = None;
        fs::remove_dir_all(&self.options.directory).ok();
    }
}

/// Options of a new cluster that is not durable: the data is lost if the machine crashes.
fn options(directory: PathBuf) -> ClusterOptions {
    ClusterOptions {
        directory,
        durable: false,
        fresh: true,
        max_connections: 400,
    }
}

/// Creates the template database with the schema.
async fn make_template(url: &str, template_url: &str) -> PgConnection {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let create = format!("create database {TEMPLATE}");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let db = Db::from(PgPool::connect(template_url).await.unwrap());
    migrations::apply(&db).await.unwrap();
    db.close().await;
    // A database that has open connections cannot be copied.
    let close = format!("alter database {TEMPLATE} with allow_connections false is_template true");
    admin.execute(AssertSqlSafe(close)).await.unwrap();
    admin
}

/// Creates the template database with the demo's sites, users and bots.
async fn make_demo_template(admin: &mut PgConnection, demo_url: &str) {
    let create = format!("create database {DEMO} template {TEMPLATE} strategy file_copy");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let db = Db::from(PgPool::connect(demo_url).await.unwrap());
    demo::load(&db).await.unwrap();
    db.close().await;
}

async fn make_business_template(cluster: &Cluster) {
    let mut admin = PgConnection::connect(&cluster.url("postgres"))
        .await
        .unwrap();
    let create = format!("create database {BUSINESS} template {DEMO} strategy file_copy");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let url: PgConnectOptions = cluster.url(BUSINESS).parse().unwrap();
    let options = url.options([("search_path", SEARCH_PATH)]);
    let db = Db::from(PgPool::connect_with(options).await.unwrap());
    demo::load_business(&db).await.unwrap();
    db.close().await;
}

/// The day at the sites of the demo.
fn today() -> NaiveDate {
    let shanghai = FixedOffset::east_opt(8 * 3600).unwrap();
    clock::now().with_timezone(&shanghai).date_naive()
}

/// `PARLOR_TEST_PG_BIN` selects another PostgreSQL, so that the suite can run on each version.
pub fn binaries() -> Binaries {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    let named = std::env::var_os("PARLOR_TEST_PG_BIN").map(PathBuf::from);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Binaries::find_or_fetch(cache, named.as_deref()).unwrap()
}

/// A directory in memory, if `/dev/shm` has more than 1 GiB free.
pub fn fast_directory(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let roomy =
        rustix::fs::statvfs(memory).is_ok_and(|found| found.f_bavail * found.f_frsize > 1 << 30);
    let base = if roomy {
        memory
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR"))
    };
    base.join(format!("parlor-{name}-{}", std::process::id()))
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let directory = fast_directory("tests");
        remove_after_us(&directory);
        let cluster = Cluster::start(&binaries(), &options(directory)).unwrap();
        let (finished, names) = mpsc::channel::<String>();
        let (url, template_url) = (cluster.url("postgres"), cluster.url(TEMPLATE));
        let demo_url = cluster.url(DEMO);
        // Its own runtime, because each test's runtime ends with that test.
        let (ready, wait) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut admin = make_template(&url, &template_url).await;
                make_demo_template(&mut admin, &demo_url).await;
                ready.send(()).unwrap();
                for name in names {
                    admin
                        .execute(AssertSqlSafe(format!("drop database {name} with (force)")))
                        .await
                        .ok();
                }
            });
        });
        wait.recv().unwrap();
        Server { cluster, finished }
    })
}

/// Deletes `directory` after this process has ended. Statics are not dropped, so a shell process
/// waits for the end.
fn remove_after_us(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let watcher = "(while kill -0 \"$0\" 2>/dev/null; do sleep 1; done; sleep 2; rm -rf \"$1\") &";
    Command::new("sh")
        .args(["-c", watcher])
        .arg(std::process::id().to_string())
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
}
