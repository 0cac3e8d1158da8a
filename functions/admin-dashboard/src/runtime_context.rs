//! `GET` and `PUT /api/admin/ai/runtime-context`: what day it is for a site.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        runtime_context::{self, Mode, RuntimeContext},
    },
    platform::{db::Db, error::Error},
    web::{AdminProblem, BodyFailures, ItemFailures, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A site's clock.
#[derive(Serialize, ToSchema)]
#[schema(as = RuntimeContext)]
pub(crate) struct ContextView {
    site_id: i64,
    /// `live` or `sandbox`.
    mode: String,
    /// The site's business date in the sandbox.
    #[schema(required)]
    sandbox_date: Option<NaiveDate>,
    #[schema(required)]
    updated_by: Option<i64>,
    #[schema(required)]
    updated_at: Option<DateTime<Utc>>,
}

/// Of one site, or of every site where a platform admin names none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Contexts {
    One(ContextView),
    All { items: Vec<ContextView> },
}

impl From<RuntimeContext> for ContextView {
    fn from(context: RuntimeContext) -> Self {
        Self {
            site_id: context.site_id,
            mode: context.mode,
            sandbox_date: context.sandbox_date,
            updated_by: context.updated_by,
            updated_at: context.updated_at,
        }
    }
}

/// The clock of a site, or the clocks of all.
#[utoipa::path(
    get, path = "/api/admin/ai/runtime-context", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, minimum = 1)),
    responses(
        (status = 200, body = Contexts),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_runtime_context(
    State(db): State<Db>,
    scope: SiteScope,
) -> Result<Json<Contexts>> {
    let mut items = runtime_context::contexts(&db, scope)
        .await?
        .into_iter()
        .map(ContextView::from);
    Ok(Json(match scope {
        SiteScope::One(_) => Contexts::One(items.next().ok_or(Error::NotFound)?),
        SiteScope::All => Contexts::All {
            items: items.collect(),
        },
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RuntimeContextBody)]
pub(crate) struct Body {
    /// A site admin's own, where it is left out.
    site_id: Option<i64>,
    /// `live` or `sandbox`.
    #[schema(required)]
    mode: Option<String>,
    /// `YYYY-MM-DD`, of this century; needed for `sandbox`, of no meaning for `live`.
    #[schema(value_type = Option<NaiveDate>)]
    sandbox_date: Option<String>,
}

/// Sets the clock of a site, at once.
#[utoipa::path(
    put, path = "/api/admin/ai/runtime-context", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = ContextView),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn set_runtime_context(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Json<ContextView>> {
    let site_id = admin.site(body.site_id)?;
    let mode = Mode::parse(body.mode.as_deref(), body.sandbox_date.as_deref())?;
    let set = runtime_context::set_context(&db, &admin, site_id, mode).await?;
    Ok(Json(set.into()))
}
