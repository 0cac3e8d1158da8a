//! `GET` and `POST /api/chat/sessions`: lists and creates sessions.

use axum::{extract::State, http::StatusCode};
use common::{
    Error, Result,
    chat::sessions::{self, SessionQuery, Status, Title},
    governance::auth::Caller,
    platform::{db::Db, error::Reason, paging::Slice},
    web::{self, BodyFailures, Json, QueryFailures, QueryText, SessionProblem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::view::{ListedSession, Session};

/// Sessions on a page, unless the client requests another number.
const LIMIT: i64 = 20;

/// A page of the caller's sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsPage {
    sessions: Vec<ListedSession>,
    /// Number of sessions that match the filters.
    total: i64,
    limit: i64,
    /// 0 if a cursor was given.
    offset: i64,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Lists the caller's sessions, newest activity first.
#[utoipa::path(
    get, path = "/api/chat/sessions", tag = "sessions", security(("bearer" = [])),
    params(
        ("status" = Option<String>, Query, description = "`active`, `paused` or `closed`"),
        ("bot_id" = Option<uuid::Uuid>, Query, description = "Only sessions with this bot"),
        ("limit" = Option<usize>, Query, description = "Default 20; values over 100 mean 100", minimum = 1),
        ("offset" = Option<i64>, Query, description = "Sessions to skip", minimum = 0),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `offset`"),
    ),
    responses(
        (status = 200, body = SessionsPage),
        QueryFailures<SessionProblem>,
    ),
)]
pub(crate) async fn list_sessions(
    State(db): State<Db>,
    caller: Caller,
    query: QueryText,
) -> Result<Json<SessionsPage>> {
    let status = query.one_of("status", Status::parse)?;
    let bot_id = query.uuid("bot_id")?;
    let scope = SessionQuery::scope(&caller, status, bot_id);
    let Slice {
        limit,
        offset,
        from,
    } = Slice::parse(&query, LIMIT, &scope)?;
    let query = SessionQuery {
        status,
        bot_id,
        limit,
        from,
    };
    let found = sessions::list(&db, &caller, &query).await?;
    Ok(Json(SessionsPage {
        sessions: found.items.into_iter().map(ListedSession::from).collect(),
        total: found.total,
        limit,
        offset,
        next_cursor: found.next_cursor,
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = CreateSessionBody)]
pub(crate) struct Body {
    #[schema(required, value_type = uuid::Uuid)]
    bot_id: Option<String>,
    /// 1 to 100 characters after trimming. Default: `Chat with <bot name>`.
    #[schema(min_length = 1, max_length = 100)]
    title: Option<String>,
}

/// A new session.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedSession)]
pub(crate) struct Created {
    session: Session,
    message: &'static str,
}

/// Creates a session with a bot.
#[utoipa::path(
    post, path = "/api/chat/sessions", tag = "sessions", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = Created),
        BodyFailures<SessionProblem>,
    ),
)]
pub(crate) async fn create_session(
    State(db): State<Db>,
    caller: Caller,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<Created>)> {
    let bot_id = body
        .bot_id
        .ok_or(Error::invalid("bot_id", Reason::Missing))?;
    let bot_id = web::uuid("bot_id", &bot_id)?;
    let title = body.title.as_deref().map(Title::parse).transpose()?;
    let session = sessions::create(&db, &caller, bot_id, title.as_ref()).await?;
    let created = Created {
        session: session.into(),
        message: "Session created",
    };
    Ok((StatusCode::CREATED, Json(created)))
}
