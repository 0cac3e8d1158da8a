//! The session API (`/api/chat/…`): conversations with bots, for clients other than the
//! mini-program.
//!
//! A request to send a message returns as soon as the message is stored. A background job generates
//! the bot's reply, which then appears in the list of messages.

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
    moderation::Moderation,
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
    moderation: Moderation,
}

/// The function's routes.
pub fn router(
    db: Db,
    callers: Callers,
    queue: JobQueue,
    limits: SendLimits,
    moderation: Moderation,
) -> OpenApiRouter {
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
            moderation,
        })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let limits = SendLimits::from_env(&env)?;
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    let moderation = Moderation::words_from_env(&env, &db).await?;
    Ok(router(
        db.clone(),
        Callers::new(secrets, db),
        JobQueue::from_env(&env),
        limits,
        moderation,
    ))
}
