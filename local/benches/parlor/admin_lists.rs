//! Dashboard, run log with its filters, alerts, feedback, and lists of staff, with few and with
//! many rows.

use std::time::Instant;

use common::{
    governance::{alerts, apps::App, auth::SiteScope, usage},
    platform::db::Db,
};
use local::{demo, postgres::Binaries};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, SITE},
    child::Child,
    machine::LowStealSampler,
    progress,
    report::{Figure, Section},
    stats::Samples,
};

const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
/// User id of the site's admin.
const ADMIN: i64 = 1004;
/// The deep page of the run log, reached by its cursors.
const DEEP: usize = 200;

/// Name in the report, path, and target of the 99th percentile in milliseconds.
const CALLS: &[(&str, &str, Option<f64>)] = &[
    ("dashboard", "/api/admin/ai/dashboard", Some(5.0)),
    ("budget", "/api/admin/ai/budget", Some(5.0)),
    ("run log, no filter", "/api/admin/ai/run-logs", Some(5.0)),
    (
        "run log, one app",
        "/api/admin/ai/run-logs?app_type=app1_chat",
        Some(5.0),
    ),
    (
        "run log, one status",
        "/api/admin/ai/run-logs?status=failed",
        Some(5.0),
    ),
    (
        "run log, app, status and day",
        "/api/admin/ai/run-logs?app_type=app2_finance&status=success&date_from=TODAY",
        Some(5.0),
    ),
    (
        "run log, a combination that no run has",
        "/api/admin/ai/run-logs?app_type=app2_finance&trigger_type=chat",
        Some(5.0),
    ),
    (
        "run log, one user",
        "/api/admin/ai/run-logs?user_id=1001",
        Some(5.0),
    ),
    (
        "run log, one member",
        "/api/admin/ai/run-logs?member_id=10007",
        Some(5.0),
    ),
    (
        "run log, one bot",
        "/api/admin/ai/run-logs?bot_id=00000000-0000-4000-8000-000000000001",
        Some(5.0),
    ),
    (
        "run log, one error code",
        "/api/admin/ai/run-logs?error_code=upstream_timeout",
        Some(5.0),
    ),
    (
        "run log, one prompt version",
        "/api/admin/ai/run-logs?prompt_version=PROMPT",
        Some(5.0),
    ),
    (
        "run log, one model",
        "/api/admin/ai/run-logs?model_id=qwen-max",
        Some(5.0),
    ),
    (
        "run log, one model, up to a month ago",
        "/api/admin/ai/run-logs?model_id=qwen-max&date_to=MONTH_AGO",
        Some(5.0),
    ),
    (
        "run log, latency from 3 s",
        "/api/admin/ai/run-logs?min_latency_ms=3000",
        Some(5.0),
    ),
    (
        "run log, one user and status",
        "/api/admin/ai/run-logs?user_id=1001&status=failed",
        Some(5.0),
    ),
    (
        "run log, a user without runs and a model",
        "/api/admin/ai/run-logs?user_id=1002&model_id=qwen-max",
        Some(5.0),
    ),
    (
        "alerts, pending",
        "/api/admin/ai/alerts?alert_status=pending",
        Some(5.0),
    ),
    (
        "alerts, pending, grouped",
        "/api/admin/ai/alerts?alert_status=pending&group=true",
        None,
    ),
    ("jobs, no filter", "/api/admin/ai/trigger-jobs", Some(5.0)),
    (
        "jobs, failed",
        "/api/admin/ai/trigger-jobs?status=failed",
        Some(5.0),
    ),
    (
        "jobs, one event type",
        "/api/admin/ai/trigger-jobs?event_type=note.created",
        Some(5.0),
    ),
    (
        "jobs, one event type and status",
        "/api/admin/ai/trigger-jobs?event_type=note.created&status=failed",
        Some(5.0),
    ),
    (
        "jobs, failed, up to a month ago",
        "/api/admin/ai/trigger-jobs?status=failed&date_to=MONTH_AGO",
        Some(5.0),
    ),
    (
        "jobs, one batch",
        "/api/admin/ai/trigger-jobs?batch_id=00000000-0000-4000-8000-000000000002",
        Some(5.0),
    ),
    ("feedback", "/api/admin/ai/feedback", Some(5.0)),
    ("reports", "/api/admin/ai/reports", Some(5.0)),
    ("console: dashboard", "/console", Some(50.0)),
    ("console: runs", "/console/runs", Some(50.0)),
    (
        "console: failed runs",
        "/console/runs?status=failed",
        Some(50.0),
    ),
    ("console: alerts", "/console/alerts", Some(50.0)),
    ("console: jobs", "/console/jobs", Some(50.0)),
    ("console: batches", "/console/batches", Some(50.0)),
    ("console: results", "/console/results", Some(50.0)),
    ("console: prewarm", "/console/prewarm", Some(50.0)),
    ("console: budgets", "/console/budgets", Some(50.0)),
    ("console: usage", "/console/usage", Some(50.0)),
    ("console: feedback", "/console/feedback", Some(50.0)),
    ("console: reports", "/console/reports", Some(50.0)),
    ("console: apps", "/console/apps", Some(50.0)),
    ("console: bots", "/console/bots", Some(50.0)),
    ("console: users", "/console/users", Some(50.0)),
    ("console: audit", "/console/audit", Some(50.0)),
    ("history of a coach", "/api/xcx/chat/history", Some(5.0)),
    (
        "insights of a member's page",
        "/api/xcx/insights?sourcePage=customer-detail&contextId=10001",
        Some(5.0),
    ),
    // A search reads up to 20,000 messages. No message has this text.
    (
        "search without a match",
        "/api/xcx/chat/search?q=%E9%B2%B8%E9%B1%BC",
        None,
    ),
];

/// Jobs per statement, so that a statement ends within its timeout.
const JOBS_AT_ONCE: usize = 20_000;
/// Results per app and site: as many as the sweep keeps.
const RESULTS: i64 = 20_000;

pub async fn measure(postgres: &Binaries, most: i64) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, false)?;
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    let mut sampler = LowStealSampler::default();
    for (name, rows) in [("few", 10_000), ("many", most)] {
        let (url, db) = bench.create(name).await?;
        progress(format!(
            "admin-lists, loading {rows} runs, messages and jobs"
        ));
        let began = Instant::now();
        demo::fill(&url.as_str().into(), rows, rows).await?;
        add_jobs(&db, rows).await?;
        add_results_and_feedback(&db, RESULTS.min(rows), rows / 100).await?;
        notes.push(format!(
            "{rows} runs, messages and jobs were generated in {:.0} s. The run log has {}.",
            began.elapsed().as_secs_f64(),
            size_of_log(&db).await?
        ));
        let parlor = Child::parlor(&url, "http://127.0.0.1:1/api/v1")?;
        let client = AdminClient::new(&parlor)?;
        progress(format!("admin-lists, {rows} runs"));
        for &(what, path, target) in CALLS {
            let path = path
                .replace("TODAY", &day(&db, 0).await?)
                .replace("MONTH_AGO", &day(&db, 30).await?)
                .replace("PROMPT", App::Chat.prompt_version());
            let served = sampler.run(async || client.measure(&path).await).await?;
            let what = format!("{what}, {rows} runs");
            let mut p99 = Figure::new(format!("{what}, p99"), served.at(0.99), "ms");
            if let Some(target) = target {
                p99 = p99.target(target);
            }
            let mut p50 = Figure::new(format!("{what}, p50"), served.median(), "ms");
            if path.ends_with("dashboard") {
                let floor = sampler.run(async || floor(&db).await).await?;
                p50 = p50.floor(floor.median());
            }
            figures.extend([p50, p99]);
        }
        for (which, filter) in [("", ""), (", one model", "&model_id=qwen-plus")] {
            let deep = client.deep_page(filter).await?;
            let served = sampler.run(async || client.measure(&deep).await).await?;
            let what = format!("run log{which}, cursor page {DEEP}, {rows} runs");
            figures.push(Figure::new(format!("{what}, p50"), served.median(), "ms"));
            figures.push(Figure::new(format!("{what}, p99"), served.at(0.99), "ms").target(5.0));
        }
    }
    notes.push(sampler.note());
    Ok(Section {
        title: "Admin lists",
        conditions: format!(
            "An admin of one site, and a coach for the history, send {REQUESTS} requests each over a \
             kept connection, one at a time, after {WARM_UP} for warm-up. The runs come from \
             `cargo run -- demo`: two sites, nine apps, 90 days, about 3 % not successful. One message \
             of a hundred has feedback and a report. There are as many jobs as runs. A site \
             has up to {RESULTS} results of an app. The floor of the dashboard is its three SQL \
             statements."
        ),
        figures,
        notes,
    })
}

struct AdminClient {
    http: reqwest::Client,
    url: String,
    admin: String,
    coach: String,
}

impl AdminClient {
    fn new(parlor: &Child) -> Result<Self> {
        let token = |id| {
            let user = demo::user(id).ok_or("no such user")?;
            demo::token(&bench_database::SECRET.into(), &user).ok_or("no token")
        };
        Ok(Self {
            http: reqwest::Client::new(),
            url: parlor.url.clone(),
            admin: token(ADMIN)?,
            coach: token(1001)?,
        })
    }

    async fn get(&self, path: &str) -> Result<bytes::Bytes> {
        let token = if path.starts_with("/api/admin") || path.starts_with("/console") {
            &self.admin
        } else {
            &self.coach
        };
        let request = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(token);
        Ok(request.send().await?.error_for_status()?.bytes().await?)
    }

    async fn measure(&self, path: &str) -> Result<Samples> {
        let mut samples = Samples::default();
        for round in 0..WARM_UP + REQUESTS {
            let began = Instant::now();
            self.get(path).await?;
            if round >= WARM_UP {
                samples.push(began.elapsed());
            }
        }
        Ok(samples)
    }

    /// The path of page [`DEEP`] of the run log.
    async fn deep_page(&self, filter: &str) -> Result<String> {
        let mut path = format!("/api/admin/ai/run-logs?page_size=100{filter}");
        for _ in 1..DEEP {
            let page: serde_json::Value = serde_json::from_slice(&self.get(&path).await?)?;
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/api/admin/ai/run-logs?page_size=100{filter}&cursor={cursor}");
        }
        Ok(path)
    }
}

/// Times of the dashboard's statements without HTTP.
async fn floor(db: &Db) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 0..WARM_UP + REQUESTS {
        let began = Instant::now();
        usage::last_days(db, SiteScope::One(SITE), 7).await?;
        usage::health(db, SiteScope::One(SITE)).await?;
        alerts::newest(db, SiteScope::One(SITE)).await?;
        if round >= WARM_UP {
            samples.push(began.elapsed());
        }
    }
    Ok(samples)
}

/// Adds jobs of two sites over 90 days: 2 % failed, 4 % duplicates, and up to 2,000 of one batch,
/// which is the most that a batch has.
async fn add_jobs(db: &Db, jobs: i64) -> Result<()> {
    sqlx::query(
        "insert into biz.ai_batches (id, site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
         values ('00000000-0000-4000-8000-000000000002', 1, '{app3_clue}', '{10000}', 1, 1, now(), $1)",
    )
    .bind(ADMIN)
    .execute(db)
    .await?;
    for from in (0..jobs).step_by(JOBS_AT_ONCE) {
        sqlx::query(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain,
                                              step, status, attempts, run_after, batch_id, created_at, started_at, finished_at)
             select 1 + n % 2, (array['consumption.settled', 'note.created', 'task.assigned', 'batch'])[1 + n / 2 % 4],
                    'event_bus', 'event', 10000 + n % 5000, '{app3_clue,app7_customer_analysis}', 2,
                    case when n / 8 % 50 = 0 then 'failed' when n / 8 % 25 = 7 then 'skipped_duplicate' else 'succeeded' end,
                    1, t, case when n % 2 = 0 and n / 8 % ($3 / 4000 + 1) = 1 then '00000000-0000-4000-8000-000000000002'::uuid end, t, t, t
             from generate_series($1, least($1 + $2, $3) - 1) n, lateral (select now() - n * interval '90 days' / $3) at (t)",
        )
        .bind(from)
        .bind(i64::try_from(JOBS_AT_ONCE)?)
        .bind(jobs)
        .execute(db)
        .await?;
    }
    Ok(())
}

/// Adds `results` results of each app and site, and `rated` messages with feedback and a report.
async fn add_results_and_feedback(db: &Db, results: i64, rated: i64) -> Result<()> {
    let statements = [
        "insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, result_json, triggered_by,
                                   business_date, valid_days, created_at, finished_at, expires_at)
         select s.id, app, 'member:' || 10000 + n % 5000, 10000 + n % 5000,
                case when n <= 5000 then 'valid' else 'expired' end, '{\"points\": [\"近期到店减少\"]}', 'event',
                current_date, 7, now() - n * interval '1 minute', now() - n * interval '1 minute', now() + interval '7 days'
         from biz.sites s, unnest('{app3_clue,app7_customer_analysis,app8_clue_consolidated}'::text[]) app,
              generate_series(1, $1) n
         where s.id <= 2",
        "insert into biz.ai_feedback (site_id, user_id, subject_type, subject_id, app_type, rating)
         select site_id, user_id, 'message', id, 'app1_chat', 'up' from biz.ai_messages
         where role = 'assistant' limit $1",
        "insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, due_at)
         select site_id, user_id, 'message', id, 'other', now() + interval '15 days' from biz.ai_messages
         where role = 'assistant' limit $1",
    ];
    for (statement, rows) in statements.into_iter().zip([results, rated, rated]) {
        sqlx::query(statement).bind(rows).execute(db).await?;
    }
    sqlx::raw_sql("vacuum analyze").execute(db).await?;
    Ok(())
}

/// The day so many days ago.
async fn day(db: &Db, days_ago: i32) -> Result<String> {
    Ok(
        sqlx::query_scalar("select (local_day('Asia/Shanghai') - $1)::text")
            .bind(days_ago)
            .fetch_one(db)
            .await?,
    )
}

async fn size_of_log(db: &Db) -> Result<String> {
    Ok(sqlx::query_scalar(
        "select pg_size_pretty(sum(pg_total_relation_size(inhrelid))) from pg_inherits where inhparent = 'biz.ai_run_logs'::regclass",
    )
    .fetch_one(db)
    .await?)
}
