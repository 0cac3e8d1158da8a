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
    let [cpu_before, cpu] = both(
        "CPU of PostgreSQL for 10,000 tokens, checkpoints and ends",
        "s",
        |m| m.cpu,
    );
    let mut figures = vec![cpu_before, cpu.target(1.0)];
    figures.extend(both("CPU of PostgreSQL for an end", "ms", |m| m.end_cpu));
    figures.extend(both("WAL of a reply's first 10 checkpoints", "kB", |m| {
        m.first_wal
    }));
    figures.extend(both("WAL of a reply's last 10 checkpoints", "kB", |m| {
        m.last_wal
    }));
    figures.extend(both(
        "WAL for 10,000 tokens, checkpoints and ends",
        "kB",
        |m| m.wal,
    ));
    figures.extend(both(
        "heap-only updates of messages by checkpoints",
        "%",
        |m| m.hot,
    ));
    figures.extend(both("tables after all streams", "MB", |m| m.tables.size));
    figures.extend(both("dead rows after all streams", "", |m| m.tables.dead));
    figures.extend(both("tables after `vacuum`", "MB", |m| m.vacuumed.size));
    figures.extend(both("dead rows after `vacuum`", "", |m| m.vacuumed.dead));
    Ok(Section {
        title: "Checkpoints",
        conditions: format!(
            "{REPLIES} replies are made at once, {ROUNDS} times. Each has {CHECKPOINTS} checkpoints of \
             {PIECE} characters ({TOKENS} tokens), {} characters in all. One connection writes the \
             checkpoints of all replies in turn, then their ends, with fsync off. CPU is that of all \
             processes of PostgreSQL, with the tests of the pool. *Before* is the statement that wrote \
             the whole text each time. The tables are `ai_messages` and `ai_reply_segments` with \
             indexes.",
            CHECKPOINTS * PIECE,
        ),
        figures,
        notes: Vec::new(),
    })
}

/// The two tables with their indexes and TOAST.
struct Tables {
    /// MB.
    size: f64,
    /// By PostgreSQL's statistics.
    dead: f64,
}

struct Measured {
    /// Seconds for 10,000 tokens.
    cpu: f64,
    /// Milliseconds of the end of a reply.
    end_cpu: f64,
    /// kB for 10,000 tokens.
    wal: f64,
    /// kB.
    first_wal: f64,
    /// kB.
    last_wal: f64,
    /// Percent.
    hot: f64,
    tables: Tables,
    vacuumed: Tables,
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
        let letters: Vec<char> = LETTERS.chars().collect();
        let mut chance = fastrand::Rng::with_seed(1);
        let texts: Vec<String> = (0..CHECKPOINTS)
            .map(|_| (0..PIECE).filter_map(|_| chance.choice(&letters)).collect())
            .collect();
        let (mut cpu, mut end_cpu) = (0.0, 0.0);
        let (mut wal, mut first_wal, mut last_wal) = (0.0, 0.0, 0.0);
        let mut updates = (0, 0);
        for round in 0..ROUNDS {
            progress(format!("checkpoints, {name}, round {}", round + 1));
            let replies = begin(&db, statements, &people, round).await?;
            let (began, began_cpu) = (log_position(&db).await?, bench.cpu()?);
            let updates_before = updates_of_messages(&db).await?;
            let mut positions = vec![began];
            for (number, text) in texts.iter().enumerate() {
                for begun in &replies {
                    sqlx::query(AssertSqlSafe(checkpoint.to_owned()))
                        .bind(bench_database::SITE)
                        .bind(begun.reply)
                        .bind(i32::try_from(number * PIECE)?)
                        .bind(text)
                        .bind(30.0)
                        .execute(&db)
                        .await?;
                }
                positions.push(log_position(&db).await?);
            }
            let updates_after = updates_of_messages(&db).await?;
            updates.0 += updates_after.0 - updates_before.0;
            updates.1 += updates_after.1 - updates_before.1;
            let checkpoints_cpu = bench.cpu()?;
            let end = reply_sql::end(None);
            for begun in &replies {
                statements
                    .finish(&db, begun, CHECKPOINTS * PIECE, &end)
                    .await?;
            }
            let ended_cpu = bench.cpu()?;
            cpu += (ended_cpu - began_cpu).as_secs_f64();
            end_cpu += (ended_cpu - checkpoints_cpu).as_secs_f64();
            wal += (log_position(&db).await? - began) as f64;
            first_wal += (positions[10] - positions[0]) as f64;
            last_wal += (positions[CHECKPOINTS] - positions[CHECKPOINTS - 10]) as f64;
        }
        let replies = (REPLIES * ROUNDS) as f64;
        let ten_thousand = replies * (CHECKPOINTS * TOKENS) as f64 / 10_000.0;
        let tables = tables(&db).await?;
        db.execute("vacuum biz.ai_messages").await?;
        db.execute("vacuum biz.ai_reply_segments").await?;
        Ok(Self {
            cpu: cpu / ten_thousand,
            end_cpu: end_cpu / replies * 1e3,
            wal: wal / ten_thousand / 1e3,
            first_wal: first_wal / replies / 1e3,
            last_wal: last_wal / replies / 1e3,
            hot: 100.0 * updates.1 as f64 / updates.0 as f64,
            tables,
            vacuumed: self::tables(&db).await?,
        })
    }
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

/// Bytes of the write-ahead log so far.
async fn log_position(db: &Db) -> Result<i64> {
    let bytes = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
    Ok(bytes.fetch_one(db).await?)
}

/// Updates of the table of messages, and how many of them were heap-only.
async fn updates_of_messages(db: &Db) -> Result<(i64, i64)> {
    flush_statistics(db).await?;
    let counts = sqlx::query_as(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'ai_messages'",
    );
    Ok(counts.fetch_one(db).await?)
}

async fn tables(db: &Db) -> Result<Tables> {
    flush_statistics(db).await?;
    let (size, dead) = sqlx::query_as(
        "select sum(pg_total_relation_size(relid))::float8 / 1e6, sum(n_dead_tup)::float8
         from pg_stat_user_tables where relname in ('ai_messages', 'ai_reply_segments')",
    )
    .fetch_one(db)
    .await?;
    Ok(Tables { size, dead })
}

/// Makes PostgreSQL count what the connection has done so far.
async fn flush_statistics(db: &Db) -> Result<()> {
    db.execute("select pg_stat_force_next_flush()").await?;
    Ok(())
}
