//! `GET /api/xcx/chat/history`: a user's conversations, newest activity first (CHAT-1), and
//! `GET /api/xcx/runtime-clock`: what day it is for the user's site.

mod runtime_clock;

use axum::extract::{FromRef, State};
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::conversations::{self, Conversation},
    governance::auth::{Caller, Callers, JwtSecrets},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        paging::Paging,
    },
    web::{Json, Problem, QueryFailures, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// Conversations on a page, unless the client asks for another number.
const PAGE_SIZE: i64 = 20;

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_history))
        .routes(routes!(runtime_clock::runtime_clock))
        .with_state(AppState { db, callers })
}

/// The function's routes, with the tools that the environment describes.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    Ok(router(db.clone(), Callers::new(secrets, db)))
}

/// Lists the caller's conversations that are not empty, newest activity first.
#[utoipa::path(
    get, path = "/api/xcx/chat/history", tag = "chat", security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Also spelt pageSize", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Also spelt page_size", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before; not with `page`"),
    ),
    responses(
        (status = 200, body = HistoryPage),
        QueryFailures<Problem>,
    ),
)]
async fn list_history(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<HistoryPage>> {
    let paging = Paging::parse(&query, PAGE_SIZE, &conversations::list_scope(&caller))?;
    let found = conversations::list(&db, &caller, &paging).await?;
    Ok(Json(HistoryPage {
        items: found.items.into_iter().map(HistoryItem::from).collect(),
        total: found.total,
        page: paging.page,
        page_size: paging.size,
        next_cursor: found.next_cursor,
    }))
}

/// A page of the history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryPage {
    items: Vec<HistoryItem>,
    /// All conversations that have a message.
    total: i64,
    page: i64,
    page_size: i64,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A conversation in the history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryItem {
    id: i64,
    /// The id that the session API knows it by.
    session_id: Uuid,
    title: String,
    context_type: String,
    context_id: String,
    /// At most 100 characters.
    last_message: String,
    /// When that was stored; of a reply, when it began.
    #[schema(required)]
    last_message_at: Option<DateTime<Utc>>,
    message_count: i64,
    unread_count: i64,
    created_at: DateTime<Utc>,
}

impl From<Conversation> for HistoryItem {
    fn from(conversation: Conversation) -> Self {
        Self {
            id: conversation.id,
            session_id: conversation.public_id,
            title: conversation.title,
            context_type: conversation.context_type,
            context_id: conversation.context_id,
            last_message: conversation.last_message,
            last_message_at: conversation.last_message_at,
            message_count: conversation.message_count,
            unread_count: conversation.unread_count,
            created_at: conversation.created_at,
        }
    }
}
