//! The web console: pages for admins, rendered on the server.
//!
//! A page reads and changes data through the functions of `common` that the admin API uses. It
//! works without JavaScript. All links are relative, so that the stage of API Gateway may precede
//! the path.

mod assets;
mod chart;
mod desk;
mod diff;
mod error_pages;
mod format;
mod frame;
mod language;
mod markdown;
mod names;
mod pages;
mod session;
mod texts;
mod words;

use axum::{
    Router,
    extract::FromRef,
    middleware,
    routing::{any, get, post},
};
use common::{
    chat::replies::Replies,
    governance::{apps::AppIds, auth::Callers, notice::Notice},
    insights::{
        insight::Insights,
        jobs::{JobLimits, PrewarmSchedule},
    },
    platform::{
        db::Db,
        env::{ConfigError, Env},
        public_client::PublicClient,
        sqs::JobQueue,
    },
    web::{AllowedOrigins, not_found},
};
use utoipa_axum::router::OpenApiRouter;

pub use assets::hash as assets_hash;
pub use session::{SessionRules, cookie, may_read_desk};

/// What the console is built from.
#[derive(Clone, FromRef)]
#[expect(missing_docs, reason = "plain data")]
pub struct Parts {
    pub db: Db,
    pub callers: Callers,
    pub replies: Replies,
    pub insights: Insights,
    /// Wakes job workers.
    pub queue: JobQueue,
    /// Resolves the hosts of notification channels.
    pub client: PublicClient,
    /// Application ids of the environment.
    pub ids: AppIds,
    pub notice: Notice,
    pub schedule: PrewarmSchedule,
    pub session: SessionRules,
}

/// The function's routes, all below `/console`.
pub fn router(parts: Parts) -> OpenApiRouter {
    let pages = Router::new()
        .route("/console/sign-in", get(session::show_sign_in))
        .route("/console/session", post(session::sign_in))
        .route("/console/sign-out", post(session::sign_out))
        .route("/console/language", post(language::set))
        .route("/console/assets/{hash}/{*name}", get(assets::serve))
        .merge(pages::router())
        .route("/console/{*rest}", any(not_found))
        .layer(middleware::from_fn(error_pages::render))
        .with_state(parts.clone());
    let all = pages.nest("/console", chat(&parts));
    OpenApiRouter::from(all.layer(middleware::from_fn_with_state(
        parts.session,
        session::authenticate,
    )))
}

/// The routes of the mini-program that the chat page calls, with the cookie instead of a token.
fn chat(parts: &Parts) -> Router {
    let Parts {
        db,
        callers,
        replies,
        insights,
        notice,
        ..
    } = parts.clone();
    let label = notice.label.clone();
    let history = chat_history::router(db.clone(), callers.clone(), notice);
    Router::from(
        history
            .merge(chat_messages::router(db, callers.clone(), replies.clone()))
            .merge(chat_stream::router(callers.clone(), replies, label))
            .merge(::insights::router(callers, insights)),
    )
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (db, callers, replies) = Replies::from_env(&env).await?;
    let (ids, queue) = (AppIds::from_env(&env), JobQueue::from_env(&env));
    let reserved_tokens = JobLimits::reserved_tokens(&env)?;
    Ok(router(Parts {
        insights: Insights::new(db.clone(), ids.clone(), reserved_tokens, queue.clone()),
        notice: Notice::from_env(&env)?,
        schedule: PrewarmSchedule::from_env(&env)?,
        session: SessionRules::deployed(AllowedOrigins::from_env(&env)?),
        client: PublicClient::default(),
        db,
        callers,
        replies,
        queue,
        ids,
    }))
}
