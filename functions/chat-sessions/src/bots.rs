//! `GET /api/chat/bots`: lists bots.

use axum::extract::State;
use common::{
    Result,
    chat::bots,
    governance::auth::Caller,
    platform::db::Db,
    web::{Failures, Json, SessionProblem},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::Bot;

/// The bots that the caller may use.
#[derive(Serialize, ToSchema)]
pub(crate) struct Bots {
    bots: Vec<Bot>,
}

/// Lists the bots that the caller may use.
#[utoipa::path(
    get, path = "/api/chat/bots", tag = "sessions", security(("bearer" = [])),
    responses(
        (status = 200, body = Bots),
        Failures<SessionProblem>,
    ),
)]
pub(crate) async fn list_bots(State(db): State<Db>, caller: Caller) -> Result<Json<Bots>> {
    let found = bots::list(&db, &caller).await?;
    let bots = found.into_iter().map(Bot::from).collect();
    Ok(Json(Bots { bots }))
}
