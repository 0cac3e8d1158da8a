//! `PATCH`, `PUT` and `DELETE /api/xcx/chat/{chatId}`.

use axum::{extract::State, http::StatusCode};
use common::{
    Error, Result,
    chat::{
        conversations::{self, Change},
        titles::Title,
    },
    governance::auth::Caller,
    platform::{db::Db, error::Reason},
    web::{BodyFailures, ItemFailures, Json, PathText, Problem},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::HistoryItem;

#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeChatBody)]
pub(crate) struct Body {
    /// 1 to 100 characters after trimming.
    #[schema(min_length = 1, max_length = 100)]
    title: Option<String>,
    /// Pinned conversations come first in the history.
    pinned: Option<bool>,
}

impl Body {
    fn parse(self) -> Result<Change> {
        if self.title.is_none() && self.pinned.is_none() {
            return Err(Error::invalid("title", Reason::Missing));
        }
        Ok(Change {
            title: self.title.as_deref().map(Title::parse).transpose()?,
            pinned: self.pinned,
        })
    }
}

/// Renames or pins one of the caller's conversations. Safe to repeat.
#[utoipa::path(
    patch, path = "/api/xcx/chat/{chatId}", tag = "chat", security(("bearer" = [])),
    params(("chatId" = i64, Path, minimum = 1, example = 1)),
    request_body = Body,
    responses(
        (status = 200, body = HistoryItem),
        BodyFailures<Problem>,
    ),
)]
pub(crate) async fn change_chat(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
    Json(body): Json<Body>,
) -> Result<Json<HistoryItem>> {
    let chat_id = path.id("chatId")?;
    let conversation = conversations::change(&db, &caller, chat_id, &body.parse()?).await?;
    Ok(Json(conversation.into()))
}

/// The same as `PATCH`, for clients whose HTTP library lacks that method, such as `wx.request`.
#[utoipa::path(
    put, path = "/api/xcx/chat/{chatId}", tag = "chat", security(("bearer" = [])),
    params(("chatId" = i64, Path, minimum = 1, example = 1)),
    request_body = Body,
    responses(
        (status = 200, body = HistoryItem),
        BodyFailures<Problem>,
    ),
)]
pub(crate) async fn put_chat(
    db: State<Db>,
    caller: Caller,
    path: PathText,
    body: Json<Body>,
) -> Result<Json<HistoryItem>> {
    change_chat(db, caller, path, body).await
}

/// Deletes one of the caller's conversations with its messages.
#[utoipa::path(
    delete, path = "/api/xcx/chat/{chatId}", tag = "chat", security(("bearer" = [])),
    params(("chatId" = i64, Path, minimum = 1, example = 1)),
    responses(
        (status = 204, description = "The conversation was deleted"),
        ItemFailures<Problem>, (status = 409, body = Problem, description = "A reply is being made"),
    ),
)]
pub(crate) async fn delete_chat(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
) -> Result<StatusCode> {
    conversations::delete(&db, &caller, path.id("chatId")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
