//! What admins set up, below `/api/admin/ai`: sites, users and their data, apps, quotas, moderation
//! words, notification channels. A `PUT` has the whole object; with `If-Match`, it replaces only
//! the version that the client has seen.

mod apps;
mod moderation_words;
mod notification_channels;
mod quotas;
mod sites;
mod user_data;
mod users;

use std::sync::Arc;

use axum::extract::FromRef;
use common::{
    Result,
    governance::{
        apps::AppIds,
        auth::{Callers, JwtSecrets},
    },
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        public_client::PublicClient,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Items on a page, unless the client requests another number.
const PAGE_SIZE: i64 = 20;

#[derive(Clone, FromRef)]
struct AppState {
    db: Db,
    callers: Callers,
    /// Application ids of the environment.
    ids: Arc<AppIds>,
    /// Resolves the hosts of notification channels.
    client: PublicClient,
}

/// The function's routes.
pub fn router(db: Db, callers: Callers, ids: AppIds, client: PublicClient) -> OpenApiRouter {
    let ids = Arc::new(ids);
    OpenApiRouter::new()
        .routes(routes!(sites::list_sites))
        .routes(routes!(users::list_users))
        .routes(routes!(users::set_user))
        .routes(routes!(user_data::delete_user_data))
        .routes(routes!(apps::list_apps, apps::set_app))
        .routes(routes!(
            moderation_words::list_moderation_words,
            moderation_words::create_moderation_word
        ))
        .routes(routes!(moderation_words::delete_moderation_word))
        .routes(routes!(
            notification_channels::list_channels,
            notification_channels::create_channel
        ))
        .routes(routes!(
            notification_channels::set_channel,
            notification_channels::delete_channel
        ))
        .routes(routes!(notification_channels::test_channel))
        .routes(routes!(quotas::list_quotas, quotas::set_quota))
        .with_state(AppState {
            db,
            callers,
            ids,
            client,
        })
}

/// Builds the routes, configured by the environment.
pub async fn from_env(env: Env) -> Result<OpenApiRouter, ConfigError> {
    let (database, secrets) =
        tokio::try_join!(DatabaseConfig::from_env(&env), JwtSecrets::from_env(&env))?;
    let db = db::connect_lazy(&database)?;
    let ids = AppIds::from_env(&env);
    let client = PublicClient::default();
    Ok(router(db.clone(), Callers::new(secrets, db), ids, client))
}
