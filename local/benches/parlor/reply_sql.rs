//! The three SQL statements of a reply: begin, checkpoint, finish.
//!
//! The statements are read from `.sqlx`, so they are the same as in production.

use std::{path::Path, time::Instant};

use common::platform::db::Db;
use local::{demo, postgres::Binaries};
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    progress,
    report::{Figure, Section},
    stats::Samples,
};

/// Messages of each user. The first few have less than 20 turns of history.
const MESSAGES_EACH: usize = 40;
const PEOPLE: usize = 50;
/// Existing messages and runs. The runs are of 90 days and all apps.
const ROWS: i64 = 500_000;
const QUESTION: &str = "今天店里生意怎么样？";
/// Characters that a checkpoint adds.
const PIECE: usize = 600;

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    progress("reply-sql");
    let bench = BenchDatabase::new(postgres, false)?;
    let (url, db) = bench.create("reply_sql").await?;
    demo::fill(&url.as_str().into(), ROWS, ROWS).await?;
    bench_database::lift_budgets(&db).await?;
    let people = bench_database::people(&db, PEOPLE * 2).await?;
    let (with_session, without) = people.split_at(PEOPLE);
    let statements = Statements::read()?;
    let mut empty = Samples::default();
    for _ in 0..PEOPLE * MESSAGES_EACH {
        let start = Instant::now();
        sqlx::query("select 1").execute(&db).await?;
        empty.push(start.elapsed());
    }
    let mut uncounted = without_counters(&url, &db).await?;
    let session = Times::of(
        &db,
        &mut uncounted,
        &statements,
        with_session,
        Some("a session"),
    )
    .await?;
    let history = Times::of(&db, &mut uncounted, &statements, without, None).await?;
    let floor = empty.median();
    let figure = |what: &str, times: &Samples| Figure::new(what, times.median(), "ms").floor(floor);
    Ok(Section {
        title: "Statements of a reply",
        conditions: format!(
            "Median time of each statement on a warm connection from the same machine, with fsync off. \
             The database has {ROWS} messages and {ROWS} runs of 90 days. A checkpoint adds {PIECE} \
             characters, and the finish stores all of them. The floor is an empty round trip \
             (`select 1`). Every second finish runs a copy of `finish_run` without the statement \
             that changes `ai_usage_details`, so the difference is what these counters cost."
        ),
        figures: vec![
            figure("begin, the service has a session", &session.begin).target(0.5),
            figure("begin, with 20 turns of history", &history.begin),
            figure("checkpoint", &session.checkpoint),
            figure("finish", &session.finish),
            figure(
                "finish without the counters by user, bot and model",
                &session.finish_uncounted,
            ),
        ],
        notes: vec![
            "Decision 20 replaced checks of word lists by domains. `pgbench` on the same data, old and \
             new statements interleaved: begin with a session took 1.07 ms before and 0.50 ms after; \
             with history 1.06 ms before and 0.69 ms after."
                .to_owned(),
        ],
    })
}

/// A connection whose `finish_run` does not change the counters by user, bot and model.
async fn without_counters(url: &str, db: &Db) -> Result<PgConnection> {
    let row = db
        .fetch_one(
            "select current_setting('search_path'), pg_get_functiondef('finish_run'::regproc)",
        )
        .await?;
    let search_path: String = row.try_get(0)?;
    let source: String = row.try_get(1)?;
    let (head, rest) = source
        .split_once("    -- The first model counts the run.")
        .ok_or("finish_run has other comments")?;
    let (counters, tail) = rest
        .rsplit_once("    return r;")
        .ok_or("finish_run has another end")?;
    let (_, name) = head.split_once('(').ok_or("finish_run has no parameters")?;
    if !counters.contains("insert into biz.ai_usage_details") {
        return Err("finish_run changes the counters elsewhere".into());
    }
    let mut connection = PgConnection::connect(url).await?;
    connection
        .execute(AssertSqlSafe(format!(
            "set search_path = {search_path};
             create schema without_counters;
             create function without_counters.finish_run({name}    return r;{tail};
             set search_path = without_counters, {search_path}"
        )))
        .await?;
    Ok(connection)
}

/// The product's statements of a reply.
pub struct Statements {
    begin: String,
    pub checkpoint: String,
    finish: String,
}

/// A reply that has begun, and its run.
pub struct Begun {
    pub id: i64,
    run: i64,
    run_at: chrono::DateTime<chrono::Utc>,
}

impl Statements {
    pub fn read() -> Result<Self> {
        #[derive(Deserialize)]
        struct Prepared {
            query: String,
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
        let mut texts = Vec::new();
        for file in std::fs::read_dir(directory)? {
            let prepared: Prepared = serde_json::from_slice(&std::fs::read(file?.path())?)?;
            texts.push(prepared.query);
        }
        let find = |part: &str| {
            let mut found = texts.iter().filter(|text| text.contains(part));
            match (found.next(), found.next()) {
                (Some(text), None) => Ok(text.clone()),
                _ => Err(format!("not exactly one statement has `{part}`")),
            }
        };
        Ok(Self {
            begin: find("from begin_reply(")?,
            checkpoint: find("insert into biz.ai_reply_segments")?,
            finish: find("from finish_reply(")?,
        })
    }

    /// Begins a reply to a message with this id.
    pub async fn begin(&self, db: &Db, person: &Person, message: usize) -> Result<Begun> {
        let row = sqlx::query(AssertSqlSafe(self.begin.clone()))
            .bind(bench_database::SITE)
            .bind(person.id)
            .bind(person.chat_id)
            .bind(QUESTION)
            .bind(format!("message-{message}"))
            // An application accepts 100 calls per second.
            .bind(format!("app-{}", person.id))
            .bind(2_000_i64)
            .bind(100_000_i32)
            .bind(2_i32)
            .bind(30.0)
            .bind(chrono::DateTime::from_timestamp(4_000_000_000, 0))
            .bind(3_000.0)
            .bind(1_000_000_i32)
            .bind(20_i32)
            .bind(0.6)
            .bind(30_000_i64)
            .bind(0_i64)
            .bind(None::<i64>)
            .fetch_one(db)
            .await?;
        let outcome: String = row.try_get("outcome!")?;
        if outcome != "begun" {
            return Err(format!("begin_reply returned {outcome}").into());
        }
        Ok(Begun {
            id: row.try_get("message_id")?,
            run: row.try_get("run_id")?,
            run_at: row.try_get("run_at")?,
        })
    }

    /// Ends a reply of which `saved` characters are stored.
    pub async fn finish<'e>(
        &self,
        on: impl sqlx::PgExecutor<'e>,
        reply: &Begun,
        saved: usize,
        end: &serde_json::Value,
    ) -> Result<()> {
        sqlx::query(AssertSqlSafe(self.finish.clone()))
            .bind(bench_database::SITE)
            .bind(reply.id)
            .bind(reply.run)
            .bind(reply.run_at)
            .bind("complete")
            .bind(i32::try_from(saved)?)
            .bind("")
            .bind(false)
            .bind(None::<serde_json::Value>)
            .bind(end)
            .bind(None::<serde_json::Value>)
            .execute(on)
            .await?;
        Ok(())
    }
}

/// How a reply ended, as the relay reports it.
pub fn end(session_id: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "status": "success", "tokens_in": 500, "tokens_out": 400,
        "models": [{ "model_id": "qwen-plus", "input_tokens": 500, "output_tokens": 400 }], "unknown_tries": 0, "usage_implausible": false,
        "session_id": session_id, "session_lost": false, "prompt": QUESTION,
        "prompt_version": "benchmark", "first_token_ms": 300, "latency_ms": 2_000,
        "attempts": 1, "circuit": "success",
    })
}

#[derive(Default)]
struct Times {
    begin: Samples,
    checkpoint: Samples,
    finish: Samples,
    finish_uncounted: Samples,
}

impl Times {
    /// Sends all messages. `session_id` is what the service returns with each reply.
    async fn of(
        db: &Db,
        uncounted: &mut PgConnection,
        statements: &Statements,
        people: &[Person],
        session_id: Option<&str>,
    ) -> Result<Self> {
        let piece = "字".repeat(PIECE);
        let end = end(session_id);
        let mut times = Self::default();
        // Interleaved, so that consecutive statements do not find the same rows in the cache.
        for message in 0..MESSAGES_EACH {
            for person in people {
                let start = Instant::now();
                let reply = statements.begin(db, person, message).await?;
                let begin = start.elapsed();

                let start = Instant::now();
                sqlx::query(AssertSqlSafe(statements.checkpoint.clone()))
                    .bind(bench_database::SITE)
                    .bind(reply.id)
                    .bind(0_i32)
                    .bind(&piece)
                    .bind(30.0)
                    .execute(db)
                    .await?;
                let checkpoint = start.elapsed();

                let start = Instant::now();
                let is_counted = message % 2 == 0;
                if is_counted {
                    statements.finish(db, &reply, PIECE, &end).await?;
                } else {
                    statements
                        .finish(&mut *uncounted, &reply, PIECE, &end)
                        .await?;
                }
                let finish = start.elapsed();
                // The first rounds prepare the statements and have a short history.
                if message >= 10 {
                    times.begin.push(begin);
                    times.checkpoint.push(checkpoint);
                    let kind = if is_counted {
                        &mut times.finish
                    } else {
                        &mut times.finish_uncounted
                    };
                    kind.push(finish);
                }
            }
        }
        Ok(times)
    }
}
