//! Background jobs: throughput of chain steps, and a prewarm of many sites.

use std::time::{Duration, Instant};

use common::{
    chat::session_replies,
    dashscope::{self, DashScope},
    governance::apps::{App, AppIds},
    insights::jobs::{self, Connector, JobLimits, NewEvent, Worked, Worker},
    moderation::Moderation,
    platform::{db::Db, env::Env, sqs::JobQueue},
};
use futures_util::future::try_join_all;
use local::postgres::Binaries;
use serde_json::{Map, Value, json};

use crate::{
    Result,
    bench_database::{self, BenchDatabase},
    child::{Child, Role},
    progress,
    report::{Figure, Section},
};

const SITES: i64 = 200;
/// Members per site.
const MEMBERS: i64 = 20;
/// Apps in the chain that a visit starts.
const STEPS: i64 = 3;
/// Concurrent tasks that enqueue jobs.
const SENDERS: i64 = 4;
/// Workers. Each has the connections and the concurrency of one function.
const WORKERS: usize = 2;

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let mut figures = Vec::new();
    let mut notes = Vec::new();
    for (durable, what) in [(true, "fsync on"), (false, "fsync off")] {
        progress(format!(
            "jobs, {} of {STEPS} steps, {what}",
            SITES * MEMBERS
        ));
        let bench = BenchDatabase::new(postgres, durable)?;
        let (url, db) = bench.create("jobs").await?;
        load(&db).await?;
        let chains = chains(&url, &db).await?;
        figures.push(
            Figure::new(
                format!("a step enqueued, claimed and completed, {what}"),
                chains.step,
                "µs",
            )
            .target(350.0)
            .floor(chains.floor),
        );
        notes.push(format!(
            "{what}: {:.0} steps per second. {SENDERS} senders enqueued all jobs in {:.2} s, one \
             statement per job. {WORKERS} workers completed them in {:.2} s.",
            1e6 / chains.step,
            chains.enqueued.as_secs_f64(),
            chains.worked.as_secs_f64(),
        ));
        if durable {
            continue;
        }
        progress(format!("jobs, prewarm of {SITES} sites"));
        let prewarm = prewarm(&url, &db).await?;
        figures.push(Figure::new("prewarm: a job queued", prewarm.queued, "µs"));
        figures.push(Figure::new("prewarm: an insight made", prewarm.made, "ms"));
        notes.push(prewarm.note);
    }
    Ok(Section {
        title: "Jobs",
        conditions: format!(
            "{SITES} sites have {MEMBERS} members each, with one job per member: a visit, whose chain \
             has {STEPS} steps. Each step has a valid result and is skipped. The target is 2,800 steps \
             per second, with PostgreSQL, senders and workers on one machine. The floor is one \
             committed row update per step, on {SENDERS} connections."
        ),
        figures,
        notes,
    })
}

/// Inserts sites with 90 days of finance data for three areas, and members with all results.
async fn load(db: &Db) -> Result<()> {
    for statement in [
        "insert into biz.sites (id, name) select n, 'site ' || n from generate_series(1, $1) n on conflict do nothing",
        "insert into dws.finance_area_daily (site_id, business_date, area, revenue, orders)
         select s, site_today(s) - d, a, 1000 + 10 * d, 20
         from generate_series(1, $1) s, generate_series(0, 89) d, unnest(array['大厅', '包厢', '斯诺克区']) a",
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit)
         select n, 1000000000000, 1000000000000 from generate_series(1, $1) n",
        // Otherwise the limit of 100 calls per second of an application would be measured.
        "insert into biz.ai_apps (site_id, app_type, application_id)
         select n, t.name, t.name || '-' || n from generate_series(1, $1) n, biz.app_types t",
    ] {
        sqlx::query(statement).bind(SITES).execute(db).await?;
    }
    sqlx::query(
        "insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, triggered_by, business_date, valid_days,
                                   result_json, expires_at)
         select s, app, 'member:' || m, m, 'valid', 'event', site_today(s), 7, '{}', now() + interval '7 days'
         from generate_series(1, $1) s, generate_series(1, $2) m,
              unnest(array['app3_clue', 'app8_clue_consolidated', 'app7_customer_analysis']) app",
    )
    .bind(SITES)
    .bind(MEMBERS)
    .execute(db)
    .await?;
    sqlx::query("analyze").execute(db).await?;
    Ok(())
}

fn worker(url: &str, upstream: String) -> Result<Worker> {
    let env = Env::from_pairs(App::ALL.map(|app| (app.variable(), app.name())));
    let mut client = dashscope::Config::new("sk-benchmark".into());
    client.base_url = upstream;
    Ok(session_replies::worker(
        bench_database::pool(url)?,
        DashScope::new(client)?,
        AppIds::from_env(&env),
        JobLimits::from_env(&env)?,
        JobQueue::none(),
        Moderation::default(),
    ))
}

/// Runs all jobs that are due, on several workers.
async fn work_off(workers: &[Worker]) -> Result<(Worked, Duration)> {
    let began = Instant::now();
    let tasks = workers.iter().cloned().map(|worker| {
        #[expect(
            clippy::disallowed_methods,
            reason = "workers run concurrently, as separate processes do"
        )]
        tokio::spawn(async move { worker.run(None).await })
    });
    let mut all = Worked::default();
    for done in try_join_all(tasks).await? {
        all.claimed += done.claimed;
        all.succeeded += done.succeeded;
    }
    Ok((all, began.elapsed()))
}

struct Chains {
    /// Microseconds.
    step: f64,
    floor: f64,
    enqueued: Duration,
    worked: Duration,
}

async fn chains(url: &str, db: &Db) -> Result<Chains> {
    let began = Instant::now();
    try_join_all((0..SENDERS).map(|sender| enqueue(db, sender))).await?;
    let enqueued = began.elapsed();
    let unreachable = "http://127.0.0.1:9/api/v1".to_owned();
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| worker(url, unreachable.clone()))
        .collect::<Result<_>>()?;
    let (done, worked) = work_off(&workers).await?;
    if i64::from(done.succeeded) != SITES * MEMBERS {
        return Err(format!("not every job succeeded: {done:?}").into());
    }

    let began = Instant::now();
    try_join_all((0..SENDERS).map(async |sender| {
        for _ in 0..SITES * MEMBERS * STEPS / SENDERS {
            sqlx::query("update biz.sites set name = name where id = $1")
                .bind(1 + sender)
                .execute(db)
                .await?;
        }
        Ok::<_, sqlx::Error>(())
    }))
    .await?;
    let floor = began.elapsed();
    Ok(Chains {
        step: each(enqueued + worked, SITES * MEMBERS * STEPS),
        floor: each(floor, SITES * MEMBERS * STEPS),
        enqueued,
        worked,
    })
}

async fn enqueue(db: &Db, sender: i64) -> Result<()> {
    let mine = (1..=SITES).filter(|site| site % SENDERS == sender);
    for (site, member) in mine.flat_map(|site| (1..=MEMBERS).map(move |member| (site, member))) {
        let event = NewEvent::parse("consumption.settled", site, Some(member), Map::new(), false)?;
        jobs::enqueue(db, &event, Connector::EventBus, None).await?;
    }
    Ok(())
}

struct Prewarm {
    /// Microseconds.
    queued: f64,
    /// Milliseconds.
    made: f64,
    note: String,
}

async fn prewarm(url: &str, db: &Db) -> Result<Prewarm> {
    let began = Instant::now();
    let found = jobs::prewarm(db, Connector::Schedule, None, false).await?;
    let queued = began.elapsed();
    let began = Instant::now();
    let again = jobs::prewarm(db, Connector::Schedule, None, true).await?;
    let checked = began.elapsed();
    if again.enqueued != 0 {
        return Err("a second prewarm would queue the same jobs again".into());
    }
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: None,
    })?;
    let workers: Vec<Worker> = (0..WORKERS)
        .map(|_| worker(url, simulator.url.clone()))
        .collect::<Result<_>>()?;
    let (done, worked) = work_off(&workers).await?;
    if i64::from(done.succeeded) != found.enqueued {
        return Err(format!("not every insight was made: {done:?}").into());
    }
    let sizes: Value = sqlx::query_scalar(
        "select jsonb_build_object('prompt', avg(char_length(request_prompt))::integer, 'tokens', avg(tokens_used)::integer)
         from biz.ai_run_logs where trigger_type = 'prewarm'",
    )
    .fetch_one(db)
    .await?;
    let sizes = json!(sizes);
    Ok(Prewarm {
        queued: each(queued, found.enqueued),
        made: each(worked, found.enqueued) / 1e3,
        note: format!(
            "Prewarm: {} filters of {} sites were queued in {:.2} s. A second prewarm found all of \
             them in progress in {:.2} s. {WORKERS} workers with eight concurrent calls each \
             generated the insights in {:.1} s, with a simulator that adds no delay. Prompts have {} \
             characters on average. With the real service, its response time dominates.",
            found.enqueued,
            found.sites,
            queued.as_secs_f64(),
            checked.as_secs_f64(),
            worked.as_secs_f64(),
            sizes["prompt"],
        ),
    })
}

/// Microseconds per item.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn each(all: Duration, count: i64) -> f64 {
    all.as_secs_f64() * 1e6 / count.max(1) as f64
}
