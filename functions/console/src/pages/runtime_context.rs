//! `/console/runtime-context`: the mode and the business date of each site.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Result,
    governance::{
        auth::Admin,
        runtime_context::{self, Mode, RuntimeContext},
    },
    platform::db::Db,
    web::{FormText, QueryText},
};

use crate::{
    Parts, desk::Desk, format::filters, frame::Frame, session::redirect, texts::ContextTexts,
};

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/runtime-context", get(show).post(change))
}

#[derive(Template)]
#[template(path = "runtime_context.html")]
struct ContextPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static ContextTexts,
    rows: Vec<Row>,
}

/// A site, and the fields of its form.
struct Row {
    context: RuntimeContext,
    mode: String,
    date: String,
    /// True if the form of this site failed.
    has_failed: bool,
}

impl Row {
    fn of(context: RuntimeContext, form: Option<&QueryText>) -> Result<Self> {
        let (mode, date) = match form {
            Some(form) => (
                form.text("mode")?.unwrap_or_default().to_owned(),
                form.text("sandbox_date")?.unwrap_or_default().to_owned(),
            ),
            None => (
                context.mode.clone(),
                context
                    .sandbox_date
                    .map_or_else(String::new, |date| date.to_string()),
            ),
        };
        Ok(Self {
            context,
            mode,
            date,
            has_failed: form.is_some(),
        })
    }
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, None).await
}

/// Shows the page. `form` is the form that failed. Its site is the only one on the page.
async fn page(db: &Db, desk: &Desk, form: Option<&QueryText>) -> Result<Response> {
    let contexts = runtime_context::contexts(db, desk.scope).await?;
    let rows = contexts.into_iter().map(|context| Row::of(context, form));
    desk.show(&ContextPage {
        frame: &desk.frame,
        t: ContextTexts::of(desk.language),
        rows: rows.collect::<Result<_>>()?,
        desk,
    })
}

/// Sets the clock of a site.
async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match set(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.to("runtime-context"))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, Some(&form)).await
        }
    }
}

async fn set(db: &Db, desk: &Desk, admin: &Admin, form: &QueryText) -> Result<()> {
    let mode = Mode::parse(form.text("mode")?, form.text("sandbox_date")?)?;
    runtime_context::set_context(db, admin, admin.site_in(&desk.query)?, mode).await?;
    Ok(())
}
