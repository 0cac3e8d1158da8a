//! `/console/runs`: the run log, and a run with its prompt and answer.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{
        alerts::{self, Decision},
        apps::App,
        auth::{Admin, SiteScope},
        runs::{self, Entry, LoggedRun, RunQuery, Status, Trigger},
        usage::{self, Health},
    },
    insights::results::{self, ResultOfRun},
    platform::{
        dates::DateRange,
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::{FormText, PathText},
};

use crate::{
    Parts,
    desk::Desk,
    diff::{self, Line},
    format::{self, Choice, filters},
    frame::Frame,
    markdown,
    names::Names,
    pages::{alerts::verdict, exports},
    session::redirect,
    texts::RunsTexts,
};

/// Runs on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/runs", get(list))
        .route("/console/runs/{id}", get(show).post(settle))
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static RunsTexts,
    apps: Vec<Choice>,
    statuses: Vec<Choice>,
    triggers: Vec<Choice>,
    found: Page<Entry>,
    names: Names,
    /// The link to the table, and its days.
    csv: Option<(String, String)>,
}

/// Lists runs, newest first.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let list = RunQuery::parse(desk.scope, &desk.query)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = runs::list(&db, &list, &paging).await?;
    paging.reaches(&found)?;
    let names = Names::load(&db, found.items.iter().filter_map(|run| run.user_id)).await?;
    desk.show(&RunsPage {
        names,
        frame: &desk.frame,
        t: RunsTexts::of(desk.language),
        apps: desk.choices("app_type", App::ALL.map(App::name)),
        statuses: desk.choices("status", Status::ALL.map(Status::name)),
        triggers: desk.choices("trigger_type", Trigger::ALL.map(Trigger::name)),
        found,
        csv: exports::link_to_runs(&desk),
        desk: &desk,
    })
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static RunsTexts,
    run: &'a LoggedRun,
    entry: &'a Entry,
    names: Names,
    fault: Option<&'static str>,
    /// The app's health at the site, if the run failed. It says whether the problem is over.
    now: Option<Health>,
    /// The answer as HTML, if it is Markdown.
    answer: Option<String>,
    /// The result that the run made.
    result: Option<ResultOfRun>,
    /// The result compared with the previous one of the same target.
    lines: Vec<Line>,
}

impl RunPage<'_> {
    /// The results of the target of the run.
    fn results(&self, result: &ResultOfRun) -> String {
        let target = format::in_url(&result.target_id);
        let page = format!("results?app_type={}&target_id={target}", result.cache_type);
        self.desk.to_site(page, self.entry.site_id)
    }
}

/// Whose fault a failed run is, as a sentence.
fn fault(t: &RunsTexts, entry: &Entry) -> Option<&'static str> {
    if entry.status == "success" || entry.status == "stopped" || entry.status == "running" {
        return None;
    }
    let code = entry.error_code.as_deref().unwrap_or(&entry.status);
    Some(match code {
        "bad_answer" | "content_blocked" => t.fault_answer,
        "budget_exceeded" | "quota_exceeded" | "rate_limited" => t.fault_limit,
        "circuit_open" | "timeout" | "upstream_timeout" | "stream_idle_timeout" => t.fault_upstream,
        code if code.starts_with("upstream") => t.fault_upstream,
        _ => t.fault_own,
    })
}

/// Shows a run. The audit log records each reader of a prompt.
async fn show(State(db): State<Db>, desk: Desk, path: PathText) -> Result<Response> {
    run_page(&db, &desk, path.id("id")?).await
}

async fn run_page(db: &Db, desk: &Desk, id: i64) -> Result<Response> {
    let run = runs::find(db, desk.scope, id, desk.texts.seen_by()).await?;
    let result = results::of_run(db, run.entry.site_id, id).await?;
    let compared = result.as_ref().filter(|_| !desk.texts.are_hidden());
    let lines = compared.map_or_else(Vec::new, |result| {
        let compare = |old| diff::compare(&format!("{old:#}"), &format!("{:#}", result.result));
        result.previous.as_ref().map_or_else(Vec::new, compare)
    });
    let t = RunsTexts::of(desk.language);
    let fault = fault(t, &run.entry);
    let now = match fault {
        Some(_) => usage::health(db, SiteScope::One(run.entry.site_id))
            .await?
            .into_iter()
            .find(|app| app.app == run.entry.app_type),
        None => None,
    };
    let names = Names::load(db, run.entry.user_id).await?;
    let is_json = |text: &str| text.trim_start().starts_with(['{', '[']);
    let answer = run.response_text.as_deref().filter(|text| !is_json(text));
    desk.show(&RunPage {
        frame: &desk.frame,
        t,
        fault,
        now,
        answer: answer
            .filter(|_| !desk.texts.are_hidden())
            .map(markdown::render),
        entry: &run.entry,
        names,
        run: &run,
        result,
        lines,
        desk,
    })
}

/// Acknowledges or ignores the alert of a run.
async fn settle(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    path: PathText,
    form: FormText,
) -> Result<Response> {
    let id = path.id("id")?;
    match try_settle(&db, &desk, &admin, id, &form).await {
        Ok(()) => Ok(redirect(&desk.to(format!("runs/{id}")))),
        Err(error) => {
            desk.fail(error)?;
            run_page(&db, &desk, id).await
        }
    }
}

async fn try_settle(db: &Db, desk: &Desk, admin: &Admin, id: i64, form: &FormText) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    let verdict = form.one_of("do", verdict)?;
    let decision = Decision {
        verdict: verdict.ok_or(Error::invalid("do", Reason::Missing))?,
        group: false,
        dates: DateRange::default(),
        expected: None,
    };
    alerts::settle(db, site_id, admin.user_id, id, &decision)
        .await
        .map(drop)
}
