//! `POST /api/admin/ai/messages/{id}/block` and `…/unblock`.

use axum::extract::State;
use common::{
    Result,
    chat::messages,
    governance::auth::Admin,
    platform::db::Db,
    web::{AdminProblem, ItemFailures, Json, PathText, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether a message is blocked.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlockedMessage {
    id: i64,
    blocked: bool,
}

/// Blocks a message: lists show a fixed text instead, and no prompt contains it. Safe to repeat.
#[utoipa::path(
    post, path = "/api/admin/ai/messages/{id}/block", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 200, body = BlockedMessage),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem, description = "The reply is being made"),
    ),
)]
pub(crate) async fn block_message(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<Json<BlockedMessage>> {
    set(&db, &admin, &path, &query, true).await
}

/// Unblocks a message. Safe to repeat.
#[utoipa::path(
    post, path = "/api/admin/ai/messages/{id}/unblock", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 200, body = BlockedMessage),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem, description = "The reply is being made"),
    ),
)]
pub(crate) async fn unblock_message(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<Json<BlockedMessage>> {
    set(&db, &admin, &path, &query, false).await
}

async fn set(
    db: &Db,
    admin: &Admin,
    path: &PathText,
    query: &QueryText,
    blocked: bool,
) -> Result<Json<BlockedMessage>> {
    let site_id = admin.site_in(query)?;
    let id = path.id("id")?;
    messages::set_blocked(db, site_id, admin.user_id, id, blocked).await?;
    Ok(Json(BlockedMessage { id, blocked }))
}
