//! `GET /api/xcx/chat/openers` and `GET /api/xcx/chat/bots`.

use axum::extract::State;
use common::{
    Error, Result,
    chat::{
        bots,
        openers::{self, Place},
    },
    governance::auth::Caller,
    insights::pages::Page,
    platform::{db::Db, error::Reason},
    web::{Failures, Json, Problem, QueryFailures, QueryText},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Questions with which a chat may begin.
#[derive(Serialize, ToSchema)]
pub(crate) struct Openers {
    /// At most 6.
    items: Vec<String>,
}

/// Lists questions with which a chat may begin: those of the caller's site, or else those of all
/// sites.
#[utoipa::path(
    get, path = "/api/xcx/chat/openers", tag = "chat", security(("bearer" = [])),
    params(
        ("sourcePage" = Option<String>, Query, description = "`board-finance`, `board-customer`, `board-coach`, `task-detail`, `customer-detail`, `coach-detail` or `performance`"),
        ("botId" = Option<Uuid>, Query, description = "A bot; not with `sourcePage`"),
    ),
    responses(
        (status = 200, body = Openers),
        QueryFailures<Problem>,
    ),
)]
pub(crate) async fn list_openers(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<Openers>> {
    let page = query.one_of("sourcePage", Page::parse)?;
    let place = match (page, query.uuid("botId")?) {
        (None, None) => Place::Anywhere,
        (Some(page), None) => Place::Page(page),
        (None, Some(bot_id)) => Place::Bot(bot_id),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("botId", Reason::Exclusive("sourcePage")));
        }
    };
    let items = openers::list(&db, &caller, place).await?;
    Ok(Json(Openers { items }))
}

/// The bots that the caller may use.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatBots)]
pub(crate) struct Bots {
    items: Vec<Bot>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ChatBot)]
#[serde(rename_all = "camelCase")]
struct Bot {
    id: Uuid,
    name: String,
    /// Defaults to `name`.
    display_name: String,
    /// URL of an image.
    #[schema(required)]
    avatar: Option<String>,
    /// `active`.
    status: String,
}

impl From<bots::Bot> for Bot {
    fn from(bot: bots::Bot) -> Self {
        Self {
            id: bot.id,
            name: bot.name,
            display_name: bot.display_name,
            avatar: bot.avatar,
            status: bot.status,
        }
    }
}

/// Lists the bots that the caller may use.
#[utoipa::path(
    get, path = "/api/xcx/chat/bots", tag = "chat", security(("bearer" = [])),
    responses(
        (status = 200, body = Bots),
        Failures<Problem>,
    ),
)]
pub(crate) async fn list_chat_bots(State(db): State<Db>, caller: Caller) -> Result<Json<Bots>> {
    let found = bots::list(&db, &caller).await?;
    let items = found.into_iter().map(Bot::from).collect();
    Ok(Json(Bots { items }))
}
