//! `DELETE /api/admin/ai/users/{id}/data`.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::user_data,
    governance::auth::Admin,
    platform::db::Db,
    web::{AdminProblem, ItemFailures, Json, PathText, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A request that is executed in the background.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserDataDeletion {
    user_id: i64,
    requested_at: DateTime<Utc>,
    /// True if the user remains disabled afterwards.
    keep_disabled: bool,
}

/// Deletes the data of a user in the background: conversations, feedback, prompts and answers. The
/// user is disabled until it is done. Safe to repeat.
#[utoipa::path(
    delete, path = "/api/admin/ai/users/{id}/data", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
        ("keep_disabled" = Option<bool>, Query, description = "true: the user remains disabled afterwards"),
    ),
    responses(
        (status = 202, body = UserDataDeletion),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem, description = "The admin itself"),
    ),
)]
pub(crate) async fn delete_user_data(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<UserDataDeletion>)> {
    let (site_id, user_id) = (admin.site_in(&query)?, path.id("id")?);
    let keep_disabled = query.one_of("keep_disabled", |word| word.parse().ok())?;
    let keep_disabled = keep_disabled.unwrap_or_default();
    let deletion =
        user_data::request_deletion(&db, site_id, admin.user_id, user_id, keep_disabled).await?;
    let body = UserDataDeletion {
        user_id: deletion.user_id,
        requested_at: deletion.requested_at,
        keep_disabled: deletion.keep_disabled,
    };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
