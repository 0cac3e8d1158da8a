//! `/console/jobs`: trigger jobs, and a job with its chain.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::auth::Admin,
    insights::jobs::{
        self, EventType, JobFilter, JobItem, JobQuery, JobWithRuns, MAX_OF_STATUS, RunOfJob, Status,
    },
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, Paging},
        sqs::JobQueue,
    },
    web::{FormText, PathText},
};

use crate::{
    Parts,
    desk::Desk,
    format::{self, Choice, filters},
    frame::Frame,
    session::redirect,
    texts::JobsTexts,
};

/// Jobs on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/jobs", get(list).post(change_all))
        .route("/console/jobs/{id}", get(show).post(change))
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static JobsTexts,
    tabs: Vec<Tab>,
    events: Vec<Choice>,
    found: Page<JobItem>,
    duplicates: i64,
    bulk: Option<Bulk>,
}

/// The jobs of a status, or of all.
struct Tab {
    choice: Choice,
    /// Jobs with the other filters of the page.
    count: String,
}

/// The tabs with the number of jobs behind each.
async fn tabs(db: &Db, desk: &Desk, list: &JobQuery, found: &Page<JobItem>) -> Result<Vec<Tab>> {
    let counts = jobs::count_by_status(db, list).await?;
    let choices = desk.choices("status", Status::ALL.map(Status::name));
    let count = |choice: &Choice| {
        if choice.is_chosen {
            let least = if found.total_is_estimate { "≥ " } else { "" };
            return format!("{least}{}", format::number(found.total));
        }
        let of_status = counts.iter().find(|count| count.status == choice.value);
        let (count, most) = match of_status {
            Some(found) => (found.count, MAX_OF_STATUS),
            // The first tab has the jobs of all statuses.
            None => (
                counts.iter().map(|count| count.count).sum(),
                counts
                    .iter()
                    .map(|count| count.count)
                    .filter(|count| *count == MAX_OF_STATUS)
                    .max()
                    .unwrap_or(i64::MAX),
            ),
        };
        let least = if count >= most { "≥ " } else { "" };
        format!("{least}{}", format::number(count))
    };
    let tabs = choices.into_iter().map(|choice| Tab {
        count: count(&choice),
        choice,
    });
    Ok(tabs.collect())
}

/// A change of all jobs of the list.
struct Bulk {
    /// The value of `do`.
    action: &'static str,
    text: &'static str,
    note: &'static str,
    number: i64,
    /// The list has more jobs than it counts. A change is refused with the exact number, which the
    /// admin then confirms.
    is_estimate: bool,
}

async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, None).await
}

/// `matching` is the number of jobs that a refused change would have changed. It differs from the
/// total of the list, which has also jobs with a retry.
async fn page(db: &Db, desk: &Desk, matching: Option<i64>) -> Result<Response> {
    let list = JobQuery::parse(desk.scope, &desk.query)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = jobs::list(db, &list, &paging).await?;
    paging.reaches(&found.jobs)?;
    let t = JobsTexts::of(desk.language);
    let change = match list.status {
        Some(Status::Pending | Status::Running) => {
            Some(("cancel", t.cancel_all, t.without_replies))
        }
        Some(Status::Failed | Status::Cancelled) => Some(("retry", t.retry_all, t.without_retried)),
        _ => None,
    };
    let may_change = desk.may_change() && !desk.shows_all_sites();
    let bulk = change.filter(|_| may_change);
    let bulk = bulk.map(|(action, text, note)| Bulk {
        action,
        text,
        note,
        number: matching.unwrap_or(found.jobs.total),
        is_estimate: matching.is_none() && found.jobs.total_is_estimate,
    });
    desk.show(&JobsPage {
        frame: &desk.frame,
        t,
        tabs: tabs(db, desk, &list, &found.jobs).await?,
        events: desk.choices("event_type", EventType::ALL.map(EventType::name)),
        duplicates: found.today_skipped_duplicates,
        bulk: bulk.filter(|bulk| bulk.number > 0),
        found: found.jobs,
        desk,
    })
}

/// Retries or cancels all jobs of the list.
async fn change_all(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match try_change_all(&db, &queue, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            let matching = desk.fail_expecting(error, &form)?;
            page(&db, &desk, matching).await
        }
    }
}

async fn try_change_all(
    db: &Db,
    queue: &JobQueue,
    desk: &Desk,
    admin: &Admin,
    form: &FormText,
) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    let filter = JobFilter::parse(&desk.query)?;
    let expected = form.integer("expected", 1, 100_000)?;
    let expected = expected.ok_or(Error::invalid("expected", Reason::Missing))?;
    match form.text("do")? {
        Some("retry") => {
            let retried = jobs::retry_all(db, site_id, admin.user_id, &filter, expected).await?;
            queue.wake_for(retried).await;
            Ok(())
        }
        Some("cancel") => jobs::cancel_all(db, site_id, admin.user_id, &filter, expected)
            .await
            .map(drop),
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static JobsTexts,
    job: &'a JobWithRuns,
    item: &'a JobItem,
    steps: Vec<Step<'a>>,
    /// As text. `None` for viewers.
    payload: Option<String>,
}

/// A step of the chain.
struct Step<'a> {
    app: &'a str,
    /// A word of a status.
    status: &'static str,
    text: &'static str,
    runs: Vec<&'a RunOfJob>,
}

/// The steps of a job. A step that is done without a run used a valid result.
fn steps<'a>(t: &JobsTexts, job: &'a JobWithRuns) -> Vec<Step<'a>> {
    let done = usize::try_from(job.step).unwrap_or_default();
    let chain = job.summary.app_chain.iter().enumerate();
    let step = |(at, app): (usize, &'a String)| {
        let runs: Vec<_> = job.runs.iter().filter(|run| run.app_type == *app).collect();
        let (status, text) = match &*job.summary.status {
            _ if at < done && runs.is_empty() => ("success", t.step_skipped),
            _ if at < done => ("success", t.step_done),
            "running" if at == done => ("running", t.step_running),
            "failed" if at == done => ("failed", t.step_failed),
            "pending" | "running" => ("pending", t.step_left),
            _ => ("cancelled", t.step_not_run),
        };
        Step {
            app,
            status,
            text,
            runs,
        }
    };
    chain.map(step).collect()
}

async fn show(State(db): State<Db>, desk: Desk, path: PathText) -> Result<Response> {
    job_page(&db, &desk, path.id("id")?).await
}

async fn job_page(db: &Db, desk: &Desk, id: i64) -> Result<Response> {
    let job = jobs::find(db, desk.scope, id).await?;
    let t = JobsTexts::of(desk.language);
    let payload = (!desk.texts.are_hidden()).then(|| format!("{:#}", job.payload));
    desk.show(&JobPage {
        frame: &desk.frame,
        t,
        steps: steps(t, &job),
        payload,
        item: &job.summary,
        job: &job,
        desk,
    })
}

/// Retries a job, cancels it, or runs it now.
async fn change(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    mut desk: Desk,
    admin: Admin,
    path: PathText,
    form: FormText,
) -> Result<Response> {
    let id = path.id("id")?;
    match try_change(&db, &queue, &desk, &admin, id, &form).await {
        Ok(id) => Ok(redirect(&desk.to(format!("jobs/{id}")))),
        Err(error) => {
            desk.fail(error)?;
            job_page(&db, &desk, id).await
        }
    }
}

/// Returns the job to show: for a retry, the new one.
async fn try_change(
    db: &Db,
    queue: &JobQueue,
    desk: &Desk,
    admin: &Admin,
    id: i64,
    form: &FormText,
) -> Result<i64> {
    let site_id = admin.site_in(&desk.query)?;
    match form.text("do")? {
        Some("retry") => {
            let new = jobs::retry(db, site_id, admin.user_id, id).await?;
            queue.notify_workers(1).await;
            Ok(new)
        }
        Some("cancel") => {
            jobs::cancel(db, site_id, admin.user_id, id).await?;
            Ok(id)
        }
        Some("run-now") => {
            jobs::run_now(db, site_id, admin.user_id, id).await?;
            queue.notify_workers(1).await;
            Ok(id)
        }
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}
