//! `GET /api/xcx/chat/search`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    chat::conversations::{self, Hit, SearchText},
    governance::auth::Caller,
    platform::{db::Db, paging::Paging},
    web::{Json, Problem, QueryFailures, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// Messages that contain the text, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchPage {
    items: Vec<SearchHit>,
    /// A page without items may have one, because a request reads at most 20,000 messages.
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SearchHit {
    chat_id: i64,
    message_id: i64,
    /// The title of the conversation.
    title: String,
    /// At most 60 characters of the message.
    snippet: String,
    created_at: DateTime<Utc>,
}

impl From<Hit> for SearchHit {
    fn from(hit: Hit) -> Self {
        Self {
            chat_id: hit.conversation_id,
            message_id: hit.message_id,
            title: hit.title,
            snippet: hit.snippet,
            created_at: hit.created_at,
        }
    }
}

/// Searches the caller's messages and titles. Upper and lower case are the same.
#[utoipa::path(
    get, path = "/api/xcx/chat/search", tag = "chat", security(("bearer" = [])),
    params(
        ("q" = String, Query, description = "Any part of a message or of a title; 1 to 64 characters after trimming", min_length = 1, max_length = 64),
        ("page_size" = Option<i64>, Query, description = "Alias: `pageSize`", minimum = 1, maximum = 100),
        ("pageSize" = Option<i64>, Query, description = "Alias: `page_size`", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page, for the same `q`"),
    ),
    responses(
        (status = 200, body = SearchPage),
        QueryFailures<Problem>,
    ),
)]
pub(crate) async fn search_chats(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<SearchPage>> {
    let text = SearchText::parse(query.text("q")?)?;
    let paging = Paging::parse(&query, PAGE_SIZE, &text.cursor_scope(&caller))?;
    let found = conversations::search(&db, &caller, &text, &paging).await?;
    Ok(Json(SearchPage {
        items: found.items.into_iter().map(SearchHit::from).collect(),
        next_cursor: found.next_cursor,
    }))
}
