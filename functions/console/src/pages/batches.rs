//! `/console/batches`: the same apps for many members, from the estimate to the end.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{apps::App, auth::Admin, usage::fraction},
    insights::{
        apps,
        batches::{self, Batch, NewBatch, Spent},
    },
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, Paging},
        sqs::JobQueue,
    },
    web::{FormText, PathText},
};
use uuid::Uuid;

use crate::{
    Parts, desk::Desk, format::filters, frame::Frame, names::Names, session::redirect,
    texts::BatchesTexts,
};

/// Batches on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/batches", get(list).post(estimate))
        .route("/console/batches/{id}", get(show).post(change))
}

#[derive(Template)]
#[template(path = "batches.html")]
struct BatchesPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BatchesTexts,
    found: Page<Batch>,
    names: Names,
    /// Name of each app that a batch may call, and whether it is checked.
    apps: Vec<(&'static str, bool)>,
    members: String,
    most: usize,
}

async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let checked = desk.value("app_type").to_owned();
    page(&db, &desk, &[&checked], desk.value("members")).await
}

async fn page(db: &Db, desk: &Desk, checked: &[&str], members: &str) -> Result<Response> {
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &batches::cursor_scope(desk.scope))?;
    let found = batches::list(db, desk.scope, &paging).await?;
    paging.reaches(&found)?;
    let names = Names::load(db, found.items.iter().map(|batch| batch.created_by)).await?;
    desk.show(&BatchesPage {
        names,
        frame: &desk.frame,
        t: BatchesTexts::of(desk.language),
        found,
        apps: apps::in_batches()
            .map(App::name)
            .map(|app| (app, checked.contains(&app)))
            .collect(),
        members: members.to_owned(),
        most: batches::MAX_MEMBERS,
        desk,
    })
}

/// Estimates a batch, and leads to its page.
async fn estimate(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match try_estimate(&db, &desk, &admin, &form).await {
        Ok(id) => Ok(redirect(&desk.to(format!("batches/{id}")))),
        Err(error) => {
            desk.fail(error)?;
            let members = form.text("members")?.unwrap_or_default();
            page(&db, &desk, &form.all("app_types")?, members).await
        }
    }
}

async fn try_estimate(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<Uuid> {
    let site_id = admin.site_in(&desk.query)?;
    let apps: Vec<String> = form
        .all("app_types")?
        .into_iter()
        .map(str::to_owned)
        .collect();
    let members = member_ids(form.text("members")?.unwrap_or_default())?;
    let batch = NewBatch::parse(&apps, members)?;
    let estimate = batches::estimate(db, site_id, admin.user_id, &batch).await?;
    Ok(estimate.batch_id)
}

/// The numbers in a text, with any separators. A number that occurs twice counts once.
fn member_ids(text: &str) -> Result<Vec<i64>> {
    let numbers = text.split(|letter: char| !letter.is_ascii_digit());
    let numbers = numbers.filter(|number| !number.is_empty()).map(str::parse);
    let mut ids = numbers
        .collect::<Result<Vec<i64>, _>>()
        .map_err(|_| Error::invalid("member_ids", Reason::Type))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BatchesTexts,
    batch: &'a Batch,
    names: Names,
    ended: i64,
    /// Tokens left in the budget beside the confirmed batches, and the share of an estimate.
    left: i64,
    share: Option<f64>,
    /// `None` before the confirmation.
    spent: Option<Spent>,
}

impl BatchPage<'_> {
    /// The jobs of this batch, with a status unless it is empty.
    fn jobs(&self, status: &str) -> String {
        let mut page = format!("jobs?batch_id={}", self.batch.id);
        if !status.is_empty() {
            page = format!("{page}&status={status}");
        }
        self.desk.to_site(page, self.batch.site_id)
    }
}

async fn show(State(db): State<Db>, desk: Desk, path: PathText) -> Result<Response> {
    batch_page(&db, &desk, path.uuid("id")?).await
}

async fn batch_page(db: &Db, desk: &Desk, id: Uuid) -> Result<Response> {
    let batch = batches::find(db, desk.scope, id).await?;
    let left = batches::budget_left(db, batch.site_id).await?;
    let is_estimate = batch.status == "estimated";
    let spent = match batch.confirmed_at {
        Some(_) => Some(batches::spent(db, &batch).await?),
        None => None,
    };
    desk.show(&BatchPage {
        frame: &desk.frame,
        t: BatchesTexts::of(desk.language),
        ended: batch.done + batch.failed + batch.cancelled,
        left,
        share: is_estimate.then(|| fraction(batch.estimated_tokens, left)),
        spent,
        names: Names::load(db, [batch.created_by]).await?,
        batch: &batch,
        desk,
    })
}

/// Confirms a batch, or cancels the rest of it.
async fn change(
    State(db): State<Db>,
    State(queue): State<JobQueue>,
    mut desk: Desk,
    admin: Admin,
    path: PathText,
    form: FormText,
) -> Result<Response> {
    let id = path.uuid("id")?;
    match try_change(&db, &queue, &desk, &admin, id, &form).await {
        Ok(()) => Ok(redirect(&desk.to(format!("batches/{id}")))),
        Err(error) => {
            desk.fail(error)?;
            batch_page(&db, &desk, id).await
        }
    }
}

async fn try_change(
    db: &Db,
    queue: &JobQueue,
    desk: &Desk,
    admin: &Admin,
    id: Uuid,
    form: &FormText,
) -> Result<()> {
    let site_id = admin.site_in(&desk.query)?;
    match form.text("do")? {
        Some("confirm") => {
            let jobs = batches::confirm(db, site_id, admin.user_id, id).await?;
            queue.wake_for(jobs).await;
            Ok(())
        }
        Some("cancel") => batches::cancel(db, site_id, admin.user_id, id)
            .await
            .map(drop),
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_may_be_pasted_with_anything_between_them() {
        assert_eq!(member_ids("7, 8；9\n10 8").unwrap(), [7, 8, 9, 10]);
        assert_eq!(member_ids("会员").unwrap(), [0; 0]);
        assert!(member_ids("99999999999999999999").is_err());
    }
}
