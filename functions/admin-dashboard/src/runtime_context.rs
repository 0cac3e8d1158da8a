//! `GET` and `PUT /api/admin/ai/runtime-context`: the clock settings of sites.

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

/// The clock settings of a site.
#[derive(Serialize, ToSchema)]
#[schema(as = RuntimeContext)]
pub(crate) struct ContextView {
    site_id: i64,
    /// `live` or `sandbox`.
    mode: String,
    /// The business date in the sandbox.
    #[schema(required)]
    sandbox_date: Option<NaiveDate>,
    #[schema(required)]
    updated_by: Option<i64>,
    #[schema(required)]
    updated_at: Option<DateTime<Utc>>,
}

/// The clock settings of one site. If a platform admin names no site, of all sites.
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

/// Returns the clock settings of a site, or of all sites.
#[utoipa::path(
    get, path = "/api/admin/ai/runtime-context", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
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
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
    /// `live` or `sandbox`.
    #[schema(required)]
    mode: Option<String>,
    /// `YYYY-MM-DD`, from 2000 to 2099. Required for `sandbox`, ignored for `live`.
    #[schema(value_type = Option<NaiveDate>)]
    sandbox_date: Option<String>,
}

/// Sets the clock of a site. Takes effect immediately.
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
