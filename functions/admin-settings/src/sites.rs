//! `GET /api/admin/ai/sites`.

use axum::extract::State;
use common::{
    Result,
    governance::{
        auth::SiteScope,
        sites::{self, Site},
    },
    platform::db::Db,
    web::{AdminProblem, Json, QueryFailures},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct SiteView {
    id: i64,
    name: String,
    /// Such as `Asia/Shanghai`.
    timezone: String,
    /// `live` or `sandbox`.
    mode: String,
}

impl From<Site> for SiteView {
    fn from(site: Site) -> Self {
        Self {
            id: site.id,
            name: site.name,
            timezone: site.timezone,
            mode: site.mode,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SiteList {
    items: Vec<SiteView>,
}

/// Lists the sites of the admin.
#[utoipa::path(
    get, path = "/api/admin/ai/sites", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = SiteList),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_sites(State(db): State<Db>, scope: SiteScope) -> Result<Json<SiteList>> {
    let found = sites::list(&db, scope).await?;
    let items = found.into_iter().map(SiteView::from).collect();
    Ok(Json(SiteList { items }))
}
