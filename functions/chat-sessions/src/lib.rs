//! Conversations with bots, for clients that are no mini-program: the session API, `/api/chat/…`.
//!
//! A message is stored and answered at once; the bot's reply is made in the background and appears by itself.

mod bots;
mod messages;
mod read;
mod send;
mod session;
mod sessions;
mod view;

use axum::extract::FromRef;
use common::{
    chat::messages::SendLimits,
    governance::auth::{Callers, JwtSecrets},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        sqs::JobQueue,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    queue: JobQueue,
    limits: SendLimits,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, queue: JobQueue, limits: SendLimits) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(sessions::list_sessions, sessions::create_session))
        .routes(routes!(
            session::find_session,
            session::change_session,
            session::close_session
        ))
        .routes(routes!(
            messages::list_session_messages,
            send::send_session_message
        ))
        .routes(routes!(read::mark_session_read))
        .routes(routes!(bots::list_bots))
        .with_state(AppState {
            db,
            callers,
            queue,
            limits,
        })
}

/// The function's routes, with the tools that the environment describes.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let limits = SendLimits::from_env(&env)?;
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    Ok(router(
        db.clone(),
        Callers::new(secrets, db),
        JobQueue::from_env(&env),
        limits,
    ))
}
