//! `/console/reports`: complaints of users.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{DateTime, Utc};
use common::{
    Error, Result,
    chat::{self, messages},
    governance::{
        auth::Admin,
        reports::{self, Report, ReportAnswer, ReportQuery, ReportedText, State as Progress},
    },
    platform::{
        clock,
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};

use crate::{
    Parts,
    desk::Desk,
    format::filters,
    frame::Frame,
    names::Names,
    pages::forms::{self, ALL, Sent, filter_or},
    session::redirect,
    texts::ReportsTexts,
};

/// Reports on a page. Each has the text that it is about.
const PAGE_SIZE: i64 = 20;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/reports", get(list).post(change))
}

#[derive(Template)]
#[template(path = "reports.html")]
struct ReportsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static ReportsTexts,
    tabs: [Tab; 3],
    found: Page<ReportedText>,
    names: Names,
    sent: &'a Sent,
    now: DateTime<Utc>,
}

struct Tab {
    state: &'static str,
    text: &'static str,
    is_current: bool,
}

impl ReportsPage<'_> {
    fn is_overdue(&self, report: &Report) -> bool {
        report.resolved_at.is_none() && report.due_at < self.now
    }
}

/// Lists reports, overdue ones first. Without a filter, only open ones.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let list = ReportQuery {
        scope: desk.scope,
        state: filter_or(desk, "state", Progress::parse, Progress::Open)?,
    };
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = reports::list(db, &list, &paging).await?;
    paging.reaches(&found)?;
    let names = Names::load(db, found.items.iter().map(|item| item.report.user_id)).await?;
    let t = ReportsTexts::of(desk.language);
    let shown = list.state.map_or(ALL, Progress::name);
    let tabs = [
        (Progress::Open.name(), t.open),
        (Progress::Resolved.name(), t.resolved),
        (ALL, desk.common.all),
    ];
    desk.show(&ReportsPage {
        frame: &desk.frame,
        t,
        tabs: tabs.map(|(state, text)| Tab {
            state,
            text,
            is_current: state == shown,
        }),
        found,
        names,
        sent,
        now: clock::now(),
        desk,
    })
}

/// Resolves a report, or blocks or unblocks a message.
async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form)).await
        }
    }
}

async fn apply(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    let id = |name| forms::id(form, name);
    match form.text("do")? {
        Some("resolve") => {
            let answer = ReportAnswer::parse(form.text("answer")?)?;
            let block = forms::is_checked(form, "block")?;
            let user_id = admin.user_id;
            chat::reports::resolve(db, site_id, user_id, id("id")?, &answer, block).await?;
            Ok(())
        }
        Some(verb @ ("block" | "unblock")) => {
            let blocked = verb == "block";
            messages::set_blocked(db, site_id, admin.user_id, id("message_id")?, blocked).await
        }
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}
