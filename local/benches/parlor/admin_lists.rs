//! What admins look at, with few and with many runs: dashboard, run log by its filters, alerts.

use std::time::Instant;

use common::{
    governance::{alerts, auth::SiteScope, usage},
    platform::db::Db,
};
use local::{demo, postgres::Binaries};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, SITE},
    child::{Child, Role},
    machine::LowStealSampler,
    progress,
    report::{Figure, Section},
    stats::Samples,
};

const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
/// The admin of the site.
const ADMIN: i64 = 1004;
/// How deep a run log is read by its cursors before the page that is measured.
const DEEP: usize = 200;

/// What is asked for, by the words of the report, and how long 99 of 100 may take, in milliseconds, where there
/// is a target.
const CALLS: [(&str, &str, Option<f64>); 10] = [
    ("dashboard", "/api/admin/ai/dashboard", Some(10.0)),
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
        "alerts, pending",
        "/api/admin/ai/alerts?alert_status=pending",
        Some(5.0),
    ),
    (
        "alerts, pending, grouped",
        "/api/admin/ai/alerts?alert_status=pending&group=true",
        None,
    ),
    ("history of a coach", "/api/xcx/chat/history", Some(5.0)),
];

pub async fn measure(postgres: &Binaries, most: i64) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, false)?;
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    let mut sampler = LowStealSampler::default();
    for (name, rows) in [("few", 10_000), ("many", most)] {
        let (url, db) = bench.create(name).await?;
        progress(format!(
            "admin-lists, loading {rows} runs and {rows} messages"
        ));
        let began = Instant::now();
        demo::fill(&url.as_str().into(), rows, rows).await?;
        notes.push(format!(
            "{rows} runs and as many messages were made in {:.0} s; the run log takes {}.",
            began.elapsed().as_secs_f64(),
            size_of_log(&db).await?
        ));
        let parlor = Child::start(&Role::Parlor {
            database_url: url,
            upstream: "http://127.0.0.1:1/api/v1".to_owned(),
        })?;
        let client = AdminClient::new(&parlor)?;
        progress(format!("admin-lists, {rows} runs"));
        for (what, path, target) in CALLS {
            let path = path.replace("TODAY", &today(&db).await?);
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
        let deep = client.deep_page().await?;
        let served = sampler.run(async || client.measure(&deep).await).await?;
        let what = format!("run log, cursor page {DEEP}, {rows} runs");
        figures.push(Figure::new(format!("{what}, p50"), served.median(), "ms"));
        figures.push(Figure::new(format!("{what}, p99"), served.at(0.99), "ms").target(5.0));
    }
    notes.push(sampler.note());
    Ok(Section {
        title: "Admin lists",
        conditions: format!(
            "Calls of a site's admin (and one of a coach) over HTTP, {REQUESTS} each, one at a time over a kept connection, after \
             {WARM_UP} that are not counted. Runs are those of `cargo run -- demo`: of two sites, nine apps, 90 days, three of a \
             hundred failed. The floor of the dashboard is its three statements alone."
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
        let token = if path.starts_with("/api/admin") {
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

    /// The path of a page far down.
    async fn deep_page(&self) -> Result<String> {
        let mut path = "/api/admin/ai/run-logs?page_size=100".to_owned();
        for _ in 1..DEEP {
            let page: serde_json::Value = serde_json::from_slice(&self.get(&path).await?)?;
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/api/admin/ai/run-logs?page_size=100&cursor={cursor}");
        }
        Ok(path)
    }
}

/// The dashboard's statements alone.
async fn floor(db: &Db) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 0..WARM_UP + REQUESTS {
        let began = Instant::now();
        usage::last_days(db, SiteScope::One(SITE)).await?;
        usage::health(db, SiteScope::One(SITE)).await?;
        alerts::newest(db, SiteScope::One(SITE)).await?;
        if round >= WARM_UP {
            samples.push(began.elapsed());
        }
    }
    Ok(samples)
}

async fn today(db: &Db) -> Result<String> {
    Ok(
        sqlx::query_scalar("select local_day('Asia/Shanghai')::text")
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
