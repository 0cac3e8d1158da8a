//! Finds causes of notifications and sends messages to robots and webhooks. A schedule invokes it
//! every minute.

use common::{
    governance::notifications::{self, Notified},
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        public_client::PublicClient,
        telemetry,
    },
};
use lambda::Invocation;
use serde::Deserialize;

/// The event of an invocation. All fields are ignored.
#[derive(Debug, Default, Deserialize)]
pub struct Request {}

#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub client: PublicClient,
}

/// A part of the work failed. The cause is only in the log.
#[derive(Debug, thiserror::Error)]
#[error("the notifications could not be sent")]
pub struct NotifyFailed;

/// Builds the state, configured by the environment.
pub async fn from_env(env: Env) -> Result<AppState, ConfigError> {
    Ok(AppState {
        db: db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?,
        client: PublicClient::default(),
    })
}

/// Opens and ends incidents, then sends due messages.
pub async fn notify(state: AppState, _: Invocation<Request>) -> Result<Notified, NotifyFailed> {
    match notifications::run(&state.db, &state.client).await {
        Ok(done) if done == Notified::default() => Ok(done),
        Ok(done) => {
            tracing::info!(
                opened = done.opened,
                ended = done.ended,
                sent = done.sent,
                failed = done.failed,
                "notifications finished"
            );
            Ok(done)
        }
        Err(err) => {
            tracing::error!(cause = telemetry::chain(&err), "notifications failed");
            Err(NotifyFailed)
        }
    }
}
