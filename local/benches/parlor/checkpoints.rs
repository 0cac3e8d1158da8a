//! What the checkpoints of replies cost PostgreSQL, and the tables afterwards.
//!
//! The statement of the product is compared with the one that it replaced, which wrote the whole
//! text of the reply each time.

use common::platform::db::Db;
use local::postgres::Binaries;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    progress,
    reply_sql::{self, Begun, Statements},
    report::{Figure, Section},
};

/// Replies that are made at once.
const REPLIES: usize = 1_000;
/// How often they are made, one after the other.
const ROUNDS: usize = 2;
/// Checkpoints of a reply: 90 seconds.
const CHECKPOINTS: usize = 60;
/// Characters that a checkpoint adds.
const PIECE: usize = 50;
/// Tokens of these characters: 1.5 seconds of a stream with 20 tokens per second.
const TOKENS: usize = 30;
/// Checkpoints at the beginning and at the end of a reply that are shown by themselves.
const EDGE: usize = 10;

/// The statement before segments. The end of the reply finds the text in the message, as that of an
/// older build.
const BEFORE: &str = "
    update biz.ai_messages set
        content = case when $4 = '' or char_length(content) >= $3 + char_length($4) then content
                       else left(content, $3) || $4 end,
        lease_until = now() + make_interval(secs => $5)
    where id = $2 and site_id = $1 and state = 'streaming'
    returning stop_requested_at is not null";

/// Common characters. A text of one repeated character would compress too well.
const LETTERS: &str =
    "今天的台球厅人气不错老会员陆续到店建议先看预约再安排教练晚场客流较多可以提前准备球桌和茶水";

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, false)?;
    let statements = Statements::read()?;
    let before = Measured::of(&bench, &statements, "before", BEFORE).await?;
    let after = Measured::of(&bench, &statements, "after", &statements.checkpoint).await?;
    let both = |what: &str, unit: &str, of: fn(&Measured) -> f64| {
        [("before", &before), ("now", &after)]
            .map(|(when, measured)| Figure::new(format!("{what}, {when}"), of(measured), unit))
    };
    let [cpu_before, cpu] = both("CPU for 10,000 tokens", "s", |m| m.total.cpu);
    let mut figures = vec![cpu_before, cpu.target(1.0)];
    figures.extend(both("CPU of the first checkpoints", "ms", |m| m.first.cpu));
    figures.extend(both("CPU of the last checkpoints", "ms", |m| m.last.cpu));
    figures.extend(both("CPU of an end", "ms", |m| m.end.cpu));
    figures.extend(both("WAL for 10,000 tokens", "kB", |m| m.total.wal));
    figures.extend(both("WAL of the first checkpoints", "kB", |m| m.first.wal));
    figures.extend(both("WAL of the last checkpoints", "kB", |m| m.last.wal));
    figures.extend(both("WAL of an end", "kB", |m| m.end.wal));
    figures.extend(both("heap-only updates of messages", "%", |m| m.hot));
    figures.extend(both("dead rows after all streams", "", |m| m.dead));
    for (when, measured) in [("before", &before), ("now", &after)] {
        let what = format!("tables after all streams, {when}");
        figures.push(Figure::new(what, measured.size, "MB").floor(measured.least_size));
    }
    Ok(Section {
        title: "Checkpoints",
        conditions: format!(
            "{REPLIES} replies are made at once, {ROUNDS} times. Each has {CHECKPOINTS} checkpoints of \
             {PIECE} characters ({TOKENS} tokens), {} characters in all. One connection writes the \
             checkpoints of all replies in turn, then their ends, with fsync off. *Before* is the \
             statement that wrote the whole text each time. CPU is that of all processes of \
             PostgreSQL, with the pool's tests of connections. 10,000 tokens include the ends. *First* \
             and *last* are the first and last {EDGE} checkpoints of a reply, per checkpoint. The \
             tables are `ai_messages` and `ai_reply_segments`, with TOAST and indexes; the floor is \
             after `vacuum full`.",
            CHECKPOINTS * PIECE,
        ),
        figures,
        notes: Vec::new(),
    })
}

/// What PostgreSQL has used.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// CPU time. The unit depends on the figure.
    cpu: f64,
    /// Write-ahead log in kB.
    wal: f64,
}

impl Cost {
    /// Milliseconds and kB so far.
    async fn so_far(bench: &BenchDatabase, db: &Db) -> Result<Self> {
        let bytes = sqlx::query_scalar(
            "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 / 1000",
        );
        Ok(Self {
            cpu: bench.cpu()?.as_secs_f64() * 1e3,
            wal: bytes.fetch_one(db).await?,
        })
    }

    /// Adds what was used between two times, divided by a number of events.
    fn add(&mut self, from: Self, to: Self, events: f64) {
        self.cpu += (to.cpu - from.cpu) / events;
        self.wal += (to.wal - from.wal) / events;
    }
}

#[derive(Default)]
struct Measured {
    /// For 10,000 tokens, in seconds.
    total: Cost,
    first: Cost,
    last: Cost,
    end: Cost,
    /// Percent.
    hot: f64,
    /// By PostgreSQL's statistics.
    dead: f64,
    /// MB.
    size: f64,
    /// MB, of tables without free space.
    least_size: f64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
impl Measured {
    async fn of(
        bench: &BenchDatabase,
        statements: &Statements,
        name: &str,
        checkpoint: &str,
    ) -> Result<Self> {
        let (url, db) = bench.create(&format!("checkpoints_{name}")).await?;
        let people = bench_database::people(&db, REPLIES).await?;
        // One connection, because the statistics of a connection are complete only in itself.
        let db = bench_database::pool_of(&url, 1)?;
        let texts = texts();
        let replies = (REPLIES * ROUNDS) as f64;
        let mut measured = Self::default();
        let mut updates = (0, 0);
        for round in 0..ROUNDS {
            progress(format!("checkpoints, {name}, round {}", round + 1));
            let begun = begin(&db, statements, &people, round).await?;
            let updates_before = updates_of_messages(&db).await?;
            let mut costs = vec![Cost::so_far(bench, &db).await?];
            for (number, text) in texts.iter().enumerate() {
                write(&db, checkpoint, &begun, number, text).await?;
                costs.push(Cost::so_far(bench, &db).await?);
            }
            let updates_after = updates_of_messages(&db).await?;
            updates.0 += updates_after.0 - updates_before.0;
            updates.1 += updates_after.1 - updates_before.1;
            let stored = Cost::so_far(bench, &db).await?;
            let end = reply_sql::end(None);
            for reply in &begun {
                let saved = CHECKPOINTS * PIECE;
                statements.finish(&db, reply, saved, &end).await?;
            }
            let ended = Cost::so_far(bench, &db).await?;
            let few = replies * EDGE as f64;
            measured.first.add(costs[0], costs[EDGE], few);
            let last = costs.len() - 1;
            measured.last.add(costs[last - EDGE], costs[last], few);
            measured.end.add(stored, ended, replies);
            let tokens = replies * (CHECKPOINTS * TOKENS) as f64;
            measured.total.add(costs[0], ended, tokens / 10_000.0);
        }
        measured.total.cpu /= 1e3;
        measured.hot = 100.0 * updates.1 as f64 / updates.0 as f64;
        whole(&db).await?;
        (measured.size, measured.dead) = tables(&db).await?;
        for table in ["ai_messages", "ai_reply_segments"] {
            let vacuum = format!("vacuum full biz.{table}");
            db.execute(AssertSqlSafe(vacuum)).await?;
        }
        (measured.least_size, _) = tables(&db).await?;
        Ok(measured)
    }
}

/// What each checkpoint adds.
fn texts() -> Vec<String> {
    let letters: Vec<char> = LETTERS.chars().collect();
    let mut chance = fastrand::Rng::with_seed(1);
    (0..CHECKPOINTS)
        .map(|_| (0..PIECE).filter_map(|_| chance.choice(&letters)).collect())
        .collect()
}

/// Writes the checkpoint with this number for each reply.
async fn write(
    db: &Db,
    checkpoint: &str,
    replies: &[Begun],
    number: usize,
    text: &str,
) -> Result<()> {
    for reply in replies {
        sqlx::query(AssertSqlSafe(checkpoint.to_owned()))
            .bind(bench_database::SITE)
            .bind(reply.id)
            .bind(i32::try_from(number * PIECE)?)
            .bind(text)
            .bind(30.0)
            .execute(db)
            .await?;
    }
    Ok(())
}

async fn begin(
    db: &Db,
    statements: &Statements,
    people: &[Person],
    round: usize,
) -> Result<Vec<Begun>> {
    let mut replies = Vec::with_capacity(people.len());
    for person in people {
        replies.push(statements.begin(db, person, round).await?);
    }
    Ok(replies)
}

/// Updates of the table of messages, and how many of them were heap-only.
async fn updates_of_messages(db: &Db) -> Result<(i64, i64)> {
    flush_statistics(db).await?;
    let counts = sqlx::query_as(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'ai_messages'",
    );
    Ok(counts.fetch_one(db).await?)
}

/// Fails if the text of a reply is not what its checkpoints stored.
async fn whole(db: &Db) -> Result<()> {
    let whole: i64 = sqlx::query_scalar(
        "select count(*) from biz.ai_messages where state = 'complete' and content = $1",
    )
    .bind(texts().concat())
    .fetch_one(db)
    .await?;
    if usize::try_from(whole)? != REPLIES * ROUNDS {
        return Err(format!("only {whole} replies are whole").into());
    }
    Ok(())
}

/// MB of the tables, and their dead rows.
async fn tables(db: &Db) -> Result<(f64, f64)> {
    flush_statistics(db).await?;
    let both = sqlx::query_as(
        "select sum(pg_total_relation_size(c.oid))::float8 / 1e6,
                sum((select sum(s.n_dead_tup) from pg_stat_all_tables s where s.relid in (c.oid, c.reltoastrelid)))::float8
         from pg_class c
         where c.oid in ('biz.ai_messages'::regclass, 'biz.ai_reply_segments'::regclass)",
    );
    Ok(both.fetch_one(db).await?)
}

/// Makes PostgreSQL count what the connection has done so far.
async fn flush_statistics(db: &Db) -> Result<()> {
    db.execute("select pg_stat_force_next_flush()").await?;
    Ok(())
}
