//! `/console/prewarm`: which finance results exist, by period and area.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{DateTime, Utc};
use common::{
    Error, Result,
    governance::auth::Admin,
    insights::{
        facts::Period,
        jobs::{self, FilterState, PrewarmItem, PrewarmSchedule, Prewarmed},
        results::ALL_AREAS,
    },
    platform::{db::Db, error::Reason, sqs::JobQueue},
    web::FormText,
};

use crate::{
    Parts,
    desk::Desk,
    format::{self, filters},
    frame::Frame,
    session::redirect,
    texts::PrewarmTexts,
};

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/prewarm", get(show).post(start))
}

#[derive(Template)]
#[template(path = "prewarm.html")]
struct PrewarmPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static PrewarmTexts,
    matrices: Vec<Matrix>,
    next_run: Option<DateTime<Utc>>,
    /// The counts of a dry run.
    dry_run: Option<Prewarmed>,
    /// How many jobs a refused form would have queued.
    matching: Option<i64>,
}

impl PrewarmPage<'_> {
    /// How many jobs the form queues.
    fn number(&self, matrix: &Matrix) -> i64 {
        self.matching.unwrap_or(matrix.missing)
    }

    /// The page of a result.
    #[expect(clippy::unused_self, reason = "called by the template")]
    fn result(&self, item: &PrewarmItem) -> String {
        let target = match &item.area {
            Some(area) => format!("{}:{area}", item.period),
            None => item.period.clone(),
        };
        let target = format::in_url(&target);
        format!("results?app_type={}&target_id={target}", item.app_type)
    }
}

/// The results of a site: a row per period, a column per area.
struct Matrix {
    site_id: i64,
    /// All areas together, each area, and at last `None` for the comparison of areas.
    areas: Vec<Option<String>>,
    rows: Vec<(&'static str, Vec<Option<PrewarmItem>>)>,
    missing: i64,
}

impl Matrix {
    fn new(site_id: i64, items: &[PrewarmItem]) -> Self {
        let items: Vec<_> = items
            .iter()
            .filter(|item| item.site_id == site_id)
            .collect();
        let mut areas: Vec<Option<String>> = items.iter().map(|item| item.area.clone()).collect();
        areas.sort_by_key(|area| {
            (
                area.is_none(),
                area.as_deref() != Some(ALL_AREAS),
                area.clone(),
            )
        });
        areas.dedup();
        let row = |period: &'static str| {
            let cell = |area: &Option<String>| {
                let mut items = items.iter();
                items
                    .find(|item| item.period == period && item.area == *area)
                    .map(|item| (*item).clone())
            };
            (period, areas.iter().map(cell).collect())
        };
        Self {
            site_id,
            rows: Period::ALL.map(Period::name).into_iter().map(row).collect(),
            missing: items
                .iter()
                .map(|item| i64::from(item.state == FilterState::Missing))
                .sum(),
            areas,
        }
    }
}

async fn show(
    State(db): State<Db>,
    State(schedule): State<PrewarmSchedule>,
    desk: Desk,
) -> Result<Response> {
    page(&db, &schedule, &desk, None, None).await
}

async fn page(
    db: &Db,
    schedule: &PrewarmSchedule,
    desk: &Desk,
    dry_run: Option<Prewarmed>,
    matching: Option<i64>,
) -> Result<Response> {
    let items = jobs::prewarm_matrix(db, desk.scope).await?;
    let mut sites: Vec<i64> = items.iter().map(|item| item.site_id).collect();
    sites.dedup();
    desk.show(&PrewarmPage {
        frame: &desk.frame,
        t: PrewarmTexts::of(desk.language),
        matrices: sites
            .into_iter()
            .map(|site_id| Matrix::new(site_id, &items))
            .collect(),
        next_run: schedule.next_run(db).await?,
        dry_run,
        matching,
        desk,
    })
}

/// Counts the missing results, or queues jobs for them.
async fn start(
    State(db): State<Db>,
    State(schedule): State<PrewarmSchedule>,
    State(queue): State<JobQueue>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match try_start(&db, &queue, &desk, &admin, &form).await {
        Ok(Some(counts)) => page(&db, &schedule, &desk, Some(counts), None).await,
        Ok(None) => Ok(redirect(&desk.to("prewarm"))),
        Err(error) => {
            let matching = desk.fail_expecting(error, &form)?;
            page(&db, &schedule, &desk, None, matching).await
        }
    }
}

/// Returns the counts of a dry run.
async fn try_start(
    db: &Db,
    queue: &JobQueue,
    desk: &Desk,
    admin: &Admin,
    form: &FormText,
) -> Result<Option<Prewarmed>> {
    let site_id = admin.site_in(&desk.query)?;
    let dry_run = match form.text("do")? {
        Some("dry-run") => true,
        Some("run") => false,
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    };
    let expected = form.integer("expected", 0, i64::MAX)?;
    let counts = jobs::prewarm_site(db, site_id, admin.user_id, dry_run, expected).await?;
    if dry_run {
        return Ok(Some(counts));
    }
    queue.wake_for(counts.enqueued).await;
    Ok(None)
}
