//! The databases of the benchmarks: a PostgreSQL server, the schema, and users.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{
    governance::auth::{self, Role, User},
    platform::{
        db::{self, DatabaseConfig, Db},
        migrations,
    },
};
use local::{
    demo,
    postgres::{Binaries, Cluster, ClusterOptions},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::{Result, child};

/// The secret that signs the tokens.
pub const SECRET: &str = "a secret for benchmarks, and for nothing else";
/// The site of most users.
pub const SITE: i64 = 1;
/// Id of the first user that [`people`] creates.
const FIRST_PERSON: i64 = 100_001;

/// The directory of the cluster. It is on disk, as in production.
pub fn data_dir() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("benchmarks");
    fs::create_dir_all(&directory).ok();
    directory
}

/// A PostgreSQL server for the databases of one subject. Dropping it stops the server and deletes
/// its data.
pub struct BenchDatabase {
    cluster: Option<Cluster>,
    directory: PathBuf,
}

/// A user with a conversation.
pub struct Person {
    pub id: i64,
    pub token: String,
    pub chat_id: i64,
}

impl BenchDatabase {
    /// Starts an empty cluster with the default settings of PostgreSQL. fsync is off unless
    /// `durable`.
    pub fn new(postgres: &Binaries, durable: bool) -> Result<Self> {
        let options = ClusterOptions {
            durable,
            ..ClusterOptions::kept(&data_dir(), true)?
        };
        Ok(Self {
            cluster: Some(Cluster::start(postgres, &options)?),
            directory: options.directory,
        })
    }

    /// CPU time so far of the server and its running processes.
    pub fn cpu(&self) -> Result<Duration> {
        let server = self.cluster.as_ref().ok_or("the cluster is gone")?.pid();
        let processes = fs::read_dir("/proc")?.filter_map(|entry| {
            let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            let (_, after_name) = stat.rsplit_once(')')?;
            let parent: u32 = after_name.split_whitespace().nth(1)?.parse().ok()?;
            (process == server || parent == server).then_some(process)
        });
        // A process that has ended meanwhile is not counted.
        Ok(processes
            .filter_map(|process| child::cpu(process).ok())
            .sum())
    }

    /// Creates a database with the schema and the demo sites and users, and raises their budgets.
    pub async fn create(&self, name: &str) -> Result<(String, Db)> {
        let cluster = self.cluster.as_ref().ok_or("the cluster is gone")?;
        let mut admin = PgConnection::connect(&cluster.url("postgres")).await?;
        admin
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await?;
        let url = cluster.url(name);
        let db = pool(&url)?;
        migrations::apply(&db).await?;
        demo::load(&db).await?;
        lift_budgets(&db).await?;
        Ok((url, db))
    }
}

/// Raises the budgets, because `cargo run` sets lower ones at its start that limit a measurement.
pub async fn lift_budgets(db: &Db) -> Result<()> {
    db.execute("update biz.ai_budgets set daily_limit = 1e15, monthly_limit = 1e15")
        .await?;
    Ok(())
}

impl Drop for BenchDatabase {
    fn drop(&mut self) {
        self.cluster.take();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A pool with as many connections as a function has.
pub fn pool(url: &str) -> Result<Db> {
    pool_of(url, 4)
}

/// A pool of this size.
pub fn pool_of(url: &str, max_connections: u32) -> Result<Db> {
    Ok(db::connect_lazy(&DatabaseConfig {
        url: secrecy::SecretString::from(url).into(),
        max_connections,
        behind_proxy: false,
    })?)
}

/// Creates `count` approved coaches, each with an empty conversation.
pub async fn people(db: &Db, count: usize) -> Result<Vec<Person>> {
    people_of(db, SITE, FIRST_PERSON, count).await
}

/// Creates `count` coaches of two sites, in rotation. Messages of one site wait for each other's
/// locks, so two sites reduce that time.
pub async fn people_of_both_sites(db: &Db, count: usize) -> Result<Vec<Person>> {
    let half = count.div_ceil(2);
    let ours = people_of(db, SITE, FIRST_PERSON, half).await?;
    let theirs = people_of(db, SITE + 1, FIRST_PERSON * 2, half).await?;
    let pairs = ours.into_iter().zip(theirs);
    Ok(pairs.flat_map(|(one, other)| [one, other]).collect())
}

async fn people_of(db: &Db, site_id: i64, first: i64, count: usize) -> Result<Vec<Person>> {
    let last = first + i64::try_from(count)? - 1;
    sqlx::query(
        "insert into biz.users (id, site_id, nickname, role, status)
         select n, $3, 'coach ' || n, 'coach', 'approved' from generate_series($1, $2) n on conflict do nothing",
    )
    .bind(first)
    .bind(last)
    .bind(site_id)
    .execute(db)
    .await?;
    let chats: Vec<(i64, i64)> = sqlx::query_as(
        "select id, open_conversation(site_id, id, 'task', 'benchmark', 0, 50) from biz.users where id between $1 and $2 order by id",
    )
    .bind(first)
    .bind(last)
    .fetch_all(db)
    .await?;
    chats
        .into_iter()
        .map(|(id, chat_id)| {
            Ok(Person {
                id,
                token: token_of(site_id, id)?,
                chat_id,
            })
        })
        .collect()
}

/// The token of a user of [`SITE`].
pub fn token(id: i64) -> Result<String> {
    token_of(SITE, id)
}

fn token_of(site_id: i64, id: i64) -> Result<String> {
    let user = User {
        id,
        site_id: Some(site_id),
        nickname: format!("coach {id}"),
        role: Role::Coach,
        approved: true,
    };
    let signed = auth::sign(&SECRET.into(), &user, Duration::from_hours(1));
    signed.ok_or_else(|| "a token could not be signed".into())
}
