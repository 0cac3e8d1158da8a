//! What users do with their conversations besides talking: the history (CHAT-1), search, export,
//! rename, pin, delete, feedback, reports, bots and openers. Also `GET /api/xcx/runtime-clock`,
//! `GET /api/xcx/ai-notice` and `GET /api/xcx/usage`.

mod chat;
mod export;
mod feedback;
mod notice;
mod openers;
mod reports;
mod runtime_clock;
mod search;
mod usage;

use axum::extract::{FromRef, State};
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::conversations::{self, Conversation},
    governance::{
        auth::{Caller, Callers, JwtSecrets},
        notice::Notice,
    },
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

/// Conversations on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    notice: Notice,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, notice: Notice) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_chats))
        .routes(routes!(
            chat::change_chat,
            chat::put_chat,
            chat::delete_chat
        ))
        .routes(routes!(search::search_chats))
        .routes(routes!(export::export_chats))
        .routes(routes!(openers::list_chat_bots))
        .routes(routes!(openers::list_openers))
        .routes(routes!(feedback::set_message_feedback))
        .routes(routes!(reports::create_report, reports::list_own_reports))
        .routes(routes!(runtime_clock::runtime_clock))
        .routes(routes!(usage::show_own_usage))
        .routes(routes!(notice::show_notice))
        .with_state(AppState {
            db,
            callers,
            notice,
        })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    let notice = Notice::from_env(&env)?;
    let callers = Callers::new(secrets, db.clone());
    Ok(router(db, callers, notice))
}

/// Lists the caller's conversations that have messages: pinned ones first, then newest activity
/// first.
#[utoipa::path(
    get, path = "/api/xcx/chat/history", tag = "chat", security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Alias: `pageSize`", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Alias: `page_size`", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = HistoryPage),
        QueryFailures<Problem>,
    ),
)]
async fn list_chats(
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

/// A page of conversations.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HistoryPage {
    items: Vec<HistoryItem>,
    /// Number of conversations that have a message.
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
    /// Id in the session API.
    session_id: Uuid,
    title: String,
    pinned: bool,
    context_type: String,
    context_id: String,
    /// The first 100 characters of the newest message that has text.
    last_message: String,
    /// When that message was stored. For a reply, when it began.
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
            pinned: conversation.pinned,
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
