//! `import`: the data of the earlier services.

mod issues;
mod large;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
};

use sqlx::{Connection as _, Executor as _, PgConnection, SqlStr};
use tempfile::TempDir;

use crate::harness::{child, database::TestDatabase};

/// An earlier database, a database of Parlor with the demo's users, and a directory for files.
struct Move {
    earlier: TestDatabase,
    parlor: Arc<TestDatabase>,
    files: TempDir,
}

/// The printed counts of a kind: found, imported before, imported, changed, not imported.
type Counts = BTreeMap<String, [u64; 5]>;

impl Move {
    /// `fill` inserts the earlier rows.
    async fn new(fill: &'static str) -> Self {
        let earlier = TestDatabase::empty().await;
        let mut connection = PgConnection::connect(earlier.url()).await.unwrap();
        connection
            .execute(include_str!("import/earlier.sql"))
            .await
            .unwrap();
        connection.execute(fill).await.unwrap();
        connection.close().await.unwrap();
        Self {
            earlier,
            parlor: Arc::new(TestDatabase::with_demo().await),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Writes the users of the demo under the earlier ids.
    fn write_users(&self, name: &str, lines: &str) {
        let header = "earlier_user_id,site_id,parlor_user_id,nickname,role,status\n";
        std::fs::write(self.file(name), format!("{header}{lines}")).unwrap();
    }

    /// The command, with the users of the file `<service>.csv`.
    fn command(&self, service: &str, options: &[&str]) -> std::process::Command {
        let mut command = child::command(Path::new(env!("CARGO_BIN_EXE_local")));
        command.args(["import", service]).args(options);
        if service == "flask" {
            command.args(["--schema", "pit"]);
        }
        command
            .env("IMPORT_DATABASE_URL", self.earlier.url())
            .env("DATABASE_URL", self.parlor.url())
            .env("PARLOR_HOME", self.files.path())
            .env_remove("RUST_LOG");
        if !options.contains(&"--write-users") {
            command
                .arg("--users")
                .arg(self.file(&format!("{service}.csv")));
        }
        command
    }

    async fn run(&self, service: &str, options: &[&str]) -> Output {
        let command = self.command(service, options);
        tokio::process::Command::from(command)
            .output()
            .await
            .unwrap()
    }

    /// Runs the command, which must succeed, and returns its output and counts.
    async fn import(&self, service: &str, options: &[&str]) -> (String, Counts) {
        let output = self.run(service, options).await;
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}\n{errors}");
        let counts = counts(&printed);
        (printed, counts)
    }

    /// The error of a command that must fail.
    async fn refusal(&self, service: &str, options: &[&str]) -> String {
        let output = self.run(service, options).await;
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn earlier(&self, statement: &'static str) {
        execute(self.earlier.url(), statement).await;
    }

    async fn parlor(&self, statement: &'static str) {
        execute(self.parlor.url(), statement).await;
    }
}

async fn execute(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute(SqlStr::from_static(statement))
        .await
        .unwrap();
}

fn counts(printed: &str) -> Counts {
    let lines = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.next()?.to_owned();
        let numbers: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
        Some((kind, numbers?.try_into().ok()?))
    });
    lines.collect()
}

/// The sum of all rows that an import may change, for comparison.
async fn contents(db: &sqlx::PgPool) -> Vec<(String, i64, String)> {
    sqlx::query_as(include_str!("import/contents.sql"))
        .fetch_all(db)
        .await
        .unwrap()
}
