//! `/console/alerts`: failed runs by cause.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{
        alerts::{self, Alert, AlertQuery, Decision, INTERVALS, Status, Timeline, Verdict},
        apps::App,
        auth::Admin,
    },
    platform::{
        dates::DateRange,
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};

use crate::{
    Parts,
    chart::{self, SPARK_HEIGHT},
    desk::Desk,
    format::{self, Choice, filters},
    frame::Frame,
    session::redirect,
    texts::AlertsTexts,
};

/// Causes on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/alerts", get(show).post(settle))
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static AlertsTexts,
    tabs: Vec<Choice>,
    apps: Vec<Choice>,
    found: Page<Alert>,
    timeline: Timeline,
}

impl AlertsPage<'_> {
    /// The runs of a cause.
    fn runs(&self, alert: &Alert) -> String {
        let (app, status) = (&alert.app_type, &alert.status);
        let code = alert.error_code.as_deref().map(format::in_url);
        let code = code.map_or_else(String::new, |code| format!("&error_code={code}"));
        let page = format!("runs?app_type={app}&status={status}{code}");
        self.desk.to_site(page, alert.site_id)
    }

    /// The bars of a cause over time.
    fn spark(&self, alert: &Alert) -> String {
        chart::spark(&self.timeline.of(alert))
    }

    /// The same as text: how many, and how many in the worst interval.
    fn spark_in_words(&self, alert: &Alert) -> String {
        let counts = self.timeline.of(alert);
        let sum: i64 = counts.iter().sum();
        let most = counts.iter().max().copied().unwrap_or_default();
        let (from, to) = (
            self.desk.time(self.timeline.from),
            self.desk.time(self.timeline.to),
        );
        let (sum, most) = (format::number(sum), format::number(most));
        format!("{from} – {to}: {sum}, {} {most}", self.t.at_most)
    }

    /// This page with its filters, for the form of an alert.
    fn form(&self, alert: &Alert) -> String {
        if self.desk.is_of_platform() {
            self.desk.with("site_id", alert.site_id)
        } else {
            self.desk.with("", "")
        }
    }
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk).await
}

async fn page(db: &Db, desk: &Desk) -> Result<Response> {
    let list = AlertQuery {
        group: true,
        ..AlertQuery::parse(desk.scope, &desk.query)?
    };
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = alerts::list(db, &list, &paging).await?;
    paging.reaches(&found)?;
    let timeline = alerts::timeline(db, &list, &found.items).await?;
    desk.show(&AlertsPage {
        timeline,
        frame: &desk.frame,
        t: AlertsTexts::of(desk.language),
        tabs: desk.choices("alert_status", Status::ALL.map(Status::name)),
        apps: desk.choices("app_type", App::ALL.map(App::name)),
        found,
        desk,
    })
}

/// Acknowledges or ignores an alert, or all of its cause.
async fn settle(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match try_settle(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail_expecting(error, &form)?;
            page(&db, &desk).await
        }
    }
}

/// The verdict of a button.
pub(crate) fn verdict(word: &str) -> Option<Verdict> {
    match word {
        "acknowledge" => Some(Verdict::Acknowledge),
        "ignore" => Some(Verdict::Ignore),
        _ => None,
    }
}

async fn try_settle(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    let id = form.integer("id", 1, i64::MAX)?;
    let id = id.ok_or(Error::invalid("id", Reason::Missing))?;
    let verdict = form.one_of("do", verdict)?;
    let verdict = verdict.ok_or(Error::invalid("do", Reason::Missing))?;
    let group = form.text("all")?.is_some();
    let decision = Decision {
        verdict,
        group,
        // The number on the page counts alerts of these dates only.
        dates: DateRange::parse(&desk.query)?,
        expected: form.integer("expected", 0, i64::MAX)?.filter(|_| group),
    };
    alerts::settle(db, site_id, admin.user_id, id, &decision)
        .await
        .map(drop)
}
