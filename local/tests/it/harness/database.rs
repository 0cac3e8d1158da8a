//! One private PostgreSQL for the whole run, and a database of its own for each test.

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

use common::db::MIGRATOR;
use local::postgres::{Binaries, Cluster, ClusterOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

/// A database with the schema in it, dropped when the test is done with it.
pub struct TestDatabase {
    name: String,
    url: String,
}

struct Server {
    cluster: Cluster,
    finished: mpsc::Sender<String>,
}

impl TestDatabase {
    pub async fn new() -> Self {
        let server = server();
        Self::copied_from(server, "parlor_template").await
    }

    /// One without the schema.
    pub async fn empty() -> Self {
        Self::copied_from(server(), "template0").await
    }

    async fn copied_from(server: &Server, template: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let mut admin = PgConnection::connect(&server.cluster.url("postgres"))
            .await
            .unwrap();
        // Copying files beats writing every page to the log by a factor of ten.
        let create = format!("create database {name} template {template} strategy file_copy");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        Self {
            url: server.cluster.url(&name),
            name,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn pool(&self) -> PgPool {
        PgPool::connect(&self.url).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        server().finished.send(self.name.clone()).ok();
    }
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
        let options = ClusterOptions { directory, durable: false, fresh: true, max_connections: 400 };
        let cluster = Cluster::start(&binaries(), &options).unwrap();
        let (finished, names) = mpsc::channel::<String>();
        let url = cluster.url("postgres");
        let template_url = cluster.url("parlor_template");
        // A runtime of its own: each test's ends with the test.
        let (ready, wait) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&url).await.unwrap();
                admin.execute("create database parlor_template").await.unwrap();
                let pool = PgPool::connect(&template_url).await.unwrap();
                MIGRATOR.run(&pool).await.unwrap();
                pool.close().await;
                // A session on it would keep it from being copied.
                admin.execute("alter database parlor_template with allow_connections false is_template true").await.unwrap();
                ready.send(()).unwrap();
                for name in names {
                    admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.ok();
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
