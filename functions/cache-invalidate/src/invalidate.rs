//! `POST /api/admin/ai/cache/invalidate`.

use axum::extract::State;
use common::{
    Error, Result,
    governance::{apps::App, auth::Admin},
    insights::{apps, results},
    platform::{db::Db, error::Reason},
    web::{AdminProblem, AppWithResults, BodyFailures, Json},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[schema(as = InvalidateCacheBody)]
pub(crate) struct Body {
    /// Default: the site admin's own site. Required for a platform admin.
    site_id: Option<i64>,
    /// Only results of this app.
    #[schema(inline, value_type = Option<AppWithResults>)]
    app_type: Option<String>,
    /// Only results about this member.
    #[schema(minimum = 1)]
    member_id: Option<i64>,
    /// How many results become invalid. With another number, nothing changes: 409 with `matching`.
    /// Default: any number.
    #[schema(minimum = 0)]
    expected: Option<i64>,
}

/// The number of invalidated results.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invalidated {
    /// Results that were valid before.
    affected: i64,
}

/// Invalidates cached results of a site: all of them, or only those of an app, a member or both.
#[utoipa::path(
    post, path = "/api/admin/ai/cache/invalidate", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 200, body = Invalidated),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn invalidate_cache(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Json<Invalidated>> {
    let site_id = admin.site(body.site_id)?;
    let app = body.app_type.as_deref().map(cached_app).transpose()?;
    if body.member_id.is_some_and(|id| id < 1) {
        return Err(Error::invalid("member_id", Reason::Type));
    }
    let Body {
        member_id,
        expected,
        ..
    } = body;
    let affected =
        results::invalidate(&db, site_id, admin.user_id, app, member_id, expected).await?;
    Ok(Json(Invalidated { affected }))
}

/// Parses the name of an app whose results are cached.
fn cached_app(name: &str) -> Result<App> {
    apps::find_background(name).ok_or(Error::invalid("app_type", Reason::Unknown))
}
