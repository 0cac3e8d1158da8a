//! `/console/insights`: one result as staff read it, for the cards beside replies in the chat.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use common::{
    Error, Result,
    governance::{
        apps::App,
        auth::{Caller, SiteScope, User},
        feedback::{Feedback, Rating},
        sites,
    },
    insights::{
        facts::Period,
        insight::{Filters, Insight, Insights, Selection, State as InsightState},
    },
    platform::error::Reason,
    web::{FormText, QueryText},
};
use http::{HeaderMap, StatusCode, Uri};

use crate::{
    Parts, error_pages,
    format::in_url,
    frame::Frame,
    pages::results::plain,
    session::{may_read_desk, redirect},
    texts::InsightTexts,
    words,
};

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/insights", get(show).post(rate))
}

#[derive(Template)]
#[template(path = "insight.html")]
struct InsightPage {
    frame: Frame,
    t: &'static InsightTexts,
    app: &'static str,
    state: &'static str,
    insight: Insight,
    /// The result as text. `None` if there is none to show.
    text: Option<String>,
    label: String,
    /// When the generation of the result started, in the zone of the site.
    generated_at: Option<String>,
    /// This page, for its form.
    here: String,
    /// The results of the target, for users who may see the other pages.
    results: Option<String>,
}

/// The parameters `app` and `target`, such as `member:7` or `this_month:all`.
fn selection(query: &QueryText) -> Result<(App, &str, Selection)> {
    let missing = |name: &'static str| Error::invalid(name, Reason::Missing);
    let app = query.one_of("app", App::parse)?.ok_or(missing("app"))?;
    let target = query.text("target")?.ok_or(missing("target"))?;
    let unknown = || Error::invalid("target", Reason::Unknown);
    let id = |id: &str| {
        let id = id.parse::<i64>().ok().filter(|id| *id > 0);
        id.ok_or_else(unknown).map(Some)
    };
    let (kind, rest) = target.split_once(':').unwrap_or((target, ""));
    let mut filters = Filters::default();
    match kind {
        "member" => filters.member_id = id(rest)?,
        "task" => filters.task_id = id(rest)?,
        "note" => filters.note_id = id(rest)?,
        period => {
            filters.period = Some(Period::parse(period).ok_or_else(unknown)?);
            filters.area = Some(rest.to_owned()).filter(|area| !area.is_empty());
        }
    }
    Ok((app, target, Selection::of_app(app, &filters)?))
}

/// Shows the insight to a user who may read it.
async fn show(
    State(parts): State<Parts>,
    uri: Uri,
    headers: HeaderMap,
    user: User,
    caller: Caller,
    query: QueryText,
) -> Result<Response> {
    let (app, target, selection) = selection(&query)?;
    let found = parts.insights.list(&caller, &selection).await?;
    let insight = found.into_iter().next().ok_or(Error::NotFound)?;
    let frame = Frame::of(&headers, uri.path());
    let language = frame.language;
    let sites = sites::list(&parts.db, SiteScope::One(caller.site_id)).await?;
    let zone = sites.first().and_then(|site| site.timezone.parse().ok());
    let zone: Tz = zone.unwrap_or(Tz::UTC);
    let time = |at: DateTime<Utc>| at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
    let (name, target) = (app.name(), in_url(target));
    let page = InsightPage {
        t: InsightTexts::of(language),
        app: words::in_language(language, name),
        state: words::in_language(language, InsightState::name(insight.state)),
        text: insight.result.as_ref().map(plain),
        label: parts.notice.label.as_str().to_owned(),
        generated_at: insight.generated_at.map(time),
        here: format!("insights?app={name}&target={target}"),
        results: may_read_desk(&user)
            .then(|| format!("results?app_type={name}&target_id={target}")),
        insight,
        frame,
    };
    error_pages::html(StatusCode::OK, &page)
}

/// Rates the result, or removes the rating.
async fn rate(
    State(insights): State<Insights>,
    caller: Caller,
    query: QueryText,
    form: FormText,
) -> Result<Response> {
    let (app, target, _) = selection(&query)?;
    let id = form.integer("id", 1, i64::MAX)?;
    let id = id.ok_or(Error::invalid("id", Reason::Missing))?;
    let rating = match form.text("do")? {
        Some("remove") => None,
        Some(word) => Some(Rating::parse(word).ok_or(Error::invalid("do", Reason::Unknown))?),
        None => return Err(Error::invalid("do", Reason::Missing)),
    };
    let feedback = rating.map(|rating| Feedback {
        rating,
        reasons: Vec::new(),
        comment: None,
    });
    insights
        .set_feedback(&caller, id, feedback.as_ref())
        .await?;
    let target = in_url(target);
    Ok(redirect(&format!(
        "insights?app={}&target={target}",
        app.name()
    )))
}
