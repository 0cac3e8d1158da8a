//! `/console/results`: results of the apps. With a target, their history and what changed.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{
        apps::App,
        auth::{Admin, SiteScope},
    },
    insights::{
        apps,
        results::{self, ResultItem, ResultQuery, Status},
    },
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, PageStart, Paging},
    },
    web::FormText,
};
use serde_json::Value;

use crate::{
    Parts,
    desk::Desk,
    diff::{self, Line},
    format::{self, Choice, filters},
    frame::Frame,
    session::redirect,
    texts::ResultsTexts,
};

/// Results on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/results", get(show).post(invalidate))
}

#[derive(Template)]
#[template(path = "results.html")]
struct ResultsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static ResultsTexts,
    tabs: Vec<Choice>,
    apps: Vec<Choice>,
    found: &'a Page<ResultItem>,
    /// The result to read, on the page of a target.
    chosen: Option<Chosen<'a>>,
    /// What may be invalidated. `None` for all sites, and for users who may not change results.
    invalid: Option<Invalidation>,
}

impl ResultsPage<'_> {
    /// The link to a result in the history of its target.
    fn entry(&self, item: &ResultItem) -> String {
        let target = format::in_url(&item.target_id);
        let (app, id) = (&item.cache_type, item.id);
        let page = format!("results?app_type={app}&target_id={target}&entry={id}");
        self.desk.to_site(page, item.site_id)
    }

    /// True for a result that expired before its time, because a newer one was generated.
    fn is_replaced(&self, item: &ResultItem) -> bool {
        item.status == "expired" && item.expires_at.is_some_and(|at| at > self.desk.now())
    }

    /// The link to the page that generates a result again: a batch for a result about a member,
    /// the prewarm for finance.
    fn anew(&self, item: &ResultItem) -> Option<String> {
        let app = App::parse(&item.cache_type);
        let is_finance = matches!(app, Some(App::Finance | App::FinanceArea));
        if self.desk.may_change() && is_finance {
            return Some(self.desk.to_site("prewarm", item.site_id));
        }
        let member = item.target_id.strip_prefix("member:")?;
        let is_in_batches = apps::in_batches().any(|app| app.name() == item.cache_type);
        let page = format!("batches?app_type={}&members={member}", item.cache_type);
        (self.desk.may_change() && is_in_batches).then(|| self.desk.to_site(page, item.site_id))
    }
}

/// A result to read.
struct Chosen<'a> {
    item: &'a ResultItem,
    text: String,
    json: String,
    /// Compared with the previous result of the target. Empty if there is none.
    lines: Vec<Line>,
}

/// A result as text, with a line per field. Items of a list begin with a dash.
pub(crate) fn plain(value: &Value) -> String {
    lines(value).join("\n")
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match member {
                Value::Object(_) | Value::Array(_) => {
                    let nested = lines(member).into_iter().map(|line| format!("  {line}"));
                    std::iter::once(format!("{name}:")).chain(nested).collect()
                }
                _ => vec![format!("{name}: {}", lines(member).concat())],
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .flat_map(|item| {
                let lines = lines(item).into_iter().enumerate();
                lines.map(|(at, line)| format!("{} {line}", if at == 0 { "–" } else { " " }))
            })
            .collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => vec!["–".to_owned()],
        other => vec![other.to_string()],
    }
}

/// The valid results that a form invalidates.
struct Invalidation {
    app: Option<&'static str>,
    number: i64,
    is_estimate: bool,
    /// The member of the page's filter, and its valid results.
    of_member: Option<(i64, i64)>,
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk).await
}

async fn page(db: &Db, desk: &Desk) -> Result<Response> {
    let list = ResultQuery::parse(desk.scope, &desk.query)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = results::list(db, &list, &paging).await?;
    paging.reaches(&found)?;
    let entry = desk.query.integer("entry", 1, i64::MAX)?;
    let is_history = list.app.is_some() && list.target_id.is_some() && !desk.texts.are_hidden();
    let chosen = is_history.then(|| chosen(&found.items, entry)).flatten();
    desk.show(&ResultsPage {
        frame: &desk.frame,
        t: ResultsTexts::of(desk.language),
        tabs: desk.choices("status", Status::ALL.map(Status::name)),
        apps: desk.choices("app_type", apps::background().map(App::name)),
        chosen,
        invalid: invalidation(db, desk, &list).await?,
        found: &found,
        desk,
    })
}

/// The entry of a history that was asked for. Without one, the newest that is complete.
fn chosen(items: &[ResultItem], entry: Option<i64>) -> Option<Chosen<'_>> {
    let is_chosen = |item: &&ResultItem| entry.is_none_or(|id| id == item.id);
    let mut complete = items.iter().filter(|item| item.result.is_some());
    let item = complete.find(is_chosen)?;
    let result = item.result.as_ref()?;
    let json = format!("{result:#}");
    // The history may be of all sites.
    let previous = complete.find(|other| other.site_id == item.site_id);
    let previous = previous.and_then(|previous| previous.result.as_ref());
    Some(Chosen {
        item,
        text: plain(result),
        lines: previous.map_or_else(Vec::new, |old| diff::compare(&format!("{old:#}"), &json)),
        json,
    })
}

/// Counts the valid results of the page's app, or of the site, and those about its member.
async fn invalidation(db: &Db, desk: &Desk, list: &ResultQuery) -> Result<Option<Invalidation>> {
    let (true, SiteScope::One(site_id)) = (desk.may_change(), desk.scope) else {
        return Ok(None);
    };
    let valid = ResultQuery {
        status: Some(Status::Valid),
        target_id: None,
        ..list.clone()
    };
    let first = Paging {
        page: 1,
        size: 1,
        from: PageStart::Offset(0),
    };
    let valid = results::list(db, &valid, &first).await?;
    let mut of_member = None;
    if let Some(member_id) = desk.query.integer("member_id", 1, i64::MAX)? {
        let number = results::count_about_member(db, site_id, list.app, member_id).await?;
        of_member = Some((member_id, number));
    }
    Ok(Some(Invalidation {
        app: list.app.map(App::name),
        number: valid.total,
        is_estimate: valid.total_is_estimate,
        of_member,
    }))
}

/// Invalidates results of an app, of a member, or of the site.
async fn invalidate(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match try_invalidate(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.to("results?status=invalidated"))),
        Err(error) => {
            desk.fail_expecting(error, &form)?;
            page(&db, &desk).await
        }
    }
}

async fn try_invalidate(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    let app = form.one_of("app_type", apps::find_background)?;
    let member_id = form.integer("member_id", 1, i64::MAX)?;
    if app.is_none() && member_id.is_none() && form.text("whole_site")?.is_none() {
        return Err(Error::invalid("app_type", Reason::Missing));
    }
    let expected = form.integer("expected", 0, i64::MAX)?;
    results::invalidate(db, site_id, admin.user_id, app, member_id, expected)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_readable_as_text() {
        let result = json!({ "a": "x", "b": ["y", { "c": 1, "d": null }], "e": [] });
        assert_eq!(plain(&result), "a: x\nb:\n  – y\n  – c: 1\n    d: –\ne:");
    }
}
