//! `POST /api/admin/ai/cache/invalidate`: results that no longer hold.

use axum::extract::State;
use common::{
    Error, Result,
    governance::{apps::App, auth::Admin},
    insights::results,
    platform::{db::Db, error::Reason},
    web::{AdminProblem, BodyFailures, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[schema(as = InvalidateCacheBody)]
pub(crate) struct Body {
    /// A site admin's own, where it is left out.
    site_id: Option<i64>,
    /// Of this app alone.
    app_type: Option<String>,
    /// About this member alone.
    #[schema(minimum = 1)]
    member_id: Option<i64>,
}

/// What was invalidated.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invalidated {
    /// Results that held.
    affected: i64,
}

/// Says of results that they no longer hold: of all of a site, or of those of an app, about a member, or both.
#[utoipa::path(
    post, path = "/api/admin/ai/cache/invalidate", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = Invalidated),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn invalidate_cache(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Json<Invalidated>> {
    let site_id = admin.site(body.site_id)?;
    let app = body.app_type.as_deref().map(kept_app).transpose()?;
    if body.member_id.is_some_and(|id| id < 1) {
        return Err(Error::invalid("member_id", Reason::Type));
    }
    let affected = results::invalidate(&db, site_id, admin.user_id, app, body.member_id).await?;
    Ok(Json(Invalidated { affected }))
}

/// An app whose answers are kept.
fn kept_app(name: &str) -> Result<App> {
    results::apps()
        .find(|app| app.name() == name)
        .ok_or(Error::invalid("app_type", Reason::Unknown))
}
