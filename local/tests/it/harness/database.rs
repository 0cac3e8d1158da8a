//! One private PostgreSQL for the whole run, and a database of its own for each test; and one of
//! a test's own, to be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use common::platform::{db::Db, functions::SEARCH_PATH, migrations};
use local::postgres::{Binaries, Cluster, ClusterOptions};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions,
};

use super::child;

/// The database that those of the tests are copied from.
const TEMPLATE: &str = "parlor_template";

/// A database with the schema in it, dropped when the test is done with it.
pub struct TestDatabase {
    name: String,
    url: String,
    /// Drops it. None where its server goes with the test.
    finished: Option<mpsc::Sender<String>>,
}

struct Server {
    cluster: Cluster,
    finished: mpsc::Sender<String>,
}

/// A PostgreSQL of a test's own, which can be killed and started again as it was.
pub struct OwnServer {
    options: ClusterOptions,
    cluster: Option<Cluster>,
}

impl TestDatabase {
    pub async fn new() -> Self {
        let server = server();
        Self::copied_from(server, TEMPLATE).await
    }

    /// One without the schema.
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
        // Copying files beats writing every page to the log by a factor of ten.
        let create = format!("create database {name} template {template} strategy file_copy");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        Self {
            url: cluster.url(&name),
            name,
            finished: None,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections that find the functions, without the other settings of a function's connections.
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

    /// A database with the schema in it.
    pub async fn database(&self) -> TestDatabase {
        TestDatabase::copied(self.cluster(), TEMPLATE).await
    }

    /// `kill -9` of the server and of all its processes; returns once they are gone.
    pub async fn kill(&mut self) {
        let server = Pid::from_raw(self.cluster().pid().cast_signed()).unwrap();
        let mut processes = vec![server];
        processes.extend(child::children_of(server));
        for process in &processes {
            // One that had just ended by itself is as good as killed.
            kill_process(*process, Signal::KILL).ok();
        }
        for process in processes {
            child::gone(process).await;
        }
        self.cluster = None;
    }

    /// On the same data, at the same port.
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

/// One that need not survive the machine, and that no one has used before.
fn options(directory: PathBuf) -> ClusterOptions {
    ClusterOptions {
        directory,
        durable: false,
        fresh: true,
        max_connections: 400,
    }
}

/// A database with the schema, to make others from.
async fn make_template(url: &str, template_url: &str) -> PgConnection {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let create = format!("create database {TEMPLATE}");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let db = Db::from(PgPool::connect(template_url).await.unwrap());
    migrations::apply(&db).await.unwrap();
    db.close().await;
    // A session on it would keep it from being copied.
    let close = format!("alter database {TEMPLATE} with allow_connections false is_template true");
    admin.execute(AssertSqlSafe(close)).await.unwrap();
    admin
}

/// `PARLOR_TEST_PG_BIN` chooses another PostgreSQL, so that the suite runs on each version.
pub fn binaries() -> Binaries {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    let named = std::env::var_os("PARLOR_TEST_PG_BIN").map(PathBuf::from);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Binaries::find_or_fetch(cache, named.as_deref()).unwrap()
}

/// A place in memory where there is one.
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
        // A runtime of its own: each test's ends with the test.
        let (ready, wait) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut admin = make_template(&url, &template_url).await;
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

/// Statics are not dropped: the server goes with this process, and so must its data.
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
