//! `GET`, `PATCH` and `DELETE /api/chat/sessions/{id}`.

use axum::extract::State;
use common::{
    Error, Result,
    chat::sessions::{self, Change, Status, Title},
    governance::auth::Caller,
    platform::{db::Db, error::Reason},
    web::{BodyFailures, ItemFailures, Json, PathText, SessionProblem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::view::Session;

/// One session.
#[derive(Serialize, ToSchema)]
#[schema(as = FoundSession)]
pub(crate) struct Found {
    session: Session,
}

/// Returns one of the caller's sessions.
#[utoipa::path(
    get, path = "/api/chat/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Found),
        ItemFailures<SessionProblem>,
    ),
)]
pub(crate) async fn find_session(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
) -> Result<Json<Found>> {
    let session = sessions::find(&db, &caller, path.uuid("id")?).await?;
    Ok(Json(Found {
        session: session.into(),
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeSessionBody)]
pub(crate) struct Body {
    /// 1 to 100 characters after trimming.
    #[schema(min_length = 1, max_length = 100)]
    title: Option<String>,
    /// `active` or `paused`.
    status: Option<String>,
}

impl Body {
    fn parse(self) -> Result<Change> {
        let status = self.status.map(|word| {
            // A closed session cannot be reopened, so closing is a separate method.
            let status = Status::parse(&word).filter(|status| *status != Status::Closed);
            status.ok_or(Error::invalid("status", Reason::Unknown))
        });
        Ok(Change {
            title: self.title.as_deref().map(Title::parse).transpose()?,
            status: status.transpose()?,
        })
    }
}

/// Renames, pauses or resumes a session.
#[utoipa::path(
    patch, path = "/api/chat/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = Body,
    responses(
        (status = 200, body = Found),
        BodyFailures<SessionProblem>, (status = 409, body = SessionProblem),
    ),
)]
pub(crate) async fn change_session(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
    Json(body): Json<Body>,
) -> Result<Json<Found>> {
    let id = path.uuid("id")?;
    let session = sessions::change(&db, &caller, id, &body.parse()?).await?;
    Ok(Json(Found {
        session: session.into(),
    }))
}

/// A session that was closed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClosedSession)]
pub(crate) struct Closed {
    session_id: Uuid,
    /// `closed`.
    status: &'static str,
    message: &'static str,
}

/// Closes a session permanently. Its messages are kept. Safe to repeat.
#[utoipa::path(
    delete, path = "/api/chat/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Closed),
        ItemFailures<SessionProblem>,
    ),
)]
pub(crate) async fn close_session(
    State(db): State<Db>,
    caller: Caller,
    path: PathText,
) -> Result<Json<Closed>> {
    let session_id = path.uuid("id")?;
    sessions::close(&db, &caller, session_id).await?;
    Ok(Json(Closed {
        session_id,
        status: Status::Closed.name(),
        message: "Session closed",
    }))
}
