//! Lists and sends messages of a conversation, without streaming.
//!
//! `GET /api/xcx/chat/{chatId}/messages` (CHAT-2a), `GET /api/xcx/chat/messages` (CHAT-2b)
//! and `POST /api/xcx/chat/{chatId}/messages` (CHAT-3).

mod send;
mod view;

use axum::extract::{FromRef, State};
use common::{
    Result,
    chat::{
        conversations::{self, Context, ContextType},
        messages::{self, Order},
        replies::Replies,
        sessions,
    },
    governance::auth::{Caller, Callers},
    platform::{
        db::Db,
        env::{ConfigError, Env},
        paging::Paging,
    },
    web::{ItemFailures, Json, PathText, Problem, QueryText},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use view::MessagesPage;

/// Messages on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 50;

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    replies: Replies,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, replies: Replies) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_messages, send::send_message))
        .routes(routes!(list_context_messages))
        .with_state(AppState {
            db,
            callers,
            replies,
        })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (db, callers, replies) = Replies::from_env(&env).await?;
    Ok(router(db, callers, replies))
}

/// Lists the messages of one of the caller's conversations.
#[utoipa::path(
    get, path = "/api/xcx/chat/{chatId}/messages", tag = "chat", security(("bearer" = [])),
    params(
        ("chatId" = i64, Path, minimum = 1, example = 1),
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Alias: `pageSize`", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Alias: `page_size`", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page; not with `page`"),
        ("order" = Option<String>, Query, description = "`asc`, oldest first (default), or `desc`"),
    ),
    responses(
        (status = 200, body = MessagesPage),
        ItemFailures<Problem>,
    ),
)]
async fn list_messages(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
    query: QueryText,
) -> Result<Json<MessagesPage>> {
    page(&db, &caller, path.id("chatId")?, &query).await
}

/// Lists the messages of the caller's conversation for a context. Creates the conversation if there
/// is none.
#[utoipa::path(
    get, path = "/api/xcx/chat/messages", tag = "chat", security(("bearer" = [])),
    params(
        ("contextType" = String, Query, description = "`general`, `task`, `customer`, `coach`, `board` or `bot`"),
        ("contextId" = String, Query, description = "Any string; may be empty only for `general` and `board`. The id of the bot for `bot`", max_length = 64),
        ("page" = Option<i64>, Query, description = "From 1", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Alias: `pageSize`", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Alias: `page_size`", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page; not with `page`"),
        ("order" = Option<String>, Query, description = "`asc`, oldest first (default), or `desc`"),
    ),
    responses(
        (status = 200, body = MessagesPage),
        ItemFailures<Problem>,
    ),
)]
async fn list_context_messages(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<MessagesPage>> {
    let kind = query.one_of("contextType", ContextType::parse)?;
    let context = Context::parse(kind, query.text("contextId")?)?;
    // An invalid request must not create a conversation.
    query.one_of("order", Order::parse)?;
    Paging::<i64>::check(&query)?;
    let chat_id = match context.bot_id()? {
        Some(bot_id) => sessions::open(&db, &caller, bot_id).await?,
        None => conversations::open(&db, &caller, &context).await?,
    };
    page(&db, &caller, chat_id, &query).await
}

async fn page(
    db: &Db,
    caller: &Caller,
    chat_id: i64,
    query: &QueryText,
) -> Result<Json<MessagesPage>> {
    let order = query
        .one_of("order", Order::parse)?
        .unwrap_or(Order::Ascending);
    let paging = Paging::parse(
        query,
        PAGE_SIZE,
        &messages::list_scope(caller, chat_id, order),
    )?;
    let found = messages::list(db, caller, chat_id, order, &paging).await?;
    Ok(Json(MessagesPage::new(chat_id, &paging, found)))
}
