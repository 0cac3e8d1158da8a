//! `/console/runs`: the run log, and a run with its prompt and answer.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Result,
    governance::{
        apps::App,
        runs::{self, Entry, LoggedRun, RunQuery, Status, Trigger},
    },
    platform::{
        db::Db,
        paging::{Page, Paging},
    },
    web::PathText,
};

use crate::{
    Parts,
    desk::Desk,
    format::{Choice, filters},
    frame::Frame,
    markdown,
    pages::exports,
    texts::RunsTexts,
};

/// Runs on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/runs", get(list))
        .route("/console/runs/{id}", get(show))
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
    /// The link to the table, and its days.
    csv: Option<(String, String)>,
}

/// Lists runs, newest first.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let list = RunQuery::parse(desk.scope, &desk.query)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = runs::list(&db, &list, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&RunsPage {
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
    fault: Option<&'static str>,
    /// The answer as HTML, if it is Markdown.
    answer: Option<String>,
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
    let run = runs::find(&db, desk.scope, path.id("id")?, desk.texts.seen_by()).await?;
    let t = RunsTexts::of(desk.language);
    let is_json = |text: &str| text.trim_start().starts_with(['{', '[']);
    let answer = run.response_text.as_deref().filter(|text| !is_json(text));
    desk.show(&RunPage {
        frame: &desk.frame,
        t,
        fault: fault(t, &run.entry),
        answer: answer
            .filter(|_| !desk.texts.are_hidden())
            .map(markdown::render),
        entry: &run.entry,
        run: &run,
        desk: &desk,
    })
}
